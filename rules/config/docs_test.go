package config

import (
	"os"
	"strings"
	"testing"
)

// TestLimitsDocumentation: the example of docs/limits.md is one.
func TestLimitsDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```toml\n")
	example, _, ok := strings.Cut(example, "```")
	if !ok {
		t.Fatal("no example")
	}
	p, err := ParsePolicy("limits.md", []byte("[ports.wan]\naddresses = [\"192.0.2.1/24\"]\n"+example))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Limits) != 1 || p.Rules[0].Limit.V != "web" || p.Rules[1].OwnLimit == nil {
		t.Errorf("it says %+v and %+v", p.Limits, p.Rules)
	}
}
