package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// natPolicy is two ports of both families and a translation, or several.
const natPolicy = `
[ports.lan]
addresses = ["10.0.0.1/24", "fd00::1/64"]
[ports.wan]
addresses = ["203.0.113.2/29", "2001:db8::2/64"]
[macros]
inside = ["10.0.0.0/24", "fd00::/64"]
web = [80, 443]
`

// TestNATOptions reads every key that a translation can have.
func TestNATOptions(t *testing.T) {
	p := parsed(t, natPolicy+`
[[nat]]
kind = "snat"
in = "lan"
out = ["wan"]
from = ["$inside", "!10.0.0.66"]
to = ["!10.0.0.0/8"]
proto = ["tcp", "udp"]
from_port = "1024-65535"
to_port = "$web"
target = ["203.0.113.5", "203.0.113.8-203.0.113.11", { address = "2001:db8::/120", weight = 3 }]
target_port = "1024-65535"
pick = "weighted"
mapping = "endpoint-independent"
filtering = "address-dependent"
pooling = "paired"
hairpin = true
ports_per_source = 2000
hold_down = "120s"
`)
	n := p.NAT[0]
	var targets []string
	for _, target := range n.Targets {
		targets = append(targets, fmt.Sprint(target.V, " ", target.V.Weight))
	}
	if diff := cmp.Diff([]string{"203.0.113.5 0", "203.0.113.8/30 0", "2001:db8::/120 3"}, targets); diff != "" {
		t.Error(diff)
	}
	if n.Kind.V != SourceNAT || n.In[0].V != "lan" || n.Out[0].V != "wan" || len(n.From) != 3 || len(n.To) != 1 || len(n.Protos) != 2 ||
		n.FromPorts[0].V.First != 1024 || len(n.ToPorts) != 2 || n.TargetPort.V.Last != 65535 {
		t.Errorf("conditions are %+v", n)
	}
	if n.Pick.V != PickWeighted || !n.Mapping.Written() || n.Filtering.V != FilteringAddress || !n.Pooling.Written() ||
		!n.Hairpin.V || n.PortsPerSource.V != 2000 || n.HoldDown.V != 2*time.Minute {
		t.Errorf("options are %+v", n)
	}
	if got := n.Targets[2].Pos.String(); got != "p.toml:19:54" {
		t.Errorf("the last target stands at %s", got)
	}
}

// TestNATKinds accepts the least of every kind, and every pair of options that is offered.
func TestNATKinds(t *testing.T) {
	rows := map[string]string{
		"masquerade":   "out = \"wan\"\nfrom = \"$inside\"",
		"two ports":    "kind = \"masquerade\"\nout = [\"lan\", \"wan\"]\nfrom = \"any\"",
		"snat":         "out = \"wan\"\nfrom = \"any\"\ntarget = \"203.0.113.5\"",
		"own address":  "kind = \"snat\"\nout = \"wan\"\nfrom = \"10.0.0.0/24\"\ntarget = \"203.0.113.2\"",
		"dnat":         "to = \"self\"\ntarget = \"10.0.0.9\"",
		"one for many": "kind = \"dnat\"\nto = \"203.0.113.2\"\nproto = \"tcp\"\nto_port = \"$web\"\ntarget = \"10.0.0.9\"\ntarget_port = 8080",
		"shifted":      "kind = \"dnat\"\nto = \"203.0.113.2\"\nproto = \"tcp\"\nto_port = \"8000-8009\"\ntarget = \"10.0.0.9\"\ntarget_port = \"9000-9009\"",
		"pool":         "kind = \"dnat\"\nto = \"203.0.113.2\"\ntarget = [\"10.0.0.9\", { address = \"10.0.0.10\", weight = 3 }]\npick = \"weighted\"",
		"hairpin":      "kind = \"dnat\"\nin = \"wan\"\nto = \"203.0.113.2\"\ntarget = \"10.0.0.9\"\nhairpin = true",
		"in turn":      "kind = \"snat\"\nout = \"wan\"\nfrom = \"any\"\ntarget = \"203.0.113.5\"\npick = \"round-robin\"\npooling = \"arbitrary\"\nmapping = \"address-and-port-dependent\"",
		"redirect":     "in = \"lan\"\nproto = \"udp\"\nto_port = 53",
		"static":       "out = \"wan\"\nfrom = \"10.1.0.0/24\"\ntarget = \"198.51.100.0/24\"",
		"one host":     "kind = \"static\"\nout = \"wan\"\nfrom = \"10.0.0.8\"\ntarget = \"203.0.113.4\"\nhairpin = true",
		"both IPv6":    "kind = \"static\"\nout = \"wan\"\nfrom = \"fd00::/64\"\ntarget = \"2001:db8:5::/64\"\nto = \"2001:db8:9::/48\"",
		"nptv6":        "out = \"wan\"\nfrom = \"fd01:203:405::/48\"\ntarget = \"2001:db8:1::/48\"",
		"none":         "to = [\"10.0.0.0/8\", \"self\"]",
	}
	for _, m := range mappings {
		for _, f := range filterings {
			if m == MappingEndpointIndependent || f == FilteringAddressAndPort {
				rows[fmt.Sprint(m, " ", f)] = fmt.Sprintf("kind = \"masquerade\"\nout = \"wan\"\nfrom = \"any\"\nmapping = %q\nfiltering = %q", m, f)
			}
		}
	}
	for name, row := range rows {
		if !strings.Contains(row, "kind = ") {
			row = fmt.Sprintf("kind = %q\n", name) + row
		}
		if _, err := ParsePolicy("p.toml", []byte(natPolicy+"[[nat]]\n"+row)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNATKeys: the table of keys names kinds that there are, and needs only what a kind has.
func TestNATKeys(t *testing.T) {
	for _, k := range natKeys {
		for _, needs := range k.needs {
			if !slices.Contains(k.kinds, needs) {
				t.Errorf("%v needs %s and does not have it", needs, k.name)
			}
		}
		if len(k.needs) > 0 && k.example == "" {
			t.Errorf("%s has no example", k.name)
		}
	}
}
