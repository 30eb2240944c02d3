package nat

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/packet"
)

// TestForeignAddresses: what the node answers for on wan, in each kind's own terms.
func TestForeignAddresses(t *testing.T) {
	site := Site{
		Addresses: map[packet.PortID][]netip.Addr{wan: {netip.MustParseAddr("203.0.113.2")}},
		Networks:  map[packet.PortID][]netip.Prefix{wan: {netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/64")}},
		Gateways:  []netip.Addr{netip.MustParseAddr("203.0.113.1")},
	}
	pair := func(k Kind, inside, outside string) Translation {
		return Translation{Kind: k, Out: []packet.PortID{wan}, Inside: netip.MustParsePrefix(inside), Outside: netip.MustParsePrefix(outside)}
	}
	pool := func(first, last string) Translation {
		return Translation{Kind: Source, Out: []packet.PortID{wan}, Targets: []Target{{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)}}}
	}
	forward := func(in []packet.PortID, to, target string) Translation {
		return Translation{Kind: Destination, In: in, To: []netip.Prefix{netip.MustParsePrefix(to)}, Targets: []Target{{First: netip.MustParseAddr(target)}}}
	}
	for _, row := range []struct {
		name      string
		t         Translation
		yes, no   []string
		announced int
	}{
		{"snat", pool("203.0.113.5", "203.0.113.7"), []string{"203.0.113.5", "203.0.113.7"}, []string{"203.0.113.4", "203.0.113.8"}, 3},
		{"its own and the gateway's", pool("203.0.113.1", "203.0.113.4"), []string{"203.0.113.3", "203.0.113.4"}, []string{"203.0.113.1", "203.0.113.2"}, 2},
		{"elsewhere", pool("198.51.100.5", "198.51.100.7"), nil, []string{"198.51.100.5"}, 0},
		{"static", pair(Static, "10.9.0.0/30", "203.0.113.8/30"), []string{"203.0.113.8", "203.0.113.11"}, []string{"203.0.113.12"}, 4},
		{"static, the whole network", pair(Static, "10.9.0.0/24", "203.0.113.0/24"), []string{"203.0.113.3", "203.0.113.254"},
			[]string{"203.0.113.0", "203.0.113.1", "203.0.113.2", "203.0.113.255"}, 252},
		{"nptv6", pair(NPTv6, "fd01:0:0:1::/64", "2001:db8::/64"), []string{"2001:db8::1:2:3:4"}, []string{"2001:db8:0:1::1", "2001:db8::"}, 0},
		{"dnat", forward(nil, "203.0.113.9/32", "10.9.0.9"), []string{"203.0.113.9"}, []string{"203.0.113.10"}, 1},
		{"dnat of what comes in there", forward([]packet.PortID{wan}, "203.0.113.9/32", "10.9.0.9"), []string{"203.0.113.9"}, nil, 1},
		{"dnat of what comes in elsewhere", forward([]packet.PortID{lan}, "203.0.113.9/32", "10.9.0.9"), nil, []string{"203.0.113.9"}, 0},
		{"dnat of everything", forward(nil, "0.0.0.0/0", "10.9.0.9"), nil, []string{"203.0.113.9"}, 0},
		{"dnat of the whole network", forward(nil, "203.0.113.0/24", "10.9.0.9"), nil, []string{"203.0.113.9"}, 0},
		{"dnat to a host of the network", forward(nil, "203.0.113.8/31", "203.0.113.9"), []string{"203.0.113.8"}, []string{"203.0.113.9"}, 1},
	} {
		p, err := Compile([]Translation{row.t}, site, NewPool())
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		for want, all := range map[bool][]string{true: row.yes, false: row.no} {
			for _, text := range all {
				a := packet.AddrFrom(netip.MustParseAddr(text))
				if p.Answers(wan, &a) != want {
					t.Errorf("%s: answers for %s: %t", row.name, text, !want)
				}
				if p.Answers(lan, &a) {
					t.Errorf("%s: answers for %s on lan", row.name, text)
				}
			}
		}
		if n := len(p.Announced(wan)); n != row.announced {
			t.Errorf("%s: %d announced, want %d", row.name, n, row.announced)
		}
	}
}

// TestForeignSpans: cutting and joining spans is what it is for sets.
func TestForeignSpans(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		at := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }
		var all []addrSpan
		var set [256]bool
		for range rapid.IntRange(0, 8).Draw(rt, "steps") {
			a, b := rapid.IntRange(0, 255).Draw(rt, "a"), rapid.IntRange(0, 255).Draw(rt, "b")
			s := addrSpan{at(min(a, b)), at(max(a, b))}
			in := rapid.Bool().Draw(rt, "in")
			if in {
				all = append(all, s)
			} else {
				all = except(all, s)
			}
			for n := min(a, b); n <= max(a, b); n++ {
				set[n] = in
			}
		}
		p := &Policy{}
		p.foreign[wan] = foreignOf(all)
		count := 0
		for n, want := range set {
			a := packet.AddrFrom(at(n))
			if p.Answers(wan, &a) != want {
				rt.Fatalf("%v: %t", at(n), !want)
			}
			if want {
				count++
			}
		}
		if len(p.Announced(wan)) != count {
			rt.Fatalf("%d announced of %d", len(p.Announced(wan)), count)
		}
	})
}
