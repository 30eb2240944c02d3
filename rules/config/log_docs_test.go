package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLoggingDocs: the examples of docs/logging.md are right, that of the node file names
// every key of [log], and the defaults that it names are those that hold.
func TestLoggingDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/logging.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(found) != 2 {
		t.Fatalf("%d examples", len(found))
	}
	const ports = "[ports.lan]\naddresses = [\"10.0.0.1/24\"]\n[ports.wan]\naddresses = [\"192.0.2.1/24\"]\n"
	p, err := ParsePolicy("logging.md", []byte(ports+found[0][1]))
	if err != nil {
		t.Fatal(err)
	}
	if p.Defaults.Log.V != LogFirst || p.Rules[0].Log.V != LogAll || p.Rules[1].Log.V != LogFirst || !p.Rules[2].Log.Written() {
		t.Errorf("it says %+v", p.Rules)
	}
	parse := func(text string) (*Node, error) {
		file := filepath.Join(t.TempDir(), "node.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return LoadNode(file)
	}
	const head = "policy = \"p.toml\"\n[node]\nname = \"fw\"\n"
	n, err := parse(head + found[1][1])
	if err != nil {
		t.Fatal(err)
	}
	plain, err := parse(head)
	if err != nil {
		t.Fatal(err)
	}
	said, holds := n.Log, plain.Log
	if said.Size.V != holds.Size.V || said.Keep.V != holds.Keep.V || said.SnapLen.V != holds.SnapLen.V ||
		said.Rate.V != holds.Rate.V || said.RuleRate.V != holds.RuleRate.V {
		t.Errorf("the defaults are %+v", holds)
	}
	_, err = parse(head + "[log]\nzzzzzzzz = 1\n")
	if err == nil {
		t.Fatal("a key that is none was accepted")
	}
	_, keys, ok := strings.Cut(err.Error(), "the known keys are ")
	if !ok {
		t.Fatal(err)
	}
	for _, key := range strings.Split(keys, ", ") {
		if !regexp.MustCompile(`(?m)^`+key+` = `).MatchString(found[1][1]) || !strings.Contains(string(text), "| `"+key+"` |") {
			t.Errorf("nothing of %s", key)
		}
	}
}
