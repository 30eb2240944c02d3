package nat

import (
	"net/netip"
	"testing"

	"holdfast/dataplane/packet"
)

const dmz packet.PortID = 2

func ports(ids ...packet.PortID) []packet.PortID { return ids }

func target(s string) Target { return Target{First: netip.MustParseAddr(s)} }

func protos(all ...packet.Proto) []packet.Proto { return all }

func through(first, last uint16) PortSpan { return PortSpan{first, last} }

// compiled makes a policy of a blueprint on a node with addresses on all three ports.
func compiled(t testing.TB, blueprint ...Translation) (*Policy, *Pool) {
	t.Helper()
	pool := newPool(testSecret)
	policy, err := Compile(blueprint, testSite(), pool)
	if err != nil {
		t.Fatal(err)
	}
	return policy, pool
}

func testSite() Site {
	a := netip.MustParseAddr
	return Site{Addresses: map[packet.PortID][]netip.Addr{
		lan: {a("10.0.0.1"), a("fd00::1")}, wan: {a("203.0.113.2"), a("2001:db8::2"), a("fe80::2")}, dmz: {a("172.16.0.1")},
	}}
}

// web forwards port 80 and 8000 to 8009 of the WAN address, with hairpin.
func web() Translation {
	return Translation{Kind: Destination, In: ports(wan), To: prefixes("203.0.113.2/32"), Protos: protos(packet.TCP),
		ToPorts: []PortSpan{through(80, 80)}, Targets: []Target{target("172.16.0.80")}, TargetPorts: through(8080, 8080), Hairpin: HairpinOn}
}

func webRange() Translation {
	w := web()
	w.ToPorts, w.TargetPorts = []PortSpan{through(8000, 8009)}, through(90, 99)
	return w
}

// step is one connection and what must become of it.
type step struct {
	name     string
	in, out  packet.PortID
	original packet.Tuple
	final    packet.Tuple // as routes and rules see it
	reply    packet.Tuple
	turned   Outcome
	outcome  Outcome
	port     uint16 // held of the source; 0: none
}

// run takes connections through both stages, and gives back what they held.
func run(t *testing.T, policy *Policy, pool *Pool, steps []step) {
	t.Helper()
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			turn := policy.Destination(&s.original, s.in)
			if turn.Outcome != s.turned || turn.Tuple != s.final {
				t.Fatalf("%v: first stage %v %v, want %v %v", s.original, turn.Tuple, turn.Outcome, s.final, s.turned)
			}
			reply, b, outcome := policy.Source(&turn, s.out, 0)
			if reply != s.reply || outcome != s.outcome || b.Port() != s.port {
				t.Fatalf("%v: reply %v %v, port %d, want %v %v, port %d", s.original, reply, outcome, b.Port(), s.reply, s.outcome, s.port)
			}
			if got := pool.BindingOf(s.original, reply); got != b {
				t.Errorf("BindingOf gives %+v, Source gave %+v", got, b)
			}
			if taken, ok := pool.Take(s.original, reply); !ok || taken != b {
				t.Errorf("Take gives %+v %v, Source gave %+v", taken, ok, b)
			}
			for _, of := range []string{"Source", "Take"} {
				if !pool.Release(b) {
					t.Errorf("what %s held is not held", of)
				}
			}
		})
	}
	for _, u := range pool.Usage() {
		if u.Used != 0 {
			t.Errorf("%v %v: %d ports are left", u.Address, u.Proto, u.Used)
		}
	}
}

func tcp(src string, sport uint16, dst string, dport uint16) packet.Tuple {
	return tuple(packet.TCP, src, sport, dst, dport)
}

func TestI1_EveryKind(t *testing.T) {
	policy, pool := compiled(t,
		Translation{Kind: Exempt, Out: ports(wan), From: prefixes("10.0.0.0/8"), To: prefixes("198.18.0.0/15")},
		web(), webRange(),
		Translation{Kind: Redirect, In: ports(lan), Protos: protos(packet.UDP), ToPorts: []PortSpan{through(53, 53)}, TargetPorts: through(5353, 5353)},
		Translation{Kind: Static, Out: ports(wan), Inside: netip.MustParsePrefix("172.16.1.0/24"), Outside: netip.MustParsePrefix("198.51.100.0/24")},
		Translation{Kind: Source, Out: ports(wan), From: prefixes("10.9.0.0/16"), Targets: []Target{target("203.0.113.9")}, TargetPorts: through(50000, 50999)},
		masquerade("10.0.0.0/8", "fd00::/8"),
	)
	run(t, policy, pool, []step{
		{"masquerade", lan, wan, tcp("10.0.0.2", 40000, "192.0.2.7", 443), tcp("10.0.0.2", 40000, "192.0.2.7", 443),
			tcp("192.0.2.7", 443, "203.0.113.2", 40000), Untranslated, Translated, 40000},
		{"snat: a port of the span stays", lan, wan, tcp("10.9.0.2", 50123, "192.0.2.7", 443), tcp("10.9.0.2", 50123, "192.0.2.7", 443),
			tcp("192.0.2.7", 443, "203.0.113.9", 50123), Untranslated, Translated, 50123},
		{"dnat", wan, dmz, tcp("192.0.2.7", 40000, "203.0.113.2", 80), tcp("192.0.2.7", 40000, "172.16.0.80", 8080),
			tcp("172.16.0.80", 8080, "192.0.2.7", 40000), Translated, Untranslated, 0},
		{"dnat of a range", wan, dmz, tcp("192.0.2.7", 40000, "203.0.113.2", 8003), tcp("192.0.2.7", 40000, "172.16.0.80", 93),
			tcp("172.16.0.80", 93, "192.0.2.7", 40000), Translated, Untranslated, 0},
		{"dnat: another port", wan, dmz, tcp("192.0.2.7", 40000, "203.0.113.2", 81), tcp("192.0.2.7", 40000, "203.0.113.2", 81),
			tcp("203.0.113.2", 81, "192.0.2.7", 40000), Untranslated, Untranslated, 0},
		{"redirect", lan, packet.NoPort, tuple(packet.UDP, "10.0.0.2", 4000, "192.0.2.53", 53), tuple(packet.UDP, "10.0.0.2", 4000, "10.0.0.1", 5353),
			tuple(packet.UDP, "10.0.0.1", 5353, "10.0.0.2", 4000), Translated, Untranslated, 0},
		{"redirect over IPv6", lan, packet.NoPort, tuple(packet.UDP, "fd00::7", 4000, "2001:db8:1::53", 53), tuple(packet.UDP, "fd00::7", 4000, "fd00::1", 5353),
			tuple(packet.UDP, "fd00::1", 5353, "fd00::7", 4000), Translated, Untranslated, 0},
		{"static, out", dmz, wan, tcp("172.16.1.9", 25, "192.0.2.7", 25), tcp("172.16.1.9", 25, "192.0.2.7", 25),
			tcp("192.0.2.7", 25, "198.51.100.9", 25), Untranslated, Translated, 0},
		{"static, in", wan, dmz, tcp("192.0.2.7", 25, "198.51.100.9", 25), tcp("192.0.2.7", 25, "172.16.1.9", 25),
			tcp("172.16.1.9", 25, "192.0.2.7", 25), Translated, Untranslated, 0},
		{"static, GRE", wan, dmz, tuple(packet.GRE, "192.0.2.7", 0, "198.51.100.9", 0), tuple(packet.GRE, "192.0.2.7", 0, "172.16.1.9", 0),
			tuple(packet.GRE, "172.16.1.9", 0, "192.0.2.7", 0), Translated, Untranslated, 0},
		{"I22: exempt by destination", lan, wan, tcp("10.0.0.2", 40000, "198.18.0.7", 443), tcp("10.0.0.2", 40000, "198.18.0.7", 443),
			tcp("198.18.0.7", 443, "10.0.0.2", 40000), Untranslated, Untranslated, 0},
		{"ESP", lan, wan, tuple(packet.ESP, "10.0.0.2", 0, "192.0.2.7", 0), tuple(packet.ESP, "10.0.0.2", 0, "192.0.2.7", 0),
			tuple(packet.ESP, "192.0.2.7", 0, "203.0.113.2", 0), Untranslated, Translated, 0},
		{"an unknown protocol", lan, wan, tuple(200, "10.0.0.2", 0, "192.0.2.7", 0), tuple(200, "10.0.0.2", 0, "192.0.2.7", 0),
			tuple(200, "192.0.2.7", 0, "203.0.113.2", 0), Untranslated, Translated, 0},
	})
}

// TestI8_Hairpin: a forwarded port is reached from inside, and the server sees the
// client's external address; one on the client's own segment too.
func TestI8_Hairpin(t *testing.T) {
	near := web()
	near.ToPorts, near.Targets = []PortSpan{through(81, 81)}, []Target{target("10.0.0.80")}
	plain := web()
	plain.ToPorts, plain.Targets, plain.In = []PortSpan{through(82, 82)}, []Target{target("172.16.0.81")}, ports(wan)
	policy, pool := compiled(t, web(), near, plain, masquerade("10.0.0.0/8"))
	run(t, policy, pool, []step{
		{"to another segment", lan, dmz, tcp("10.0.0.2", 40000, "203.0.113.2", 80), tcp("10.0.0.2", 40000, "172.16.0.80", 8080),
			tcp("172.16.0.80", 8080, "203.0.113.2", 40000), Translated, Translated, 40000},
		{"to its own segment", lan, lan, tcp("10.0.0.2", 40000, "203.0.113.2", 81), tcp("10.0.0.2", 40000, "10.0.0.80", 8080),
			tcp("10.0.0.80", 8080, "203.0.113.2", 40000), Translated, Translated, 40000},
		{"a source without translation, back to its own segment", dmz, dmz, tcp("172.16.0.9", 40000, "203.0.113.2", 82), tcp("172.16.0.9", 40000, "172.16.0.81", 8080),
			tcp("172.16.0.81", 8080, "172.16.0.1", 40000), Translated, Translated, 40000},
	})
}

// TestI16_TwiceNAT: both ends of one connection.
func TestI16_TwiceNAT(t *testing.T) {
	policy, pool := compiled(t, web(),
		Translation{Kind: Source, In: ports(wan), Out: ports(dmz), To: prefixes("172.16.0.80/32"), Targets: []Target{target("172.16.0.1")}})
	run(t, policy, pool, []step{
		{"TCP", wan, dmz, tcp("192.0.2.7", 40000, "203.0.113.2", 80), tcp("192.0.2.7", 40000, "172.16.0.80", 8080),
			tcp("172.16.0.80", 8080, "172.16.0.1", 40000), Translated, Translated, 40000},
	})
	both, flags := policy.Destination(ptr(tcp("192.0.2.7", 40000, "203.0.113.2", 80)), wan), 0
	reply, b, _ := policy.Source(&both, dmz, 0)
	for standby := range 2 { // what a standby takes is what the active node held
		if got, ok := pool.Take(both.Original, reply); !ok || got != b {
			t.Errorf("standby %d: %+v %v", standby, got, ok)
		}
		flags++
	}
	for range flags + 1 {
		if !pool.Release(pool.BindingOf(both.Original, reply)) {
			t.Error("not held")
		}
	}
}

func ptr[T any](v T) *T { return &v }

// TestI15_Targets: every pick serves all targets, sticky ones a client always alike, and
// weights count; a translation without a target takes what it would translate.
func TestI15_Targets(t *testing.T) {
	pool := func(pick Pick, weight uint32, all ...Target) *Policy {
		w := web()
		w.Pick, w.Targets = pick, all
		for i := range w.Targets {
			w.Targets[i].Weight = 1
		}
		if len(w.Targets) > 0 {
			w.Targets[0].Weight = weight
		}
		policy, _ := compiled(t, w)
		return policy
	}
	client := func(host int, port uint16) packet.Tuple {
		e := inside(host, port)
		return packet.Tuple{Src: e.Addr, Dst: addr("203.0.113.2"), SrcPort: port, DstPort: 80, Proto: packet.TCP}
	}
	four := Target{First: netip.MustParseAddr("172.16.0.80"), Last: netip.MustParseAddr("172.16.0.82")}
	for _, row := range []struct {
		pick   Pick
		weight uint32
		least  int // of 1,200, for each of four
	}{{Hash, 1, 240}, {Sticky, 1, 240}, {RoundRobin, 1, 300}, {Random, 1, 240}, {Weighted, 1, 240}} {
		policy, count := pool(row.pick, row.weight, four, target("172.16.1.1")), map[packet.Addr]int{}
		for n := range 1200 {
			turn := policy.Destination(ptr(client(n, 40000)), wan)
			count[turn.Tuple.Dst]++
		}
		if len(count) != 4 {
			t.Errorf("pick %d: %d targets", row.pick, len(count))
		}
		for a, n := range count {
			if n < row.least {
				t.Errorf("pick %d: %v has %d of 1200", row.pick, a, n)
			}
		}
	}
	policy, heavy := pool(Weighted, 3, target("172.16.0.80"), target("172.16.0.81")), 0
	for n := range 4000 {
		turn := policy.Destination(ptr(client(n, 40000)), wan)
		if again := policy.Destination(ptr(client(n, 40001)), wan); again.Tuple.Dst != turn.Tuple.Dst {
			t.Fatalf("client %d moves", n)
		}
		if turn.Tuple.Dst == addr("172.16.0.80") {
			heavy++
		}
	}
	if heavy < 2800 || heavy > 3200 {
		t.Errorf("weight 3 of 4 got %d of 4000", heavy)
	}
	spread := map[packet.Addr]bool{}
	hashed := pool(Hash, 1, four)
	for port := range 100 {
		spread[hashed.Destination(ptr(client(1, uint16(port+1))), wan).Tuple.Dst] = true
	}
	if len(spread) != 3 {
		t.Errorf("the connections of one client reach %d of 3 targets", len(spread))
	}
	if turn := pool(Hash, 0).Destination(ptr(client(1, 1)), wan); turn.Outcome != NoTarget {
		t.Errorf("an empty pool: %v", turn.Outcome)
	}
}

// TestI14_ServicesAreNotGiven: no source gets a port of an external address that is
// forwarded, or that the node answers on, however it asks.
func TestI14_ServicesAreNotGiven(t *testing.T) {
	site := testSite()
	site.Services = []Service{{packet.TCP, through(22, 22)}, {packet.UDP, through(500, 500)}}
	pool := newPool(testSecret)
	policy, err := Compile([]Translation{web(), webRange(), masquerade("10.0.0.0/8")}, site, pool)
	if err != nil {
		t.Fatal(err)
	}
	closed := map[uint16]bool{80: true, 22: true}
	for p := uint16(8000); p < 8010; p++ {
		closed[p] = true
	}
	for p := range closed {
		for host := range 20 {
			original := packet.Tuple{Src: inside(host, 0).Addr, Dst: addr("192.0.2.7"), SrcPort: p, DstPort: 443, Proto: packet.TCP}
			if reply, _, outcome := propose(policy, original, wan, host%3); outcome != Translated || closed[reply.DstPort] {
				t.Fatalf("port %d: got %d %v", p, reply.DstPort, outcome)
			}
		}
	}
	isakmp := tuple(packet.UDP, "10.0.0.2", 500, "192.0.2.7", 500)
	if reply, _, _ := propose(policy, isakmp, wan, 0); reply.DstPort == 500 {
		t.Error("the node's port 500 was given to a host")
	}
	// The node itself keeps its own, and one that a host has it does not get.
	own := policy.Destination(ptr(tuple(packet.UDP, "203.0.113.2", 500, "192.0.2.7", 500)), packet.NoPort)
	if reply, b, outcome := policy.Source(&own, wan, 0); outcome != Untranslated || b.Port() != 500 || reply.DstPort != 500 {
		t.Errorf("the node's own: %v %v", reply, outcome)
	}
	host := tuple(packet.UDP, "10.0.0.2", 600, "192.0.2.7", 123)
	propose(policy, host, wan, 0)
	own = policy.Destination(ptr(tuple(packet.UDP, "203.0.113.2", 600, "192.0.2.7", 123)), packet.NoPort)
	if reply, b, outcome := policy.Source(&own, wan, 0); outcome != Translated || b.Port() == 600 || reply.Dst != addr("203.0.113.2") {
		t.Errorf("the node's own where a host has its port: %v %v", reply, outcome)
	}
}
