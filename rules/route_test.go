package rules

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"holdfast/dataplane/gateway"
	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

const routesPolicy = `[ports.lan]
addresses = ["10.0.0.1/24", "fd00::1/64"]
[ports.wan1]
addresses = ["203.0.113.2/29", "2001:db8:1::2/64"]
[ports.wan2]
addresses = ["198.51.100.2/29"]
[gateways.isp2]
port = "wan2"
address = "198.51.100.1"
[gateways.isp1]
port = "wan1"
address = "203.0.113.1"
[gateways.six]
port = "wan1"
address = "fe80::1"
[[routes]]
in = "lan"
proto = "tcp"
to_port = [80, 443]
gateways = ["isp2"]
[[routes]]
from = "10.0.0.66"
to = ["any", "!192.0.2.0/24"]
gateways = ["isp1"]
[[routes]]
in = "lan"
gateways = ["six"]
`

// TestRoutesMatch: the first route that has a gateway of the family and matches decides.
func TestRoutesMatch(t *testing.T) {
	p, err := config.ParsePolicy("p", []byte(routesPolicy))
	if err != nil {
		t.Fatal(err)
	}
	set, err := Gateways(p)
	if err != nil {
		t.Fatal(err)
	}
	if all := set.All(); len(all) != 3 || all[0].Name != "isp1" || all[1].Name != "isp2" || all[1].Port != 2 || all[2].Name != "six" {
		t.Errorf("gateways %+v", all)
	}
	routes, err := CompileRoutes(p, set)
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }
	const lan, wan1 packet.PortID = 0, 1
	for _, row := range []struct {
		name     string
		in       packet.PortID
		src, dst string
		proto    packet.Proto
		port     uint16
		want     gateway.Number
	}{
		{"by port number", lan, "10.0.0.5", "8.8.8.8", packet.TCP, 443, 2},
		{"not from another port", wan1, "10.0.0.5", "8.8.8.8", packet.TCP, 443, 0},
		{"another protocol", lan, "10.0.0.5", "8.8.8.8", packet.UDP, 443, 0},
		{"the first wins", lan, "10.0.0.66", "8.8.8.8", packet.TCP, 80, 2},
		{"by source", lan, "10.0.0.66", "8.8.8.8", packet.UDP, 53, 1},
		{"but not there", lan, "10.0.0.66", "192.0.2.9", packet.UDP, 53, 0},
		{"the other family", lan, "fd00::5", "2001:db8::9", packet.TCP, 443, 3},
	} {
		tuple := &packet.Tuple{Src: at(row.src), Dst: at(row.dst), Proto: row.proto, DstPort: row.port}
		got := gateway.None
		if g := routes.Match(tuple, row.in); g != nil {
			got = g.Choose(tuple, gateway.Down{})
		}
		if got != row.want {
			t.Errorf("%s: gateway %d, want %d", row.name, got, row.want)
		}
		if n := testing.AllocsPerRun(10, func() { routes.Match(tuple, row.in) }); n != 0 {
			t.Errorf("%s: %v allocations", row.name, n)
		}
	}
	var none *Routes
	if none.Match(&packet.Tuple{}, lan) != nil {
		t.Error("nil matches")
	}
}

// TestMultiWANDocument: what docs/multi-wan.md tells people to write is a policy.
func TestMultiWANDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/multi-wan.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```toml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no example")
	}
	p, err := config.ParsePolicy("multi-wan.md", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	set, err := Gateways(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CompileRoutes(p, set); err != nil {
		t.Fatal(err)
	}
	if _, err := Compile(p); err != nil {
		t.Error(err)
	}
	if len(p.Routes) != 2 || len(set.All()) != 3 {
		t.Errorf("%d routes, %d gateways", len(p.Routes), len(set.All()))
	}
}
