package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/cmd/internal/api"
)

// TestExplainDocs: the example of docs/explain.md is what the command prints.
func TestExplainDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "office.toml")
	if err := os.WriteFile(file, regexp.MustCompile("(?s)```toml\n(.*?)```").FindSubmatch(page)[1], 0o644); err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```console\n\\$ holdfast ([^\n]*)\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(examples) == 0 {
		t.Fatal("no example")
	}
	for _, x := range examples {
		got := strings.ReplaceAll(holdfast(t, strings.Fields(strings.ReplaceAll(x[1], "office.toml", file))...).said(t), file, "office.toml")
		if got != x[2] {
			t.Errorf("%s prints\n%s", x[1], got)
		}
	}
}

// TestExplainUsage: what cannot be explained is wrong usage, with the reason.
func TestExplainUsage(t *testing.T) {
	for _, row := range []struct {
		args string
		word string
	}{
		{"explain", "--in"},
		{"explain --in lan --pcap x", "--config"},
	} {
		holdfast(t, strings.Fields(row.args)...).refused(t, exitUsage, row.word)
	}
}

// TestExplainLive: what the running node is asked about a packet is what becomes of it, asking
// counts nothing, and a packet of a connection is told from a first one.
func TestExplainLive(t *testing.T) {
	t.Parallel()
	p := newPath(t, mtus{})
	echoes(t, p.server, netip.AddrPortFrom(pathServer[0], 7))
	ask := func(to string) (x api.Explained) {
		t.Helper()
		strict(t, p.node.tell(t, "explain", "--in", "lan", "--from", "10.1.0.10:40000", "--to", to, "--json").said(t), &x)
		return x
	}
	x := ask("198.51.100.10:7")
	if x.Verdict != "pass" || x.Rule != "out" || x.Generation != 1 {
		t.Errorf("before: %+v", x)
	}
	if blocked := ask("10.0.0.1:7"); blocked.Verdict != "drop" || blocked.Reason != "to-self" {
		t.Errorf("to the node: %+v", blocked)
	}
	s, err := p.node.ask()
	if err != nil || s.Connections.Count != 0 {
		t.Fatalf("asking made %d connections: %v", s.Connections.Count, err)
	}
	conn, err := p.client.Dial(t.Context(), "tcp", "10.1.0.10:40000", "198.51.100.10:7")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	said := p.node.tell(t, "explain", "--in", "lan", "--from", "10.1.0.10:40000", "--to", "198.51.100.10:7", "--flags", "A").said(t)
	for _, want := range []string{"ESTABLISHED", "of rule out: the rules are not asked", "rules-now   pass by rule out"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
	p.node.stop(t, 15)
}
