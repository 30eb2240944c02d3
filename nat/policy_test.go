package nat

import (
	"net/netip"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/packet"
)

const (
	lan packet.PortID = 0
	wan packet.PortID = 1
)

func prefixes(text ...string) (all []netip.Prefix) {
	for _, s := range text {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// masquerade is the translation of most tests, and siteOf the site that it needs.
func masquerade(from ...string) Translation {
	return Translation{Kind: Masquerade, From: prefixes(from...), Out: []packet.PortID{wan}}
}

func siteOf(external ...string) Site {
	var all []netip.Addr
	for _, s := range external {
		all = append(all, netip.MustParseAddr(s))
	}
	return Site{Addresses: map[packet.PortID][]netip.Addr{wan: all}}
}

func testPolicy(t testing.TB, external ...string) (*Policy, *Pool) {
	t.Helper()
	pool := newPool(testSecret)
	if external == nil {
		external = []string{"203.0.113.2", "2001:db8::2"}
	}
	from := []string{"10.0.0.0/8", "fd00::/8"}
	if len(external) > 2 {
		from = from[:1]
	}
	policy, err := Compile([]Translation{masquerade(from...)}, siteOf(external...), pool)
	if err != nil {
		t.Fatal(err)
	}
	return policy, pool
}

// propose takes a connection that comes in by the LAN through both stages.
func propose(p *Policy, original packet.Tuple, egress packet.PortID, attempt int) (packet.Tuple, Binding, Outcome) {
	turn := p.Destination(&original, lan)
	return p.Source(&turn, egress, attempt)
}

func tuple(proto packet.Proto, src string, sport uint16, dst string, dport uint16) packet.Tuple {
	return packet.Tuple{Src: addr(src), Dst: addr(dst), SrcPort: sport, DstPort: dport, Proto: proto}
}

func TestI1_ReplyTuple(t *testing.T) {
	echo, echoReply := uint16(packet.ICMPEchoRequest)<<8, uint16(packet.ICMPEchoReply)<<8
	echo6, echoReply6 := uint16(packet.ICMPv6EchoRequest)<<8, uint16(packet.ICMPv6EchoReply)<<8
	for _, row := range []struct {
		name            string
		original, reply packet.Tuple
		egress          packet.PortID
		outcome         Outcome
		held            bool
	}{
		{"TCP", tuple(packet.TCP, "10.0.0.2", 40000, "198.51.100.7", 443), tuple(packet.TCP, "198.51.100.7", 443, "203.0.113.2", 40000), wan, Translated, true},
		{"UDP over IPv6", tuple(packet.UDP, "fd00::2", 5353, "2001:db8:1::7", 53), tuple(packet.UDP, "2001:db8:1::7", 53, "2001:db8::2", 5353), wan, Translated, true},
		{"ICMP", tuple(packet.ICMP, "10.0.0.2", 77, "198.51.100.7", echo), tuple(packet.ICMP, "198.51.100.7", 77, "203.0.113.2", echoReply), wan, Translated, true},
		{"ICMPv6", tuple(packet.ICMPv6, "fd00::2", 77, "2001:db8:1::7", echo6), tuple(packet.ICMPv6, "2001:db8:1::7", 77, "2001:db8::2", echoReply6), wan, Translated, true},
		{"GRE has no ports", tuple(packet.GRE, "10.0.0.2", 0, "198.51.100.7", 0), tuple(packet.GRE, "198.51.100.7", 0, "203.0.113.2", 0), wan, Translated, false},
		{"another source", tuple(packet.TCP, "192.168.0.2", 40000, "198.51.100.7", 443), tuple(packet.TCP, "198.51.100.7", 443, "192.168.0.2", 40000), wan, Untranslated, false},
		{"another port", tuple(packet.TCP, "10.0.0.2", 40000, "10.1.0.7", 443), tuple(packet.TCP, "10.1.0.7", 443, "10.0.0.2", 40000), lan, Untranslated, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			policy, pool := testPolicy(t)
			reply, b, outcome := propose(policy, row.original, row.egress, 0)
			if reply != row.reply || outcome != row.outcome || b.Held() != row.held {
				t.Fatalf("%v: %v %v %v, want %v", row.original, reply, b, outcome, row.reply)
			}
			if got := pool.BindingOf(row.original, reply); got != b {
				t.Errorf("BindingOf gives %v, Propose gave %v", got, b)
			}
			if !pool.Release(b) {
				t.Error("the binding was not held")
			}
			if got := pool.BindingOf(row.original, reply); got.Held() {
				t.Errorf("after release: %v", got)
			}
		})
	}
}

// TestI1_RoundTrip: whatever the original tuple, the packets that answer the translated
// ones carry the reply tuple, and what Propose held is found and released again.
func TestI1_RoundTrip(t *testing.T) {
	policy, pool := testPolicy(t)
	rapid.Check(t, func(t *rapid.T) {
		var original packet.Tuple
		v6 := rapid.Bool().Draw(t, "v6")
		proto := rapid.SampledFrom([]packet.Proto{packet.TCP, packet.UDP, packet.UDPLite, packet.SCTP, packet.DCCP, packet.ICMP, packet.GRE}).Draw(t, "proto")
		host, remote := rapid.Byte().Draw(t, "host"), rapid.Byte().Draw(t, "remote")
		original.Src = packet.AddrFrom(netip.AddrFrom4([4]byte{10, 0, 0, host}))
		original.Dst = packet.AddrFrom(netip.AddrFrom4([4]byte{198, 51, 100, remote}))
		external := addr("203.0.113.2")
		if v6 {
			original.Src = packet.AddrFrom(netip.AddrFrom16([16]byte{0: 0xfd, 15: host}))
			original.Dst = packet.AddrFrom(netip.AddrFrom16([16]byte{0: 0x20, 15: remote}))
			external = addr("2001:db8::2")
		}
		original.Proto = proto
		switch {
		case proto == packet.ICMP:
			original.SrcPort, original.DstPort = rapid.Uint16().Draw(t, "id"), packet.ICMPEchoRequest<<8
			if v6 {
				original.Proto, original.DstPort = packet.ICMPv6, packet.ICMPv6EchoRequest<<8
			}
		case proto != packet.GRE:
			original.SrcPort, original.DstPort = rapid.Uint16().Draw(t, "sport"), rapid.Uint16().Draw(t, "dport")
		}
		reply, b, outcome := propose(policy, original, wan, rapid.IntRange(0, 2).Draw(t, "attempt"))
		if outcome == Exhausted {
			if proto != packet.GRE {
				t.Fatalf("%v: exhausted", original)
			}
			return
		}
		outside := reply.Reply() // the translated packet
		if outside.Src != external || outside.Dst != original.Dst || outside.Proto != original.Proto {
			t.Fatalf("%v leaves as %v", original, outside)
		}
		if proto != packet.GRE && (outside.DstPort != original.DstPort || outside.SrcPort != b.Port()) {
			t.Fatalf("%v leaves as %v, bound to %d", original, outside, b.Port())
		}
		if got := pool.BindingOf(original, reply); got != b {
			t.Fatalf("BindingOf gives %v, Propose gave %v", got, b)
		}
		if !pool.Release(b) {
			t.Fatal("the binding was not held")
		}
	})
	for _, u := range pool.Usage() {
		if u.Used != 0 {
			t.Errorf("%v %v: %d ports are left", u.Address, u.Proto, u.Used)
		}
	}
}

// TestI11_TakeHoldsWhatProposeHeld: a standby that applied a connection neither gives its
// port to another endpoint after promotion nor takes it from this one.
func TestI11_TakeHoldsWhatProposeHeld(t *testing.T) {
	active, activePool := testPolicy(t)
	standby, pool := testPolicy(t)
	first := tuple(packet.TCP, "10.0.0.2", 40000, "198.51.100.7", 443)
	second := tuple(packet.TCP, "10.0.0.3", 40000, "198.51.100.7", 443)
	reply1, _, _ := propose(active, first, wan, 0)
	reply2, b2, _ := propose(active, second, wan, 0)
	for range 2 { // and a second connection of the same endpoint
		if _, ok := pool.Take(second, reply2); !ok {
			t.Fatal("refused")
		}
		second.Dst, reply2.Src = addr("198.51.100.8"), addr("198.51.100.8")
	}
	if _, ok := pool.Take(first, reply1); !ok {
		t.Fatal("refused")
	}
	thief := tuple(packet.TCP, "10.0.0.9", 1, "198.51.100.7", 443)
	if b, ok := pool.Take(thief, reply2); ok || b.Held() {
		t.Error("a port was taken from its owner")
	}
	if b := pool.BindingOf(thief, reply2); b.Held() {
		t.Error("a thief holds the port")
	}
	again := tuple(packet.TCP, "10.0.0.3", 40000, "192.0.2.9", 22)
	reply, b, _ := propose(standby, again, wan, 0)
	if reply.DstPort != reply2.DstPort {
		t.Errorf("after promotion the endpoint got %d, it had %d", reply.DstPort, reply2.DstPort)
	}
	for _, held := range []Binding{b, pool.BindingOf(second, reply2), pool.BindingOf(second, reply2), pool.BindingOf(first, reply1)} {
		if !pool.Release(held) {
			t.Errorf("%v was not held", held)
		}
	}
	if got := pool.Usage(); len(got) != 1 || got[0].Used != 0 {
		t.Errorf("left: %v", got)
	}
	if activePool.Release(b2); activePool.Usage()[0].Used != 1 {
		t.Errorf("the pools are not separate: %v", activePool.Usage())
	}
	plain := tuple(packet.TCP, "10.0.0.2", 40000, "10.0.1.1", 22)
	if b, ok := pool.Take(plain, plain.Reply()); !ok || b.Held() {
		t.Error("an untranslated connection needs a port")
	}
}

func TestI11_BindingOutlivesPolicy(t *testing.T) {
	policy, pool := testPolicy(t)
	original := tuple(packet.TCP, "10.0.0.2", 40000, "198.51.100.7", 443)
	reply, b, _ := propose(policy, original, wan, 0)
	changed, err := Compile([]Translation{masquerade("10.0.0.0/8")}, siteOf("203.0.113.9"), pool)
	if err != nil {
		t.Fatal(err)
	}
	if got := pool.BindingOf(original, reply); got != b {
		t.Errorf("the binding became %v", got)
	}
	if reply, _, _ := propose(changed, original, wan, 0); reply.Dst != addr("203.0.113.9") {
		t.Errorf("a new connection got %v", reply)
	}
	if !pool.Release(b) {
		t.Error("the old binding cannot be released")
	}
}

func TestI12_ClashDrawsAnotherPort(t *testing.T) {
	policy, pool := testPolicy(t)
	original := tuple(packet.UDP, "10.0.0.2", 40000, "198.51.100.7", 443)
	_, refused, _ := propose(policy, original, wan, 0)
	seen := map[uint16]bool{refused.Port(): true}
	for attempt := 1; attempt < 8; attempt++ {
		_, next, outcome := propose(policy, original, wan, attempt)
		if outcome != Translated || next.Port() == refused.Port() {
			t.Fatalf("attempt %d: port %d %v", attempt, next.Port(), outcome)
		}
		pool.Release(refused)
		refused = next
		seen[next.Port()] = true
	}
	if len(seen) < 4 {
		t.Errorf("only %d ports were tried", len(seen))
	}
	if u := pool.Usage(); u[0].Used != 1 {
		t.Errorf("used: %v", u)
	}
	gre := tuple(packet.GRE, "10.0.0.2", 0, "198.51.100.7", 0)
	if _, _, outcome := propose(policy, gre, wan, 1); outcome != Exhausted {
		t.Errorf("GRE has no second translation: %v", outcome)
	}
}

func TestI7_PairedPooling(t *testing.T) {
	externals := []packet.Addr{addr("203.0.113.2"), addr("203.0.113.3"), addr("203.0.113.4")}
	policy, _ := testPolicy(t, "203.0.113.2", "203.0.113.3", "203.0.113.4")
	count := map[packet.Addr]int{}
	for host := range 300 {
		e := inside(host, 0)
		original := packet.Tuple{Src: e.Addr, Dst: addr("198.51.100.7"), SrcPort: 1000, DstPort: 80, Proto: packet.TCP}
		reply, _, _ := propose(policy, original, wan, 0)
		original.Proto, original.SrcPort = packet.UDP, 2000
		if again, _, _ := propose(policy, original, wan, 0); again.Dst != reply.Dst {
			t.Fatalf("host %v has %v and %v", e.Addr, reply.Dst, again.Dst)
		}
		count[reply.Dst]++
	}
	for _, x := range externals {
		if count[x] < 50 {
			t.Errorf("%v serves %d of 300 hosts", x, count[x])
		}
	}
	own := tuple(packet.TCP, "10.0.0.2", 1, "198.51.100.7", 80)
	own.Src = externals[2]
	if reply, b, outcome := propose(policy, own, wan, 0); outcome != Untranslated || reply.Dst != own.Src || b.Port() != 1 {
		t.Errorf("a connection from an external address: %v %v %v", reply, b, outcome)
	}
}

func TestCompileErrors(t *testing.T) {
	for _, row := range []struct {
		rule     Translation
		external string
		want     string
	}{
		{masquerade("fd00::/8"), "203.0.113.2", "source fd00::/8 has no external address of its family"},
		{Translation{Kind: Masquerade, From: prefixes("10.0.0.0/8"), Out: []packet.PortID{packet.NoPort}}, "203.0.113.2", "rule 2: port 255 is not one of the 64"},
		{masquerade("fd00::/8"), "fe80::1", "source fd00::/8 has no external address"}, // I18
		{Translation{Kind: Masquerade, From: make([]netip.Prefix, 1), Out: []packet.PortID{wan}}, "203.0.113.2", "is not a prefix"},
	} {
		_, err := Compile([]Translation{masquerade("10.0.0.0/8"), row.rule}, siteOf("203.0.113.7", row.external), newPool(testSecret))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%+v: %v, want %q", row.rule, err, row.want)
		}
	}
	var none *Policy
	if _, _, outcome := propose(none, tuple(packet.TCP, "10.0.0.2", 1, "10.0.0.3", 2), wan, 0); outcome != Untranslated {
		t.Errorf("no policy: %v", outcome)
	}
}

func TestPoolParallel(t *testing.T) {
	pool := newPool(testSecret)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 500 {
				original := tuple(packet.TCP, "10.0.0.2", uint16(1024+i*4+worker), "198.51.100.7", 443)
				reply := original.Reply()
				reply.Dst = packet.AddrFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i % 4)}))
				b, ok := pool.Take(original, reply)
				if !ok || pool.BindingOf(original, reply) != b || !pool.Release(b) {
					t.Errorf("worker %d, %v: %v %v", worker, original, b, ok)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := len(pool.Usage()); got != 4 {
		t.Errorf("%d accounts, want 4", got)
	}
}

func TestNoAllocs(t *testing.T) {
	policy, pool := testPolicy(t)
	original := tuple(packet.TCP, "10.0.0.2", 40000, "198.51.100.7", 443)
	reply, b, _ := propose(policy, original, wan, 0)
	pool.Release(b)
	if n := testing.AllocsPerRun(1000, func() {
		_, b, _ := propose(policy, original, wan, 0)
		_, b2, _ := propose(policy, original, wan, 1)
		pool.Release(b2)
		pool.Take(original, reply)
		pool.Release(pool.BindingOf(original, reply))
		pool.Release(b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkPropose is a new connection and its end, at several fillings of the port map.
func BenchmarkPropose(b *testing.B) {
	for _, fill := range []struct {
		name string
		used int
	}{{"empty", 0}, {"half", 32000}, {"near-full", 64512 - 64}, {"last-port", 64512 - 1}} {
		b.Run(fill.name, func(b *testing.B) {
			policy, pool := testPolicy(b)
			original := tuple(packet.TCP, "10.0.0.2", 40000, "198.51.100.7", 443)
			for host := range fill.used {
				original.Src = inside(1000+host, 0).Addr
				propose(policy, original, wan, 0)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				original.Src = inside(1<<20+i&0xffff, 0).Addr
				_, binding, outcome := propose(policy, original, wan, 0)
				if outcome != Translated {
					b.Fatal(outcome)
				}
				pool.Release(binding)
			}
		})
	}
}
