package config

import (
	"os"
	"strings"
	"testing"
)

// TestSynProxyDocumentation: the example of docs/syn-proxy.md is one.
func TestSynProxyDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/syn-proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```toml\n")
	example, _, ok := strings.Cut(example, "```")
	if !ok {
		t.Fatal("no example")
	}
	p, err := ParsePolicy("syn-proxy.md", []byte("[ports.wan]\naddresses = [\"192.0.2.1/24\"]\n"+example))
	if err != nil {
		t.Fatal(err)
	}
	if p.Defaults.SynProxy.V != SynProxyAdaptive || p.Rules[0].SynProxy.V != SynProxyAlways {
		t.Errorf("it says %v and %v", p.Defaults.SynProxy.V, p.Rules[0].SynProxy.V)
	}
}
