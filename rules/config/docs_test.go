package config

import (
	"os"
	"strings"
	"testing"
)

// exampleOf reads the first example of a page of docs/, with a port before it.
func exampleOf(t *testing.T, page string) *Policy {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```toml\n")
	example, _, ok := strings.Cut(example, "```")
	if !ok {
		t.Fatal("no example")
	}
	p, err := ParsePolicy(page, []byte("[ports.wan]\naddresses = [\"192.0.2.1/24\"]\n"+example))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestLimitsDocumentation: the example of docs/limits.md is one.
func TestLimitsDocumentation(t *testing.T) {
	p := exampleOf(t, "limits.md")
	if len(p.Limits) != 1 || p.Rules[0].Limit.V != "web" || p.Rules[1].OwnLimit == nil {
		t.Errorf("it says %+v and %+v", p.Limits, p.Rules)
	}
}
