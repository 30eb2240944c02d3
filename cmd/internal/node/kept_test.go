package node

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/rules/config"
	"holdfast/sync/reload"
	"holdfast/sync/wire"
)

// TestREL28_WhatAStartPutsInForce: what was confirmed last, whatever stands in the file by now,
// but where only a restart can bring what the file says.
func TestREL28_WhatAStartPutsInForce(t *testing.T) {
	const nodeFile = "policy = \"policy.toml\"\n[node]\nname = \"a\"\n[devices]\nlan = { device = \"eth1\" }\nwan = { device = \"eth2\" }\n"
	kept, other := reloadPorts+ruleText("web", "80", ""), reloadPorts+ruleText("web", "81", "")
	ports := strings.Replace(kept, "10.0.0.1", "10.0.0.2", 1)
	for _, row := range []struct {
		name       string
		keeps      string // "": nothing
		file       string
		generation uint64
		inForce    string // "": the start is refused
		stale      bool
	}{
		{"nothing kept", "", other, 1, other, false},
		{"nothing kept, and a fault", "", other + "x", 0, "", false},
		{"the same", kept, "# said again\n" + kept, 7, kept, false},
		{"on trial, or being written", kept, other, 7, kept, true},
		{"half written", kept, other + "[[rul", 7, kept, true},
		{"other ports", kept, ports, 8, ports, false},
		{"kept for other devices", kept + "[ports.dmz]\naddresses = [\"10.9.0.1/24\"]\n", other, 8, other, false},
		{"damaged", "damaged", other, 1, other, false},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "policy.toml")
		store := reload.Store{Path: file + keptSuffix}
		var err error
		switch p, parseErr := config.ParsePolicy(file, []byte(row.keeps)); {
		case row.keeps == "damaged":
			err = os.WriteFile(store.Path, []byte("damaged"), 0o600)
		case row.keeps != "" && parseErr == nil:
			image, packErr := reload.Pack(config.Sources{{Path: file, Text: []byte(row.keeps)}})
			err = errors.Join(packErr, store.Write(wire.Generation{Number: 7, Hash: p.Hash()}, image), store.Adopt(),
				store.Write(wire.Generation{Number: 8, Hash: 8}, []byte("never confirmed")))
		case row.keeps != "":
			err = parseErr
		}
		node := filepath.Join(dir, "node.toml")
		if err := errors.Join(err, os.WriteFile(node, []byte(nodeFile), 0o600), os.WriteFile(file, []byte(row.file), 0o600)); err != nil {
			t.Fatal(err)
		}
		b, err := begin(node, slog.New(slog.DiscardHandler))
		if row.inForce == "" {
			if err == nil {
				t.Errorf("%s: started", row.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		want, err := config.ParsePolicy(file, []byte(row.inForce))
		if err != nil {
			t.Fatal(err)
		}
		if b.policy.Hash() != want.Hash() || b.version != (wire.Generation{Number: row.generation, Hash: want.Hash()}) || (b.stale != "") != row.stale {
			t.Errorf("%s: generation %d, %q", row.name, b.version.Number, b.stale)
		}
		if _, err := os.Lstat(store.Path + ".new"); err == nil {
			t.Errorf("%s: what was not confirmed is left", row.name)
		}
	}
}
