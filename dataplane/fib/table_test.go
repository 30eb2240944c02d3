package fib

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"holdfast/dataplane/packet"
)

const (
	lan packet.PortID = 0
	wan packet.PortID = 1
)

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func mac(last byte) packet.MAC { return packet.MAC{2, 0, 0, 0, 0, last} }

// house is the table of a small firewall.
func house() ([]Route, []Neighbor) {
	return []Route{
			{Prefix: prefix("10.0.0.0/24"), Kind: Forward, Port: lan},
			{Prefix: prefix("10.0.0.1/32"), Kind: Local},
			{Prefix: prefix("10.0.0.255/32"), Kind: Broadcast},
			{Prefix: prefix("203.0.113.0/29"), Kind: Forward, Port: wan},
			{Prefix: prefix("0.0.0.0/0"), Kind: Forward, Port: wan, Via: addr("203.0.113.1")},
			{Prefix: prefix("192.0.2.0/24"), Kind: Forward, Port: lan, Via: addr("10.0.0.9")},
			{Prefix: prefix("198.51.100.0/24"), Kind: Blackhole},
			{Prefix: prefix("10.0.0.77/32"), Kind: Forward, Port: wan, Via: addr("203.0.113.1")},
			{Prefix: prefix("::/0"), Kind: Forward, Port: wan, Via: addr("fe80::1")},
			{Prefix: prefix("0.0.0.0/0"), Kind: Unreachable}, // the first of a prefix wins
		}, []Neighbor{
			{lan, addr("10.0.0.7"), mac(7)},
			{lan, addr("10.0.0.77"), mac(77)}, // has a route of its own
			{wan, addr("10.0.0.8"), mac(8)},   // not on that port's link
			{wan, addr("203.0.113.1"), mac(1)},
			{lan, addr("fe80::1"), mac(66)},
			{wan, addr("fe80::1"), mac(61)},
		}
}

func TestLookup(t *testing.T) {
	routes, neighbors := house()
	table := NewTable(routes, neighbors)
	forward := func(p packet.PortID, last byte, via string) Hop { return Hop{Forward, p, mac(last), addr(via), 0} }
	for _, row := range []struct {
		dst  string
		want Hop
	}{
		{"10.0.0.7", forward(lan, 7, "10.0.0.7")},
		{"10.0.0.8", Hop{Kind: Unresolved, Port: lan, Via: addr("10.0.0.8")}},
		{"10.0.0.1", Hop{Kind: Local, Port: packet.NoPort}},
		{"10.0.0.255", Hop{Kind: Broadcast, Port: packet.NoPort}},
		{"10.0.0.77", forward(wan, 1, "203.0.113.1")},
		{"203.0.113.1", forward(wan, 1, "203.0.113.1")},
		{"8.8.8.8", forward(wan, 1, "203.0.113.1")},
		{"192.0.2.5", Hop{Kind: Unresolved, Port: lan, Via: addr("10.0.0.9")}},
		{"198.51.100.5", Hop{Kind: Blackhole, Port: packet.NoPort}},
		{"2001:db8::5", forward(wan, 61, "fe80::1")},
	} {
		if got := table.Lookup(addr(row.dst)); got != row.want {
			t.Errorf("%s: %v, want %v", row.dst, got, row.want)
		}
	}
	var empty Table
	if got := empty.Lookup(addr("10.0.0.7")); got != unroutable || empty.Generation() != 0 {
		t.Errorf("an empty table gives %v", got)
	}
}

// slowLookup is the obvious twin: all routes, all neighbours, one after another.
func slowLookup(routes []Route, known map[neighborKey]packet.MAC, gateways []Gateway, dst packet.Addr) Hop {
	best := -1
	for i, r := range routes {
		if r.Prefix.Contains(dst.Netip()) && (best < 0 || r.Prefix.Bits() > routes[best].Prefix.Bits()) {
			best = i
		}
	}
	if best < 0 {
		return unroutable
	}
	r := routes[best]
	if r.Kind != Forward {
		return Hop{Kind: r.Kind, Port: packet.NoPort}
	}
	via := r.Via
	if via == (packet.Addr{}) {
		via = dst
	}
	number := uint8(0)
	if r.Via != (packet.Addr{}) {
		number = uint8(slices.Index(gateways, Gateway{r.Port, via}) + 1)
	}
	if mac, ok := known[neighborKey{r.Port, via}]; ok {
		return Hop{Forward, r.Port, mac, via, number}
	}
	return Hop{Kind: Unresolved, Port: r.Port, Via: via, Gateway: number}
}

// slowGateway is the obvious twin of Table.Gateway.
func slowGateway(known map[neighborKey]packet.MAC, gateways []Gateway, i int) Hop {
	if i >= len(gateways) {
		return unroutable
	}
	g := gateways[i]
	hop := Hop{Kind: Unresolved, Port: g.Port, Via: g.Addr, Gateway: uint8(i + 1)}
	if mac, ok := known[neighborKey{g.Port, g.Addr}]; ok {
		hop.Kind, hop.MAC = Forward, mac
	}
	return hop
}

// TestFoldAgainstTwin changes neighbours one by one and compares the table after every
// change, within a space small enough that everything meets.
func TestFoldAgainstTwin(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 60 {
		v4 := random.IntN(2) == 0
		some := func() packet.Addr {
			if v4 {
				return packet.AddrFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(32))}))
			}
			return packet.AddrFrom(netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(random.IntN(32))}))
		}
		var routes []Route
		for range random.IntN(12) {
			a := some().Netip()
			r := Route{Prefix: netip.PrefixFrom(a, a.BitLen()-random.IntN(7)).Masked(), Kind: Forward, Port: packet.PortID(random.IntN(2))}
			switch random.IntN(4) {
			case 0:
				r.Kind = []Kind{Local, Blackhole, Unroutable}[random.IntN(3)]
			case 1:
				r.Via = some()
			}
			routes = append(routes, r)
		}
		var gateways []Gateway
		for len(gateways) < random.IntN(4) {
			if g := (Gateway{packet.PortID(random.IntN(2)), some()}); !slices.Contains(gateways, g) {
				gateways = append(gateways, g)
			}
		}
		known := map[neighborKey]packet.MAC{}
		s := fold(routes, known, gateways)
		for step := range 60 {
			k := neighborKey{packet.PortID(random.IntN(2)), some()}
			if random.IntN(3) == 0 {
				delete(known, k)
				s = s.with(k, packet.MAC{}, false)
			} else {
				known[k] = mac(byte(random.IntN(3)))
				s = s.with(k, known[k], true)
			}
			if again := s.with(k, known[k], known[k] != packet.MAC{}); again != s {
				t.Fatalf("step %d: the same neighbour again changed the table", step)
			}
			one, anew := &Table{}, &Table{}
			one.publish(s)
			anew.publish(fold(routes, known, gateways))
			for host := range 32 {
				dst := some()
				dst[15] = byte(host)
				want := slowLookup(routes, known, gateways, dst)
				if got := one.Lookup(dst); got != want {
					t.Fatalf("step %d: %v by changes: %v, want %v\nroutes %v\nneighbours %v", step, dst, got, want, routes, known)
				}
				if got := anew.Lookup(dst); got != want {
					t.Fatalf("step %d: %v folded anew: %v, want %v\nroutes %v\nneighbours %v", step, dst, got, want, routes, known)
				}
			}
			for i, g := range append(gateways, Gateway{}) {
				want := slowGateway(known, gateways, i)
				if got := one.Gateway(uint8(i + 1)); got != want {
					t.Fatalf("step %d: gateway %v by changes: %v, want %v", step, g, got, want)
				}
				if got := anew.Gateway(uint8(i + 1)); got != want {
					t.Fatalf("step %d: gateway %v folded anew: %v, want %v", step, g, got, want)
				}
			}
			s = one.current.Load()
		}
	}
}

func TestNeighborhood(t *testing.T) {
	k := neighborKey{lan, addr("10.0.0.7")}
	const (
		stale     = 0x04
		reachable = 0x02
		failed    = 0x20
		permanent = 0x80
	)
	type step struct {
		what string
		do   func(*neighborhood)
		want packet.MAC // zero: not known
	}
	see := func(state int, last byte) func(*neighborhood) {
		return func(n *neighborhood) { n.see(k, state, mac(last)) }
	}
	learn := func(last byte) func(*neighborhood) {
		return func(n *neighborhood) { n.learn(k, mac(last)) }
	}
	speak, silence := (*neighborhood).speak, (*neighborhood).silence
	for name, steps := range map[string][]step{
		"a mute node believes its peer": {
			{"kernel, of old", see(stale, 1), mac(1)}, {"peer", learn(2), mac(2)}, {"its kernel fails", see(failed, 0), mac(2)},
			{"kernel again", see(stale, 1), mac(2)}, {"promoted", speak, mac(2)},
		},
		"an active node believes its kernel": {
			{"peer", learn(2), mac(2)}, {"promoted", speak, mac(2)}, {"resolved", see(reachable, 3), mac(3)},
			{"peer is late", learn(2), mac(3)}, {"gone", see(0, 0), mac(2)}, {"disproved", see(failed, 0), packet.MAC{}},
		},
		"demoted, it keeps what it knew": {
			{"promoted", speak, packet.MAC{}}, {"resolved", see(reachable, 3), mac(3)}, {"demoted", silence, mac(3)},
			{"probes stay unanswered", see(failed, 0), mac(3)}, {"the new active says", learn(4), mac(4)},
		},
		"the administrator is right": {
			{"peer", learn(2), mac(2)}, {"by hand", see(permanent, 5), mac(5)}, {"promoted", speak, mac(5)}, {"demoted", silence, mac(5)}, {"peer", learn(2), mac(5)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNeighborhood()
			for _, s := range steps {
				s.do(&n)
				got, known := n.best(k)
				if got != s.want || known != (s.want != packet.MAC{}) {
					t.Fatalf("%s: %v %v, want %v", s.what, got, known, s.want)
				}
			}
		})
	}
}

func TestRequestsAreBounded(t *testing.T) {
	r := newRequests()
	k := neighborKey{lan, addr("10.0.0.7")}
	for range 1000 {
		r.add(k)
	}
	if got := r.take(); len(got) != 1 || got[0] != k || r.shed.Load() != 0 {
		t.Errorf("one address asked for often: %v, %d shed", got, r.shed.Load())
	}
	const scanned = 4096 // a scan of a network
	for i := range scanned {
		r.add(neighborKey{lan, packet.AddrFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))})
	}
	got := len(r.take())
	if got < requestSlots/2 || got+int(r.shed.Load()) != scanned {
		t.Errorf("%d taken, %d shed of %d", got, r.shed.Load(), scanned)
	}
	if len(r.take()) != 0 || len(r.wake) != 1 {
		t.Error("the set is not empty, or nobody was woken")
	}
}

func TestNoAllocs(t *testing.T) {
	routes, neighbors := house()
	table := NewTable(routes, neighbors)
	w := &Watcher{requests: newRequests()}
	on, by, none := addr("10.0.0.7"), addr("8.8.8.8"), addr("10.0.0.8")
	if n := testing.AllocsPerRun(1000, func() {
		table.Lookup(on)
		table.Lookup(by)
		hop := table.Lookup(none)
		w.Resolve(hop.Port, hop.Via)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkLookup looks up what a firewall mostly meets: through the default gateway, and
// neighbours of a connected network of 1,000 hosts.
func BenchmarkLookup(b *testing.B) {
	for _, extra := range []int{0, 100000} {
		routes, neighbors := house()
		for i := range extra {
			a := netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 0})
			routes = append(routes, Route{Prefix: netip.PrefixFrom(a, 24), Kind: Forward, Port: wan, Via: addr("203.0.113.1")})
		}
		for i := range 250 {
			neighbors = append(neighbors, Neighbor{lan, packet.AddrFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(2 + i)})), mac(byte(i))})
		}
		table := NewTable(routes, neighbors)
		for _, dst := range []string{"10.0.0.7", "8.8.8.8", "12.1.2.3"} {
			b.Run(fmt.Sprintf("routes=%d/%s", len(routes), dst), func(b *testing.B) {
				a := addr(dst)
				for b.Loop() {
					if table.Lookup(a).Kind != Forward {
						b.Fatal("not forwarded")
					}
				}
			})
		}
	}
}
