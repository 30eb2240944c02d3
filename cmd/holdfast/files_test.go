package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/cmd/internal/api"
	"holdfast/cmd/internal/node"
	"holdfast/sync/seal"
)

// nodeText is a node file whose peer is 192.0.2.2; the lines are counted in tests.
const nodeText = `policy = "policy.toml"
socket = "holdfast.sock"

[node]
name = "fw-a"

[devices]
lan = { device = "lan" }
wan = { device = "wan" }

[cluster]
key_file = "cluster.key"
links = [{ device = "sync", address = "192.0.2.1:7400", peers = ["192.0.2.2:7400"] }]
priority = { main = 100 }
`

// policyText has the clocks of a machine whose cores are shared.
const policyText = `[ports.lan]
addresses = ["10.0.0.1/24"]
mac = "02:48:46:00:00:01"

[ports.wan]
addresses = ["203.0.113.2/24"]
mac = "02:48:46:00:00:02"

[groups.main]
ports = ["lan", "wan"]

[cluster]
heartbeat = "10ms"
lease = "1s"
dead_after = "1500ms"
alone_after = "2s"

[[nat]]
kind = "masquerade"
from = ["10.0.0.0/24"]
out = "wan"

[[rules]]
id = "inside-out"
label = ["out-{port}"]
action = "pass"
in = "lan"
out = "wan"
from = ["10.0.0.0/24"]
state = { mode = "strict", sync = "async" }
`

// clusterKey is one key for all tests, as `holdfast key new` would print it.
var clusterKey = string(seal.FormatKeyFile(seal.NewKey()))

// files are the configuration of one node in a folder of its own, where everybody may
// look. Its node file is complete, with a peer.
type files struct {
	t                         *testing.T
	dir, node, policy, socket string
}

func newFiles(t *testing.T) *files {
	t.Helper()
	dir, err := os.MkdirTemp("", "holdfast-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &files{
		t: t, dir: dir,
		node: filepath.Join(dir, "node.toml"), policy: filepath.Join(dir, "policy.toml"), socket: filepath.Join(dir, "holdfast.sock"),
	}
	f.write("node.toml", nodeText, 0o644)
	f.write("policy.toml", policyText, 0o644)
	f.write("cluster.key", clusterKey, 0o600)
	return f
}

func (f *files) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *files) write(name, text string, mode fs.FileMode) {
	f.t.Helper()
	f.check(os.WriteFile(filepath.Join(f.dir, name), []byte(text), mode))
}

func (f *files) remove(name string) {
	f.t.Helper()
	f.check(os.Remove(filepath.Join(f.dir, name)))
}

func (f *files) chmod(name string, mode fs.FileMode) {
	f.t.Helper()
	f.check(os.Chmod(filepath.Join(f.dir, name), mode))
}

// replace changes a file in one place, which must be there.
func (f *files) replace(name, from, to string) {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, name))
	f.check(err)
	if strings.Count(string(text), from) != 1 {
		f.t.Fatalf("%s has %q %d times", name, from, strings.Count(string(text), from))
	}
	f.write(name, strings.Replace(string(text), from, to, 1), 0o600)
}

// alone makes it a node without peers.
func (f *files) alone() {
	f.t.Helper()
	text, _, _ := strings.Cut(nodeText, "\n[cluster]")
	f.write("node.toml", text, 0o644)
}

// take copies the files of a folder.
func (f *files) take(folder string) {
	f.t.Helper()
	all, err := os.ReadDir(folder)
	f.check(err)
	for _, file := range all {
		if file.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, file.Name()))
		f.check(err)
		f.write(file.Name(), string(text), 0o644)
	}
}

// untouched checks that no daemon left anything here: no socket, and the lock is free.
func (f *files) untouched() {
	f.t.Helper()
	if _, err := os.Lstat(f.socket); !errors.Is(err, fs.ErrNotExist) {
		f.t.Errorf("the socket is left: %v", err)
	}
	lock, err := api.Lock(f.socket)
	f.check(err)
	f.check(lock.Close())
}

func checkJSON(t *testing.T, file string) (r node.CheckReport) {
	t.Helper()
	strict(t, holdfast(t, "check", "--json", file).out, &r)
	return r
}
