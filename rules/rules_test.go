package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"holdfast/bench/ruleset"
	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

const lan, wan = packet.PortID(0), packet.PortID(1)

const head = `
[ports.lan]
addresses = ["10.0.0.1/24", "fd00::1/64"]
[ports.wan]
addresses = ["203.0.113.2/29"]
[macros]
web = [80, "8000-8080"]
`

func compiled(t testing.TB, text string) (*config.Policy, *Set) {
	t.Helper()
	p, err := config.ParsePolicy("p.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return p, s
}

// tuple makes a packet of "tcp 10.0.0.7:1234 > 203.0.113.9:80"; ICMP has its type as the
// destination's port.
func tuple(t testing.TB, s string) packet.Tuple {
	t.Helper()
	f := strings.Fields(s)
	src, dst := netip.MustParseAddrPort(f[1]), netip.MustParseAddrPort(f[3])
	proto, ok := config.ParseProtocol(f[0])
	if !ok {
		t.Fatal(s)
	}
	k := packet.Tuple{Proto: packet.Proto(proto), Src: packet.AddrFrom(src.Addr()), Dst: packet.AddrFrom(dst.Addr()), SrcPort: src.Port(), DstPort: dst.Port()}
	if proto == config.ICMP || proto == config.ICMPv6 {
		k.DstPort <<= 8
	}
	return k
}

// TestMatch reads as a table of first packets and the rule that decides each.
func TestMatch(t *testing.T) {
	_, set := compiled(t, head+`
[[rules]]
id = "lookups"       # match decides nothing, and speaks for those below that do not
action = "match"
proto = "udp"
state = { sync = "none" }
[[rules]]
id = "telnet"
action = "reject"
to_port = 23
proto = ["tcp", "udp"]
[[rules]]
id = "web"
action = "pass"
in = "lan"
out = "wan"
from = ["10.0.0.0/24", "!10.0.0.66", "!10.0.0.100-10.0.0.110"]
proto = "tcp"
to_port = "$web"
[[rules]]
id = "dns"
action = "pass"
in = "lan"
proto = "udp"
from_port = "1024-65535"
to_port = 53
[[rules]]
id = "time"
action = "pass"
in = "lan"
proto = "udp"
to_port = 123
state = { sync = "async" }
[[rules]]
id = "ping"
action = "pass"
proto = "icmp"
icmp_type = ["echo-request", 13]
[[rules]]
id = "ping6"
action = "pass"
proto = "icmpv6"
icmp_type = "echo-request"
to = "self"
[[rules]]
id = "gre"
action = "pass"
proto = 47
to = "any"
from = "<friends>"   # a table, always empty
[[rules]]
id = "esp"
action = "pass"
proto = "esp"
from = "!<foes>"
`)
	for _, row := range []struct {
		packet  string
		in, out packet.PortID
		want    string
	}{
		{"tcp 10.0.0.7:1234 > 203.0.113.9:80", lan, wan, "pass web async"},
		{"tcp 10.0.0.7:1234 > 203.0.113.9:8000", lan, wan, "pass web async"},
		{"tcp 10.0.0.7:1234 > 203.0.113.9:8080", lan, wan, "pass web async"},
		{"tcp 10.0.0.7:1234 > 203.0.113.9:8081", lan, wan, "block default async"},
		{"tcp 10.0.0.7:1234 > 203.0.113.9:80", wan, lan, "block default async"},        // other way
		{"tcp 10.0.0.7:1234 > 203.0.113.9:80", packet.Self, wan, "pass default async"}, // the node's own, and no rule names it
		{"tcp 10.0.0.66:1234 > 203.0.113.9:80", lan, wan, "block default async"},
		{"tcp 10.0.0.65:1234 > 203.0.113.9:80", lan, wan, "pass web async"},
		{"tcp 10.0.0.67:1234 > 203.0.113.9:80", lan, wan, "pass web async"},
		{"tcp 10.0.0.99:1234 > 203.0.113.9:80", lan, wan, "pass web async"},
		{"tcp 10.0.0.100:1234 > 203.0.113.9:80", lan, wan, "block default async"},
		{"tcp 10.0.0.110:1234 > 203.0.113.9:80", lan, wan, "block default async"},
		{"tcp 10.0.0.111:1234 > 203.0.113.9:80", lan, wan, "pass web async"},
		{"tcp 10.0.1.0:1234 > 203.0.113.9:80", lan, wan, "block default async"},
		{"tcp [fd00::7]:1234 > [2001:db8::1]:80", lan, wan, "block default async"},
		{"tcp 10.0.0.7:1234 > 203.0.113.9:23", wan, lan, "reject telnet async"},
		{"udp 10.0.0.7:1234 > 203.0.113.9:23", lan, wan, "reject telnet none"},
		{"udp 10.0.0.7:1234 > 203.0.113.9:53", lan, wan, "pass dns none"}, // inherited
		{"udp 10.0.0.7:1023 > 203.0.113.9:53", lan, wan, "block default async"},
		{"udp 10.0.0.7:123 > 203.0.113.9:123", lan, wan, "pass time async"}, // its own
		{"icmp 10.0.0.7:1 > 203.0.113.9:8", lan, wan, "pass ping async"},
		{"icmp 10.0.0.7:1 > 203.0.113.9:13", lan, wan, "pass ping async"},
		{"icmp 10.0.0.7:1 > 203.0.113.9:15", lan, wan, "block default async"},
		{"icmpv6 [fd00::7]:1 > [fd00::1]:128", lan, wan, "pass ping6 async"},
		{"icmpv6 [fd00::7]:1 > [fd00::2]:128", lan, wan, "block default async"},
		{"gre 10.0.0.7:0 > 203.0.113.9:0", lan, wan, "block default async"},
		{"esp 10.0.0.7:0 > 203.0.113.9:0", lan, wan, "pass esp async"},
	} {
		k := tuple(t, row.packet)
		v := set.Match(&k, row.in, row.out, nil, nil)
		rule := set.Rules()[v.Rule]
		if got := fmt.Sprint(v.Action, " ", rule.ID, " ", v.Sync); got != row.want {
			t.Errorf("%s: %s, want %s", row.packet, got, row.want)
		}
		if byNumber, ok := set.ByNumber(v.Number); !ok || byNumber.ID != rule.ID {
			t.Errorf("number %d is of %q, want %q", v.Number, byNumber.ID, rule.ID)
		}
	}
	k := tuple(t, "tcp 10.0.0.66:1234 > 203.0.113.9:80")
	_, steps := set.Explain(&k, lan, wan, nil, nil)
	got := make([]Field, len(steps))
	for i, s := range steps {
		got[i] = s.Differs
	}
	if diff := cmp.Diff([]Field{FieldProto, FieldToPort, FieldFrom, FieldProto, FieldProto, FieldProto, FieldProto, FieldProto, FieldProto}, got); diff != "" {
		t.Errorf("explained (-want +got):\n%s", diff)
	}
}

// TestZeroBlocks: nothing passes by accident.
func TestZeroBlocks(t *testing.T) {
	var s Set
	k := tuple(t, "tcp 10.0.0.7:1234 > 203.0.113.9:80")
	if v := s.Match(&k, lan, wan, nil, nil); v.Action != Block || (Verdict{}).Action != Block {
		t.Errorf("got %+v", v)
	}
}

// obvious is Match as one would say it: straight from the blueprint, element by element.
func obvious(p *config.Policy, k *packet.Tuple, in, out packet.PortID) (Action, string) {
	port := func(names []config.Value[string], id packet.PortID) bool {
		for _, n := range names {
			if i, _ := p.PortID(n.V); packet.PortID(i) == id {
				return true
			}
		}
		return len(names) == 0
	}
	address := func(list []config.Value[config.Address], addr packet.Addr) bool {
		a, included, includes := addr.Netip(), false, false
		for _, e := range list {
			holds := false
			switch e.V.Kind {
			case config.AddressAny:
				holds = true
			case config.AddressSelf:
				holds = slices.Contains(p.Self(), a)
			case config.AddressRange:
				holds = a.BitLen() == e.V.First.BitLen() && a.Compare(e.V.First) >= 0 && a.Compare(e.V.Last) <= 0
			}
			if e.V.Sense == config.Exclude {
				if holds {
					return false
				}
				continue
			}
			includes, included = true, included || holds
		}
		return included || !includes
	}
	number := func(list []config.Value[config.PortRange], n uint16) bool {
		for _, r := range list {
			if n >= r.V.First && n <= r.V.Last {
				return true
			}
		}
		return len(list) == 0
	}
	named := func(list []config.Value[config.Address]) bool {
		return slices.ContainsFunc(list, func(a config.Value[config.Address]) bool {
			return a.V.Sense == config.Include && a.V.Kind != config.AddressAny
		})
	}
	for _, r := range p.Rules {
		if in == packet.Self && !named(r.From) || out == packet.Self && r.Action.V == config.Pass && !named(r.To) {
			continue
		}
		proto := len(r.Protos) == 0 || slices.ContainsFunc(r.Protos, func(v config.Value[config.Protocol]) bool { return packet.Proto(v.V) == k.Proto })
		if r.Action.V != config.Match && proto && port(r.In, in) && port(r.Out, out) && address(r.From, k.Src) && address(r.To, k.Dst) &&
			number(r.FromPorts, k.SrcPort) && number(r.ToPorts, k.DstPort) {
			return actions[r.Action.V], r.ID.V
		}
	}
	if in == packet.Self {
		return Pass, config.DefaultID
	}
	return Block, config.DefaultID
}

// TestAgainstObvious: random policies over a few addresses and ports, random packets.
func TestAgainstObvious(t *testing.T) {
	addresses := []string{"any", "self", "<t>", "10.0.0.0/30", "10.0.0.1", "10.0.0.2-10.0.0.5", "10.0.0.4/30", "0.0.0.0/0", "::/0", "fd00::/126", "fd00::2-fd00::9",
		"!10.0.0.1", "!10.0.0.3-10.0.0.6", "!self", "!fd00::1", "!0.0.0.0/0", "!<t>", "!10.0.0.0/29", "255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
	hosts := []string{"0.0.0.0", "10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8", "203.0.113.2",
		"255.255.255.255", "::", "fd00::", "fd00::1", "fd00::2", "fd00::3", "fd00::9", "fd00::a", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
	quoted := func(list []string) string { return `["` + strings.Join(list, `", "`) + `"]` }
	rapid.Check(t, func(rt *rapid.T) {
		text := head
		for i := range rapid.IntRange(1, 6).Draw(rt, "rules") {
			text += fmt.Sprintf("[[rules]]\nid = \"r%d\"\naction = %q\nproto = [\"tcp\", \"udp\"]\n", i, rapid.SampledFrom([]string{"pass", "block", "reject", "match"}).Draw(rt, "action"))
			for _, f := range []struct {
				key    string
				values []string
			}{
				{"in", []string{"lan", "wan"}}, {"out", []string{"lan", "wan"}}, {"from", addresses}, {"to", addresses},
				{"from_port", []string{"1", "2-4", "3"}}, {"to_port", []string{"1-2", "4", "65535"}},
			} {
				if list := rapid.SliceOfN(rapid.SampledFrom(f.values), 0, 4).Draw(rt, f.key); len(list) > 0 {
					text += f.key + " = " + quoted(list) + "\n"
				}
			}
		}
		p, set := compiled(t, text)
		for range 20 {
			k := packet.Tuple{
				Proto:   rapid.SampledFrom([]packet.Proto{packet.TCP, packet.UDP, packet.GRE}).Draw(rt, "proto"),
				Src:     packet.AddrFrom(netip.MustParseAddr(rapid.SampledFrom(hosts).Draw(rt, "src"))),
				Dst:     packet.AddrFrom(netip.MustParseAddr(rapid.SampledFrom(hosts).Draw(rt, "dst"))),
				SrcPort: rapid.SampledFrom([]uint16{0, 1, 2, 3, 4, 5}).Draw(rt, "sport"),
				DstPort: rapid.SampledFrom([]uint16{0, 1, 2, 3, 4, 65535}).Draw(rt, "dport"),
			}
			in, out := rapid.SampledFrom([]packet.PortID{0, 1, 2, packet.NoPort}).Draw(rt, "in"), rapid.SampledFrom([]packet.PortID{0, 1, packet.NoPort}).Draw(rt, "out")
			action, id := obvious(p, &k, in, out)
			if v := set.Match(&k, in, out, nil, nil); v.Action != action || set.Rules()[v.Rule].ID != id {
				rt.Fatalf("%+v in %d out %d: %v by %s, want %v by %s\n%s", k, in, out, v.Action, set.Rules()[v.Rule].ID, action, id, text)
			}
		}
	})
}

// TestNumbers: every rule has a number of its own, which depends on the ids alone.
func TestNumbers(t *testing.T) {
	// Two ids whose hashes, folded to 32 bits, are one number.
	a, b := "r31091", "r60404"
	if Number(a) != Number(b) {
		t.Fatalf("%s and %s do not clash", a, b)
	}
	rule := func(id string) config.Rule { return config.Rule{ID: config.Value[string]{V: id}} }
	one, other := numbersOf([]config.Rule{rule(b), rule("x"), rule(a)}), numbersOf([]config.Rule{rule(a), rule(b)})
	if one[2] != Number(a) || one[0] == one[2] || other[0] != one[2] || other[1] != one[0] {
		t.Errorf("%#x and %#x", one, other)
	}
	// Few ids share numbers, and the others keep theirs: the same as if all were gone through.
	rules, all := make([]config.Rule, 1<<16), make([]int, 1<<16)
	for i := range rules {
		rules[i], all[i] = rule(fmt.Sprint("r", i)), i
	}
	twin := make([]uint32, len(rules))
	renumber(rules, twin, all, nil)
	if got := numbersOf(rules); !slices.Equal(got, twin) {
		t.Error("numbers depend on the way they were given in")
	}
	// Where a number given anew is another rule's by its id, all have to be gone through.
	if renumber([]config.Rule{rule(a), rule(b)}, make([]uint32, 2), []int{0, 1}, []uint32{one[0]}) {
		t.Error("a number was taken from the rule that has it by its id")
	}
	// A limit is found by the number that a connection has.
	limited := config.Policy{Rules: []config.Rule{rule(a), rule(b)}}
	for i := range limited.Rules {
		limited.Rules[i].OwnLimit = &config.Limit{}
	}
	if plan := Limits(&limited); plan.Rules[0].Number != other[0] || plan.Rules[1].Number != other[1] {
		t.Errorf("limits of %+v, want %#x", plan.Rules, other)
	}
	// The number travels between nodes, so it may never change.
	if n := Number("web-out"); n != 0xbbd7a9bc {
		t.Errorf("web-out has number %#x", n)
	}
}

// TestSyncModes: the words of the configuration and of the table are the same.
func TestSyncModes(t *testing.T) {
	for _, m := range []config.SyncMode{config.SyncAsync, config.SyncDefer, config.SyncNone} {
		if conntrack.SyncMode(m).String() != m.String() {
			t.Errorf("%v is %v in the table", m, conntrack.SyncMode(m))
		}
	}
}

// many makes a set of n rules, of which the last matches.
func many(t testing.TB, n int) *Set {
	var b strings.Builder
	b.WriteString(head)
	for i := range n {
		fmt.Fprintf(&b, "[[rules]]\nid = \"r%d\"\naction = \"pass\"\nin = \"lan\"\nproto = \"tcp\"\nfrom = [\"10.0.0.0/16\", \"!10.0.0.66\"]\nto = \"198.51.%d.%d\"\nto_port = 443\n", i, (i+1)>>8, (i+1)&0xff)
	}
	_, s := compiled(t, b.String())
	return s
}

func lastOf(t testing.TB, n int) packet.Tuple {
	return tuple(t, fmt.Sprintf("tcp 10.0.0.7:1234 > 198.51.%d.%d:443", n>>8, n&0xff))
}

func TestMatchAllocatesNothing(t *testing.T) {
	s, k := many(t, 10), lastOf(t, 10)
	if n := testing.AllocsPerRun(100, func() { s.Match(&k, lan, wan, nil, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestMatchOfFactsAllocatesNothing: neither the packet nor what it says moves to the heap.
func TestMatchOfFactsAllocatesNothing(t *testing.T) {
	s := filtered(t, ruleset.Filter(ruleset.Firewall, 100, 1))
	n := testing.AllocsPerRun(100, func() {
		p := packet.Tuple{Src: address("10.0.0.1"), Dst: address("10.0.0.2"), Proto: packet.TCP}
		facts := Facts{TTL: 64}
		s.Match(&p, lan, wan, &facts, nil)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
