package config

import "testing"

// TestSynProxyDocumentation: the example of docs/syn-proxy.md is one.
func TestSynProxyDocumentation(t *testing.T) {
	p := exampleOf(t, "syn-proxy.md")
	if p.Defaults.SynProxy.V != SynProxyAdaptive || p.Rules[0].SynProxy.V != SynProxyAlways {
		t.Errorf("it says %v and %v", p.Defaults.SynProxy.V, p.Rules[0].SynProxy.V)
	}
}
