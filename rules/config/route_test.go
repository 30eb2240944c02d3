package config

import (
	"strings"
	"testing"
)

const providers = `[ports.lan]
addresses = ["10.0.0.1/24"]
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
`

// TestRoutes reads every form of a route.
func TestRoutes(t *testing.T) {
	p := parsed(t, providers+`[macros]
fast = ["isp1"]
[[routes]]
in = ["lan"]
from = "10.0.0.0/24"
to = ["any", "!192.0.2.0/24"]
proto = ["tcp", "udp"]
to_port = [80, "8000-8080"]
gateways = ["$fast", { gateway = "isp2", weight = 3 }, "six"]
stick = "source-destination"
[[routes]]
gateways = "isp2"
`)
	if len(p.Routes) != 2 {
		t.Fatalf("%d routes", len(p.Routes))
	}
	r := p.Routes[0]
	if len(r.In) != 1 || len(r.From) != 1 || len(r.To) != 2 || r.To[1].V.Sense != Exclude || len(r.Protos) != 2 || len(r.ToPorts) != 2 || r.Stick.V != StickSourceDestination {
		t.Errorf("%+v", r)
	}
	got := ""
	for _, w := range r.Gateways {
		got += w.Gateway.V + strings.Repeat("+", int(w.Weight.V)) + " "
	}
	if got != "isp1+ isp2+++ six+ " {
		t.Errorf("gateways %s", got)
	}
	if at := r.Gateways[1].Weight.Pos.String(); at != "p.toml:24:51" {
		t.Errorf("the weight stands at %s", at)
	}
	if r := p.Routes[1]; r.Stick.V != StickSource || r.Stick.Written() || len(r.Gateways) != 1 || r.Gateways[0].Weight.V != 1 {
		t.Errorf("%+v", r)
	}
}

// TestGatewayNumber: numbers follow the names, not the places in the file.
func TestGatewayNumber(t *testing.T) {
	p := parsed(t, providers)
	for name, want := range map[string]uint8{"isp1": 1, "isp2": 2, "six": 3} {
		if n, ok := p.GatewayNumber(name); !ok || n != want {
			t.Errorf("%s is number %d, %v", name, n, ok)
		}
	}
	if _, ok := p.GatewayNumber("isp3"); ok {
		t.Error("a gateway that is not there")
	}
}

// TestRoutesHash: what routes mean is part of what nodes compare.
func TestRoutesHash(t *testing.T) {
	const route = "[[routes]]\nin = \"lan\"\ngateways = [\"isp1\", \"isp2\"]\n"
	base := parsed(t, providers+route).Hash()
	if parsed(t, providers+strings.ReplaceAll(route, `"isp1"`, `{ gateway = "isp1", weight = 1 }`)).Hash() != base {
		t.Error("the hash changes with the spelling")
	}
	for _, other := range []string{
		"", route + "stick = \"connection\"\n", strings.ReplaceAll(route, `"isp1", "isp2"`, `"isp2", "isp1"`),
		strings.ReplaceAll(route, `"isp2"`, `{ gateway = "isp2", weight = 2 }`), strings.ReplaceAll(route, `"lan"`, `"wan1"`),
	} {
		if parsed(t, providers+other).Hash() == base {
			t.Errorf("the hash overlooks %q", other)
		}
	}
}
