package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/cmd/internal/api"
)

// screens holds what `holdfast status` says in each situation, as an operator would see it; what
// differs from run to run is replaced.
const screens = "testdata/status"

// replaced makes a screen of one run that of any.
var replaced = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`, up \S+`), ", up TIME"},
	{regexp.MustCompile(`heard \d+(\.\d+)? m?s ago`), "heard TIME ago"},
	{regexp.MustCompile(`  for \d+ s  `), "  for TIME  "},
	{regexp.MustCompile(`proven equal \d+(\.\d+)? s ago|not proven equal yet`), "EQUALITY"},
	{regexp.MustCompile(`\d+ behind, \d+ unconfirmed`), "N behind, N unconfirmed"},
	{regexp.MustCompile(`in \d+, out \d+ packets`), "in N, out N packets"},
	{regexp.MustCompile(`connections {2}\d+ of`), "connections  N of"},
	{regexp.MustCompile(`\b[0-9a-f]{16}\b`), "HASH"},
	{regexp.MustCompile(`generic|native-copy|zero-copy`), "MODE"},
	{regexp.MustCompile(`term \d+`), "term N"},
	{regexp.MustCompile(`(?m)^DEGRADED: .* is driven by the MODE hook.*\n`), ""},
	{regexp.MustCompile(`(?m)^detection .*$`), "detection  FIGURES"},
	{regexp.MustCompile(` {2,}`), "  "},
}

// peer is what a daemon says of its only peer.
func (d *daemon) peer() api.Peer {
	s, err := d.ask()
	if err != nil || len(s.Peers) != 1 {
		return api.Peer{}
	}
	return s.Peers[0]
}

// normal returns what `holdfast status` says of a daemon, without what differs from run to run.
func (d *daemon) normal(t *testing.T) string {
	t.Helper()
	text := d.tell(t, "status").out
	for _, r := range replaced {
		text = r.what.ReplaceAllString(text, r.with)
	}
	return strings.TrimRight(text, "\n") + "\n"
}

// screen checks that the screen of a daemon comes to be that of a situation, which
// testdata/status has by name.
func (d *daemon) screen(t *testing.T, name string) {
	t.Helper()
	file := filepath.Join(screens, name+".txt")
	if *update {
		stable := d.normal(t)
		since := time.Now()
		eventually(t, "the screen stands still", func() bool {
			if now := d.normal(t); now != stable {
				stable, since = now, time.Now()
			}
			return time.Since(since) > 4*time.Second
		})
		if err := os.WriteFile(file, []byte(stable), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var now string
	for deadline := time.Now().Add(patience); now != string(want); {
		if now = d.normal(t); time.Now().After(deadline) {
			t.Errorf("status of %s says\n%s\nand not as %s has it\n%s\nif that is meant: go test ./cmd/holdfast -run %s -update", d.place.Name(), now, file, want, t.Name())
			return
		}
	}
}

// misses reports whether a daemon has missed its peer for long.
func (d *daemon) misses() bool {
	p := d.peer()
	return p.Name != "" && p.Silent()
}
