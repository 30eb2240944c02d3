package dataplane

import (
	"net/netip"
	"slices"
	"testing"

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
	if hits := r.w.snapshot.Hits[0][0].Load(); hits != 1 {
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
