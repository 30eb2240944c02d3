package dataplane

import (
	"net/netip"
	"slices"
	"sync"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// The rig of translations: a client, two servers inside, and the server outside.
//
//	client  10.0.0.10 --+
//	inner   10.0.0.80 --+-- lan (10.0.0.1) [worker] wan (203.0.113.2) -- server 203.0.113.10
//	inner2  10.0.0.81 --+                  and for others 203.0.113.3, .4, .64/28
var (
	inner, inner2       = ip("10.0.0.80"), ip("10.0.0.81")
	macInner, macInner2 = packet.MAC{2, 0, 0, 0, 0, 0x80}, packet.MAC{2, 0, 0, 0, 0, 0x81}
)

const natHead = `
[ports.lan]
addresses = ["10.0.0.1/24"]
[ports.wan]
addresses = ["203.0.113.2/24"]
[groups.main]
ports = ["lan", "wan"]
`

const natRules = `
[[nat]]
kind = "masquerade"
from = ["10.0.0.0/24"]
out = "wan"
hairpin = true
[[rules]]
id = "web"
action = "pass"
to = ["10.0.0.80", "10.0.0.81"]
proto = ["tcp", "udp"]
to_port = [80, "8080-8089"]
[[rules]]
id = "out"
action = "pass"
in = "lan"
out = "wan"
`

const webForward = `
[[nat]]
kind = "dnat"
in = "wan"
to = "203.0.113.2"
proto = "tcp"
to_port = 80
target = "10.0.0.80"
target_port = 8080
hairpin = true
`

func newNATRig(t *testing.T, translations string) *rig {
	t.Helper()
	routes := append(slices.Clone(rigRoutes),
		fib.Route{Prefix: netip.MustParsePrefix("203.0.113.3/32"), Kind: fib.Local},
		fib.Route{Prefix: netip.MustParsePrefix("203.0.113.4/32"), Kind: fib.Local})
	neighbors := append(slices.Clone(rigNeighbors), fib.Neighbor{Port: lan, Addr: inner, MAC: macInner}, fib.Neighbor{Port: lan, Addr: inner2, MAC: macInner2})
	return rigOf(t, natHead+translations+natRules, routes, neighbors, 10000)
}

// from completes a description with a host of the rig.
func from(host packet.Addr, to packet.Addr, p packetIn) packetIn {
	macs := map[packet.Addr][2]packet.MAC{
		client: {macClient, macLan}, inner: {macInner, macLan}, inner2: {macInner2, macLan}, server: {macServer, macWan},
	}[host]
	p.from, p.to, p.fromMAC, p.toMAC = host, to, macs[0], macs[1]
	return p
}

// expect asserts the ends of a packet that left.
func expect(t *testing.T, p packet.Parsed, src packet.Addr, sport uint16, dst packet.Addr, dport uint16) {
	t.Helper()
	if p.Tuple.Src != src || p.Tuple.Dst != dst || p.Tuple.SrcPort != sport || p.Tuple.DstPort != dport {
		t.Fatalf("left as %v, want %v:%d > %v:%d", p.Tuple, src, sport, dst, dport)
	}
}

// TestI15_ForwardedPortBothWays: the rules see the source as it came and the final
// destination, answers come back translated, and the next packet follows.
func TestI15_ForwardedPortBothWays(t *testing.T) {
	r := newNATRig(t, webForward)
	syn := from(server, wanAddr, packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t)
	expect(t, r.one(r.feed(wan, syn), lan, macInner, macLan), server, 4000, inner, 8080)
	answer := from(inner, server, packetIn{sport: 8080, dport: 4000, flags: "SA", seq: 500, ack: 101}).frame(t)
	expect(t, r.one(r.feed(lan, answer), wan, macServer, macWan), wanAddr, 80, server, 4000)
	next := from(server, wanAddr, packetIn{sport: 4000, dport: 80, flags: "A", seq: 101, ack: 501}).frame(t)
	expect(t, r.one(r.feed(wan, next), lan, macInner, macLan), server, 4000, inner, 8080)
	if hits := r.w.config.RuleHits[0].Load(); hits != 1 {
		t.Errorf("the rule that names the inside address was hit %d times", hits)
	}
	// A port that is not forwarded is the node's own.
	r.feed(wan, from(server, wanAddr, packetIn{sport: 4000, dport: 81, flags: "S"}).frame(t))
	if why := r.dropped(wan); !slices.Equal(why, []drop.Reason{drop.ToSelf}) {
		t.Errorf("port 81: %v", why)
	}
}

// TestI15_RulesJudgeTheFinalDestination: what a rule does not let through is not let
// through by a translation.
func TestI15_RulesJudgeTheFinalDestination(t *testing.T) {
	r := newNATRig(t, `
[[nat]]
kind = "dnat"
in = "wan"
to = "203.0.113.2"
proto = "tcp"
to_port = 22
target = "10.0.0.80"
`)
	r.feed(wan, from(server, wanAddr, packetIn{sport: 4000, dport: 22, flags: "S"}).frame(t))
	if why := r.dropped(wan); !slices.Equal(why, []drop.Reason{drop.RuleBlock}) {
		t.Errorf("died of %v", why)
	}
	if r.w.snapshot.Table.Len() != 0 {
		t.Error("it made a connection")
	}
}

// TestI8_HairpinThroughThePath: a client reaches the forwarded port of a server on its own
// segment; the server sees the external address and answers through the firewall.
func TestI8_HairpinThroughThePath(t *testing.T) {
	r := newNATRig(t, webForward)
	syn := from(client, wanAddr, packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t)
	expect(t, r.one(r.feed(lan, syn), lan, macInner, macLan), wanAddr, 4000, inner, 8080)
	answer := from(inner, wanAddr, packetIn{sport: 8080, dport: 4000, flags: "SA", seq: 500, ack: 101}).frame(t)
	expect(t, r.one(r.feed(lan, answer), lan, macClient, macLan), wanAddr, 80, client, 4000)
	// The server reaches itself by the same way, and there is no loop.
	self := from(inner, wanAddr, packetIn{sport: 5000, dport: 80, flags: "S", seq: 100}).frame(t)
	expect(t, r.one(r.feed(lan, self), lan, macInner, macLan), wanAddr, 5000, inner, 8080)
	// From the very port that it would be forwarded to, too: another port stands for it.
	same := from(inner, wanAddr, packetIn{sport: 8080, dport: 80, flags: "S", seq: 100}).frame(t)
	expect(t, r.one(r.feed(lan, same), lan, macInner, macLan), wanAddr, 8080, inner, 8080)
}

// TestI8_MappingToItself: an endpoint that sends to its own external port makes no loop
// and no connection: both tuples would be one.
func TestI8_MappingToItself(t *testing.T) {
	r := newNATRig(t, "")
	r.discardOne(r.feed(lan, from(inner, server, packetIn{proto: packet.UDP, sport: 80, dport: 53}).frame(t)))
	r.feed(lan, from(inner, wanAddr, packetIn{proto: packet.UDP, sport: 80, dport: 80}).frame(t))
	if why := r.dropped(lan); len(why) != 1 || r.w.snapshot.Table.Len() != 1 {
		t.Errorf("died of %v, %d connections", why, r.w.snapshot.Table.Len())
	}
}

func (r *rig) discardOne(got []out) {
	r.t.Helper()
	if len(got) != 1 {
		r.t.Fatalf("%d frames left; dropped %v %v", len(got), r.dropped(lan), r.dropped(wan))
	}
}

// TestI6_LetInByFiltering: with endpoint-independent filtering anybody outside reaches a mapped port
// though no rule says so; a rule that blocks him still holds; with the default nobody does.
func TestI6_LetInByFiltering(t *testing.T) {
	mapped := func(extra string) *rig {
		r := newNATRig(t, `
[[nat]]
kind = "masquerade"
from = ["10.0.0.10"]
out = "wan"
`+extra)
		r.discardOne(r.feed(lan, from(client, server, packetIn{proto: packet.UDP, sport: 4000, dport: 53}).frame(t)))
		return r
	}
	stranger := from(server, wanAddr, packetIn{proto: packet.UDP, sport: 999, dport: 4000})
	r := mapped("")
	r.feed(wan, stranger.frame(t))
	if why := r.dropped(wan); !slices.Equal(why, []drop.Reason{drop.ToSelf}) {
		t.Errorf("without filtering: %v", why)
	}
	r = rigOf(t, natHead+`
[[nat]]
kind = "masquerade"
from = ["10.0.0.0/24"]
out = "wan"
filtering = "endpoint-independent"
[[rules]]
id = "bad"
action = "block"
from = "203.0.113.66"
[[rules]]
id = "out"
action = "pass"
in = "lan"
out = "wan"
`, rigRoutes, append(slices.Clone(rigNeighbors), fib.Neighbor{Port: wan, Addr: ip("203.0.113.66"), MAC: macServer}), 1000)
	r.discardOne(r.feed(lan, from(client, server, packetIn{proto: packet.UDP, sport: 4000, dport: 53}).frame(t)))
	expect(t, r.one(r.feed(wan, stranger.frame(t)), lan, macClient, macLan), server, 999, client, 4000)
	answer := from(client, server, packetIn{proto: packet.UDP, sport: 4000, dport: 999})
	expect(t, r.one(r.feed(lan, answer.frame(t)), wan, macServer, macWan), wanAddr, 4000, server, 999)
	stranger.from = ip("203.0.113.66")
	r.feed(wan, stranger.frame(t))
	if why := r.dropped(wan); !slices.Equal(why, []drop.Reason{drop.RuleBlock}) {
		t.Errorf("a blocked stranger: %v", why)
	}
	// Nothing is left when the connections are over.
	r.w.now += 1e15
	for range 8 {
		r.w.now += sweepPeriod
		r.w.sweep()
	}
	if n := r.w.snapshot.Table.Len(); n != 0 {
		t.Fatalf("%d connections left", n)
	}
	for _, u := range r.w.snapshot.Ports.Usage() {
		if u.Used != 0 {
			t.Errorf("left: %+v", u)
		}
	}
}

// TestI16_StaticAndTwice: a static translation in both directions and for every protocol,
// and both ends of one connection.
func TestI16_StaticAndTwice(t *testing.T) {
	r := newNATRig(t, `
[[nat]]
kind = "static"
out = "wan"
from = "10.0.0.80/31"
target = "203.0.113.80/31"
[[nat]]
kind = "snat"
in = "wan"
out = "lan"
from = "203.0.113.10"
to = "10.0.0.81"
target = "10.0.0.1"
`)
	ping := from(inner, server, packetIn{proto: packet.ICMP, icmpType: 8, icmpID: 77})
	p := r.one(r.feed(lan, ping.frame(t)), wan, macServer, macWan)
	if p.Tuple.Src != ip("203.0.113.80") || p.Tuple.SrcPort != 77 {
		t.Errorf("the ping left as %v", p.Tuple)
	}
	syn := from(server, ip("203.0.113.81"), packetIn{sport: 4000, dport: 80, flags: "S", seq: 100})
	expect(t, r.one(r.feed(wan, syn.frame(t)), lan, macInner2, macLan), lanAddr, 4000, inner2, 80)
	answer := from(inner2, lanAddr, packetIn{sport: 80, dport: 4000, flags: "SA", seq: 500, ack: 101})
	expect(t, r.one(r.feed(lan, answer.frame(t)), wan, macServer, macWan), ip("203.0.113.81"), 80, server, 4000)
}

// TestI15_NoTarget: a redirect on a port without an address of the family drops, with its
// own reason, and makes nothing.
func TestI15_NoTarget(t *testing.T) {
	r := newNATRig(t, `
[[nat]]
kind = "redirect"
in = "lan"
proto = "udp"
to_port = 53
target_port = 5353
`)
	frame := make([]byte, 14+40+8)
	copy(frame, macLan[:])
	copy(frame[6:], macClient[:])
	frame[12], frame[13], frame[14], frame[19], frame[20], frame[21] = 0x86, 0xdd, 0x60, 8, 17, 64
	src, dst := ip("fd00::10"), ip("2001:db8::53")
	copy(frame[22:], src[:])
	copy(frame[38:], dst[:])
	frame[55], frame[57], frame[59], frame[60] = 99, 53, 8, 1
	r.feed(lan, frame)
	if why := r.dropped(lan); !slices.Equal(why, []drop.Reason{drop.NATNoTarget}) {
		t.Errorf("died of %v", why)
	}
}

// TestI9_ExhaustionThroughThePath: a new flow is refused with its reason, existing ones go
// on, and a port that comes free is given.
func TestI9_ExhaustionThroughThePath(t *testing.T) {
	r := newNATRig(t, `
[[nat]]
kind = "snat"
out = "wan"
from = "10.0.0.10"
target = "203.0.113.3"
target_port = "5000-5001"
`)
	send := func(sport uint16) []out {
		return r.feed(lan, from(client, server, packetIn{proto: packet.UDP, sport: sport, dport: 53}).frame(t))
	}
	r.discardOne(send(1001))
	r.discardOne(send(1002))
	send(1003)
	if why := r.dropped(lan); !slices.Equal(why, []drop.Reason{drop.NATExhausted}) {
		t.Fatalf("the third: %v", why)
	}
	r.discardOne(send(1001))
	r.w.now += 1e15
	for range 8 {
		r.w.now += sweepPeriod
		r.w.sweep()
	}
	r.discardOne(send(1003))
}

// TestI21_TranslationAfterAnUnrepliedEntry: a translation that is added while a connection
// without an answer lives takes effect when that has timed out, though its client goes on
// sending: retransmits do not refresh it.
func TestI21_TranslationAfterAnUnrepliedEntry(t *testing.T) {
	plain := natHead + "[[rules]]\nid = \"out\"\naction = \"pass\"\nin = \"lan\"\nout = \"wan\"\n"
	r := rigOf(t, plain, rigRoutes, rigNeighbors, 1000)
	syn := from(client, server, packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t)
	expect(t, r.one(r.feed(lan, syn), wan, macServer, macWan), client, 4000, server, 80)
	translated := newNATRig(t, "")
	next := *r.w.snapshot
	next.NAT, next.Ports = translated.w.snapshot.NAT, translated.w.snapshot.Ports
	r.w.snapshot = &next
	for second := range 200 {
		r.w.now += 1e9
		r.w.sweep()
		got := r.feed(lan, syn)
		if p := r.one(got, wan, macServer, macWan); p.Tuple.Src == wanAddr {
			if second < 100 { // SYN_SENT: 120 s
				t.Errorf("after %d s", second)
			}
			return
		}
	}
	t.Error("200 s later the old entry still lives")
}

// TestI19_SameServerByTwoAddresses: one client endpoint reaches one server by two
// external addresses at the same time; the answers would be one tuple, so the second
// connection gets another source port, and both work.
func TestI19_SameServerByTwoAddresses(t *testing.T) {
	r := newNATRig(t, twoAddresses)
	for _, to := range []packet.Addr{ip("203.0.113.3"), ip("203.0.113.4")} {
		syn := from(server, to, packetIn{sport: 4000, dport: 80, flags: "S", seq: 100})
		p := r.one(r.feed(wan, syn.frame(t)), lan, macInner, macLan)
		if p.Tuple.Src != server || p.Tuple.Dst != inner || p.Tuple.DstPort != 8080 || p.Tuple.SrcPort < 1024 {
			t.Fatalf("to %v: left as %v", to, p.Tuple)
		}
		if (p.Tuple.SrcPort == 4000) != (to == ip("203.0.113.3")) {
			t.Errorf("to %v: source port %d", to, p.Tuple.SrcPort)
		}
		answer := from(inner, server, packetIn{sport: 8080, dport: p.Tuple.SrcPort, flags: "SA", seq: 500, ack: 101})
		expect(t, r.one(r.feed(lan, answer.frame(t)), wan, macServer, macWan), to, 80, server, 4000)
	}
}

const twoAddresses = `
[[nat]]
kind = "dnat"
in = "wan"
to = ["203.0.113.3", "203.0.113.4"]
proto = "tcp"
to_port = 80
target = "10.0.0.80"
target_port = 8080
`

// TestI12_TwoWorkersOneReplyTuple: two workers open, at the same time, connections whose
// reply tuples would be the same. Original and reply tuples lie in different shards, so
// only the table's two locks can tell: both connections must get through, with different
// reply tuples, and every external port stays one connection's.
func TestI12_TwoWorkersOneReplyTuple(t *testing.T) {
	r := newNATRig(t, twoAddresses)
	s := newNATRig(t, twoAddresses)
	s.w.snapshot = r.w.snapshot
	const rounds = 1500
	var wg sync.WaitGroup
	failed := [2]int{}
	for i, one := range []*rig{r, s} {
		to := []packet.Addr{ip("203.0.113.3"), ip("203.0.113.4")}[i]
		var frames [][]byte
		for n := range rounds {
			frames = append(frames, from(server, to, packetIn{sport: uint16(2000 + n), dport: 80, flags: "S", seq: 100}).frame(t))
		}
		wg.Go(func() {
			for _, f := range frames {
				if got := one.feed(wan, f); len(got) != 1 {
					failed[i]++
				}
			}
		})
	}
	wg.Wait()
	if failed != [2]int{} {
		t.Errorf("not let through: %v; %v %v", failed, r.dropped(wan), s.dropped(wan))
	}
	table := r.w.snapshot.Table
	if n := table.Len(); n != 2*rounds {
		t.Errorf("%d connections, want %d", n, 2*rounds)
	}
	replies := map[packet.Tuple]bool{}
	for index := range table.High() {
		var v conntrack.View
		if table.View(index, r.w.now, &v) {
			if replies[v.Reply] {
				t.Errorf("two connections have reply tuple %v", v.Reply)
			}
			replies[v.Reply] = true
		}
	}
}

// TestI14_ServiceOfTheNodeIsNotShadowed: an inside host that sends from the number of a
// port that is forwarded, or that the node answers on, gets another port, so what comes
// for the service from the same remote end still reaches the service.
func TestI14_ServiceOfTheNodeIsNotShadowed(t *testing.T) {
	r := newNATRig(t, webForward+`
[[rules]]
id = "ssh"
action = "pass"
in = "wan"
to = "self"
proto = "tcp"
to_port = 22
`)
	for _, port := range []uint16{22, 80} {
		p := r.one(r.feed(lan, from(client, server, packetIn{sport: port, dport: 5000, flags: "S", seq: 1}).frame(t)), wan, macServer, macWan)
		if p.Tuple.SrcPort == port {
			t.Errorf("an inside host has external port %d", port)
		}
	}
	expect(t, r.one(r.feed(wan, from(server, wanAddr, packetIn{sport: 5000, dport: 80, flags: "S", seq: 1}).frame(t)), lan, macInner, macLan), server, 5000, inner, 8080)
	r.feed(wan, from(server, wanAddr, packetIn{sport: 5000, dport: 22, flags: "S", seq: 1}).frame(t))
	if n := len(r.kernel[wan].got); n != 1 {
		t.Errorf("%d packets reached the kernel, dropped: %v", n, r.dropped(wan))
	}
}

// TestI15_RedirectReachesTheKernel: the node answers in the name of whoever was addressed.
func TestI15_RedirectReachesTheKernel(t *testing.T) {
	r := newNATRig(t, `
[[nat]]
kind = "redirect"
in = "lan"
proto = "tcp"
to_port = 80
target_port = 3128
[[rules]]
id = "proxy"
action = "pass"
in = "lan"
to = "self"
proto = "tcp"
to_port = 3128
`)
	r.feed(lan, from(client, server, packetIn{sport: 4000, dport: 80, flags: "S", seq: 1}).frame(t))
	if len(r.kernel[lan].got) != 1 {
		t.Fatalf("nothing reached the kernel: %v", r.dropped(lan))
	}
	var p packet.Parsed
	if why := packet.Decode(r.kernel[lan].got[0], &p); why != drop.Pass || !packet.VerifyChecksum(r.kernel[lan].got[0], &p) {
		t.Fatalf("what reached it: %v", why)
	}
	expect(t, p, client, 4000, lanAddr, 3128)
}

// TestJ5_UntranslatableIsTold: an address without an image is dropped, counted, and its
// sender is told.
func TestJ5_UntranslatableIsTold(t *testing.T) {
	r := rigOf(t, `
[ports.lan]
addresses = ["fd01:203:405:1::1/64"]
[ports.wan]
addresses = ["2001:db8:7::2/64"]
[groups.main]
ports = ["lan", "wan"]
[[nat]]
kind = "nptv6"
out = "wan"
from = "fd01:203:405::/48"
target = "2001:db8:1::/48"
[[rules]]
id = "out"
action = "pass"
in = "lan"
out = "wan"
`, []fib.Route{
		{Prefix: netip.MustParsePrefix("fd01:203:405::/48"), Kind: fib.Forward, Port: lan},
		{Prefix: netip.MustParsePrefix("2001:db8:7::/64"), Kind: fib.Forward, Port: wan},
	}, []fib.Neighbor{{Port: wan, Addr: ip("2001:db8:7::7"), MAC: macServer}}, 100)
	r.w.shares[lan].Addresses = []packet.Addr{ip("fd01:203:405:1::1")}
	frame := func(src string) []byte {
		f := make([]byte, 14+40+8)
		copy(f, macLan[:])
		copy(f[6:], macClient[:])
		f[12], f[13], f[14], f[19], f[20], f[21] = 0x86, 0xdd, 0x60, 8, 17, 64
		from, to := ip(src), ip("2001:db8:7::7")
		copy(f[22:], from[:])
		copy(f[38:], to[:])
		f[55], f[57], f[59] = 99, 53, 8
		sum := uint32(17 + 8 + 8 + 99 + 53)
		for i := 22; i < 54; i += 2 {
			sum += uint32(f[i])<<8 | uint32(f[i+1])
		}
		sum = sum>>16 + sum&0xffff
		sum += sum >> 16
		f[60], f[61] = ^byte(sum>>8), ^byte(sum)
		return f
	}
	p := r.one(r.feed(lan, frame("fd01:203:405:1::1234")), wan, macServer, macWan) // J3: its checksum is right and untouched
	if p.Tuple.Src != ip("2001:db8:1:d550::1234") {
		t.Errorf("left as %v", p.Tuple)
	}
	p = r.one(r.feed(lan, frame("fd01:203:405:ffff::1")), lan, macClient, macLan)
	if p.Tuple.Proto != packet.ICMPv6 || p.ICMPType != 1 {
		t.Errorf("the sender was told %v", p.Tuple)
	}
	if why := r.dropped(lan); !slices.Equal(why, []drop.Reason{drop.NATUntranslatable}) {
		t.Errorf("died of %v", why)
	}
}
