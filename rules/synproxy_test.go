package rules

import (
	"net/netip"
	"testing"

	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

// TestB16_WhoIsProxied: what the rule that decides says, else the last match rule before it,
// else the defaults.
func TestB16_WhoIsProxied(t *testing.T) {
	const text = `
[ports.wan]
addresses = ["192.0.2.1/24"]
[defaults]
syn_proxy = "adaptive"
[[rules]]
id = "hint"
action = "match"
proto = "tcp"
to_port = "100-199"
syn_proxy = "always"
[[rules]]
id = "own"
action = "pass"
proto = "tcp"
to_port = 150
syn_proxy = "never"
[[rules]]
id = "all"
action = "pass"
`
	p, err := config.ParsePolicy("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Proxies() {
		t.Error("nobody is proxied")
	}
	tuple := packet.Tuple{Src: packet.AddrFrom(netip.MustParseAddr("198.51.100.1")), Dst: packet.AddrFrom(netip.MustParseAddr("192.0.2.9")), SrcPort: 9, Proto: packet.TCP}
	for port, want := range map[uint16]config.SynProxy{80: config.SynProxyAdaptive, 120: config.SynProxyAlways, 150: config.SynProxyNever} {
		tuple.DstPort = port
		if v := s.Match(&tuple, 0, 0, nil, nil); v.SynProxy != want {
			t.Errorf("port %d: %v, want %v", port, v.SynProxy, want)
		}
	}
}
