package rules

import (
	"fmt"
	"testing"

	"holdfast/dataplane/packet"
)

// TestL8_RulesSpeakOfTheNodeWhereTheyNameIt: one policy, what is for the node and what it
// sends itself.
func TestL8_RulesSpeakOfTheNodeWhereTheyNameIt(t *testing.T) {
	_, set := compiled(t, head+`
[[rules]]
id = "bad"              # no end is named: shut out of the node too, but does not bind the node
action = "block"
proto = "tcp"
to_port = 666
[[rules]]
id = "modes"
action = "match"
proto = "tcp"
state = { mode = "liberal" }
[[rules]]
id = "ssh"
action = "pass"
in = "lan"
to = "self"
proto = "tcp"
to_port = 22
[[rules]]
id = "dns"
action = "pass"
to = "10.0.0.1"
proto = "udp"
to_port = 53
[[rules]]
id = "quiet"
action = "reject"
from = "self"
out = "wan"
proto = "udp"
to_port = 123
[[rules]]
id = "no-ping"
action = "block"
in = "wan"
to = ["self", "!10.0.0.1"]
proto = "icmp"
[[rules]]
id = "everything"       # through the node, not to it
action = "pass"
in = "lan"
[[rules]]
id = "rest"
action = "block"
to = "any"
proto = "udp"
to_port = 9
`)
	for _, row := range []struct {
		packet  string
		in, out packet.PortID
		want    string
	}{
		{"tcp 10.0.0.7:1234 > 10.0.0.1:22", lan, packet.Self, "pass ssh liberal"},
		{"tcp 10.0.0.7:1234 > 203.0.113.2:22", lan, packet.Self, "pass ssh liberal"}, // the other address, from lan
		{"tcp 203.0.113.9:1234 > 203.0.113.2:22", wan, packet.Self, "block default strict"},
		{"tcp 10.0.0.7:1234 > 10.0.0.1:80", lan, packet.Self, "block default strict"}, // "everything" names no end
		{"tcp 10.0.0.7:1234 > 203.0.113.9:80", lan, wan, "pass everything liberal"},
		{"tcp 10.0.0.7:1234 > 10.0.0.1:666", lan, packet.Self, "block bad strict"},
		{"udp 203.0.113.9:1234 > 10.0.0.1:53", wan, packet.Self, "pass dns strict"},
		{"udp 10.0.0.7:1234 > 10.0.0.1:9", lan, packet.Self, "block rest strict"},
		{"icmp 10.0.0.7:1 > 10.0.0.1:8", lan, packet.Self, "pass default strict"},
		{"icmp 10.0.0.7:1 > 10.0.0.1:13", lan, packet.Self, "block default strict"}, // echo alone
		{"icmpv6 [fd00::7]:1 > [fd00::1]:128", lan, packet.Self, "pass default strict"},
		{"icmp 203.0.113.9:1 > 203.0.113.2:8", wan, packet.Self, "block no-ping strict"},
		{"icmp 203.0.113.9:1 > 10.0.0.1:8", wan, packet.Self, "pass default strict"},
		// What the node begins.
		{"tcp 203.0.113.2:1234 > 198.51.100.1:443", packet.Self, wan, "pass default strict"},
		{"tcp 203.0.113.2:1234 > 198.51.100.1:666", packet.Self, wan, "pass default strict"}, // "bad" does not name it
		{"udp 203.0.113.2:123 > 198.51.100.1:123", packet.Self, wan, "reject quiet strict"},
		{"udp 10.0.0.1:123 > 10.0.0.7:123", packet.Self, lan, "pass default strict"},
	} {
		k := tuple(t, row.packet)
		v := set.Match(&k, row.in, row.out, nil, nil)
		mode := v.Mode
		if set.Default(&v) {
			mode = 0
		}
		if got := fmt.Sprint(v.Action, " ", set.Rules()[v.Rule].ID, " ", mode); got != row.want {
			t.Errorf("%s: %s, want %s", row.packet, got, row.want)
		}
		if v2, steps := set.Explain(&k, row.in, row.out, nil, nil); v2 != v || len(steps) == 0 || !set.Default(&v) && steps[len(steps)-1].Differs != FieldNone {
			t.Errorf("%s: explained as %+v %v", row.packet, v2, steps)
		}
	}
}
