package seal

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// KeySize is the size of a pre-shared key, in bytes.
const KeySize = 32

// MaxKeys is how many keys are valid at once: the one in use, and during a rotation
// the one before or after it.
const MaxKeys = 2

// keyPrefix opens the line of a key; its number is the version of the file's format.
const keyPrefix = "holdfast-key-1:"

// maxKeyFile bounds what is read of a key file, in bytes.
const maxKeyFile = 16 << 10

// ErrKeyFile is what every error about a key file wraps.
var ErrKeyFile = errors.New("key file unusable")

// Key is a pre-shared key: whoever holds it is a node of the cluster. Printing a Key
// shows its Fingerprint, never the key.
type Key [KeySize]byte

// NewKey returns a fresh random key.
func NewKey() Key {
	var k Key
	rand.Read(k[:]) // never fails (crypto/rand)
	return k
}

// Line returns the secret line that stands for k in a key file, without a newline.
func (k Key) Line() string { return keyPrefix + base64.StdEncoding.EncodeToString(k[:]) }

// Derive returns 32 bytes that all holders of k can make and nobody else, different
// for every label. They say nothing about k.
func (k Key) Derive(label string) [32]byte {
	mac := hmac.New(sha256.New, k[:])
	io.WriteString(mac, "holdfast derive 1:"+label)
	return [32]byte(mac.Sum(nil))
}

// Fingerprint returns 16 hex digits by which people compare keys without seeing them.
func (k Key) Fingerprint() string {
	sum := k.Derive("fingerprint")
	return hex.EncodeToString(sum[:8])
}

// String returns the fingerprint.
func (k Key) String() string { return "key " + k.Fingerprint() }

// GoString returns the fingerprint, so that %#v shows no secret either.
func (k Key) GoString() string { return k.String() }

// FormatKeyFile returns the text of a key file that holds keys, the one to use first.
func FormatKeyFile(keys ...Key) []byte {
	var b bytes.Buffer
	b.WriteString("# Holdfast cluster key. The same file on every node; nobody else may read it.\n" +
		"# Rotation: add the new key as second line on every node, then make it the first\n" +
		"# line on every node, then remove the old one. The first is used, both are accepted.\n")
	for _, k := range keys {
		fmt.Fprintf(&b, "# fingerprint %s\n%s\n", k.Fingerprint(), k.Line())
	}
	return b.Bytes()
}

// ReadKeyFile returns the one or two keys of the file, in order. It refuses a file that
// others than its owner can read or write. Errors wrap ErrKeyFile or the system's error.
func ReadKeyFile(path string) ([]Key, error) {
	// O_NONBLOCK: opening a FIFO must not hang the start.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("key file %s: %w: make one with `holdfast key new` and give every node the same", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrKeyFile, path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o, others can use the key: run `chmod 600 %s`", ErrKeyFile, path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	keys, err := ParseKeyFile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// ParseKeyFile returns the one or two keys in the text of a key file. Blank lines and
// lines that begin with # do not count. Errors wrap ErrKeyFile and name the line, but
// never quote it: it may be a key with a typing error.
func ParseKeyFile(text []byte) ([]Key, error) {
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrKeyFile, maxKeyFile)
	}
	var keys []Key
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		k, err := parseKeyLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		for _, other := range keys {
			if k == other {
				return nil, fmt.Errorf("line %d: %w: the same key twice", n, ErrKeyFile)
			}
		}
		if len(keys) == MaxKeys {
			return nil, fmt.Errorf("line %d: %w: more than %d keys", n, ErrKeyFile, MaxKeys)
		}
		keys = append(keys, k)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: no key in it: make one with `holdfast key new`", ErrKeyFile)
	}
	return keys, nil
}

// parseKeyLine reads one line that is neither blank nor a comment.
func parseKeyLine(line string) (Key, error) {
	text, ok := strings.CutPrefix(line, keyPrefix)
	if !ok {
		return Key{}, fmt.Errorf("%w: a key begins with %q, a comment with \"#\"", ErrKeyFile, keyPrefix)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != KeySize {
		return Key{}, fmt.Errorf("%w: after %q come %d bytes in base64 (%d characters)",
			ErrKeyFile, keyPrefix, KeySize, base64.StdEncoding.EncodedLen(KeySize))
	}
	k := Key(raw)
	if k == (Key{}) {
		return Key{}, fmt.Errorf("%w: a key of zeros is no secret", ErrKeyFile)
	}
	return k, nil
}
