package seal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyFileRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	a, b := NewKey(), NewKey()
	if a == b {
		t.Fatal("two new keys are equal")
	}
	if err := os.WriteFile(path, FormatKeyFile(a, b), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := ReadKeyFile(path)
	if err != nil || len(keys) != 2 || keys[0] != a || keys[1] != b {
		t.Fatalf("%v %v", keys, err)
	}
}

func TestKeyFileRefuses(t *testing.T) {
	k, l, m := NewKey().Line(), NewKey().Line(), NewKey().Line()
	for text, want := range map[string]string{
		"":                          "no key in it",
		"# only a comment\n":        "no key in it",
		"secret":                    `line 1: key file unusable: a key begins with "holdfast-key-1:"`,
		"\n\nholdfast-key-1:AAAA":   "line 3: key file unusable: after \"holdfast-key-1:\" come 32 bytes",
		k[:len(k)-1]:                "come 32 bytes",
		k + " x":                    "come 32 bytes",
		k + "\n" + k:                "line 2: key file unusable: the same key twice",
		k + "\n" + l + "\n" + m:     "line 3: key file unusable: more than 2 keys",
		Key{}.Line():                "zeros",
		strings.Repeat("#", 20<<10): "longer than",
		"holdfast-key-2:" + k[15:]:  "a key begins with",
	} {
		_, err := ParseKeyFile([]byte(text))
		if !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
		if err != nil && len(text) > 20 && strings.Contains(err.Error(), text[15:]) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func TestKeyFilePermissions(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "k")
	if err := os.WriteFile(path, FormatKeyFile(NewKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := ReadKeyFile(path)
		if !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if _, err := ReadKeyFile(dir); !errors.Is(err, ErrKeyFile) {
		t.Errorf("directory: %v", err)
	}
	_, err := ReadKeyFile(filepath.Join(dir, "none"))
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "holdfast key new") {
		t.Errorf("missing: %v", err)
	}
}

func TestKeyIsNotPrinted(t *testing.T) {
	k := NewKey()
	secret := strings.TrimPrefix(k.Line(), keyPrefix)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		text := fmt.Sprintf(verb, k)
		if strings.Contains(text, secret) || !strings.Contains(text, k.Fingerprint()) {
			t.Errorf("%s prints %s", verb, text)
		}
	}
	if k.Derive("a") == k.Derive("b") || k.Derive("a") == NewKey().Derive("a") {
		t.Error("Derive does not depend on the label or the key")
	}
}
