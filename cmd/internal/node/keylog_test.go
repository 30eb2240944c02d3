package node

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/sync/seal"
)

func TestKeyLogIsPrivateAndAppended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	for session := range uint32(2) {
		k, err := openKeyLog(path, quiet)
		if err != nil {
			t.Fatal(err)
		}
		d := &daemon{keys: k}
		if what := d.keyLogTrouble(); len(what) != 1 || !strings.Contains(what[0], path) {
			t.Errorf("status says %q", what)
		}
		k.add(seal.SessionKey{Session: session, Key: [32]byte{1}})
		if err := k.close(); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	keys, err := seal.ReadKeyLog(f)
	if err != nil || len(keys) != 2 || keys[1].Session != 1 {
		t.Errorf("%v %v", keys, err)
	}
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := openKeyLog(path, quiet); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
		t.Errorf("a file that others can read: %v", err)
	}
	if what := (&daemon{}).keyLogTrouble(); what != nil {
		t.Errorf("without a key log status says %q", what)
	}
}
