package dataplane

import (
	"bytes"
	"slices"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// selfPolicy lets lan log in on the node, lets everybody ask it for names, and lets the
// node itself send anything but mail.
const selfPolicy = rigPolicy + `
[[rules]]
id = "ssh"
action = "pass"
in = "lan"
to = "self"
proto = "tcp"
to_port = 22
[[rules]]
id = "names"
action = "pass"
to = "203.0.113.2"
proto = "udp"
to_port = 53
[[rules]]
id = "no-mail"
action = "reject"
from = "self"
proto = "tcp"
to_port = 25
[[rules]]
id = "no-time"
action = "block"
from = "self"
proto = "udp"
to_port = 123
`

func newSelfRig(t *testing.T) *rig { return rigOf(t, selfPolicy, rigRoutes, rigNeighbors, 1000) }

// kernelSays takes frames out of a port's kernel face through the path.
func (r *rig) kernelSays(port packet.PortID, frames ...[]byte) []out {
	r.kernel[port].say = append(r.kernel[port].say, frames...)
	r.w.serveKernel()
	return r.take()
}

// handed returns what the kernel was handed through a port since the last call.
func (r *rig) handed(port packet.PortID) [][]byte {
	got := r.kernel[port].got
	r.kernel[port].got = nil
	return got
}

// kept returns why frames of the kernel's did not leave by a port since the last call.
func (r *rig) kept(port packet.PortID) (reasons []drop.Reason) {
	c := &r.w.shares[port].TxDrops
	for _, why := range drop.Reasons() {
		for range c.Count(why) {
			reasons = append(reasons, why)
		}
	}
	*c = drop.Counters{}
	return reasons
}

// toNode and byNode complete a description: from the client to the node, and from the node
// to the client by lan; likewise with the server by wan.
func toNode(p packetIn) packetIn {
	p.from, p.to, p.fromMAC, p.toMAC = client, lanAddr, macClient, macLan
	return p
}

func byNode(p packetIn) packetIn {
	p.from, p.to, p.fromMAC, p.toMAC = lanAddr, client, macLan, macClient
	return p
}

func byNodeOut(p packetIn) packetIn {
	p.from, p.to, p.fromMAC, p.toMAC = wanAddr, server, macWan, macServer
	return p
}

// same asserts that exactly these frames arrived, unchanged.
func (r *rig) same(what string, got [][]byte, want ...[]byte) {
	r.t.Helper()
	if !slices.EqualFunc(got, want, bytes.Equal) {
		r.t.Fatalf("%s: %d frames, want these %d unchanged; dropped %v %v, kept %v %v", what, len(got), len(want),
			r.dropped(lan), r.dropped(wan), r.kept(lan), r.kept(wan))
	}
}

func frames(all []out) (got [][]byte) {
	for _, o := range all {
		got = append(got, o.frame)
	}
	return got
}

// A TCP server on the node: as far as a rule lets it, with states and windows, unreplicated.
func TestL8_ServerOnTheNode(t *testing.T) {
	r := newSelfRig(t)
	syn := toNode(packetIn{sport: 4000, dport: 22, flags: "S", seq: 100, ttl: 1}).frame(t) // BGP speaks so
	if got := r.feed(lan, syn); len(got) != 0 {
		t.Fatalf("%d frames left", len(got))
	}
	r.same("the SYN", r.handed(lan), syn)
	class := r.class()
	if class.Ingress != lan || class.Egress != packet.Self || class.Sync != conntrack.SyncNone {
		t.Errorf("class %+v, want from lan to the node, not replicated", class)
	}
	answer := byNode(packetIn{sport: 22, dport: 4000, flags: "SA", seq: 500, ack: 101}).frame(t)
	r.same("the SYN/ACK", frames(r.kernelSays(lan, answer)), answer)
	for _, ttl := range []uint8{64, 1} {
		ack := toNode(packetIn{sport: 4000, dport: 22, flags: "A", seq: 101, ack: 501, ttl: ttl}).frame(t)
		r.feed(lan, ack)
		r.same("the ACK", r.handed(lan), ack)
	}
	var v conntrack.View
	if r.w.snapshot.Table.View(0, r.w.now, &v); v.TCP != conntrack.Established || v.Packets != [2]uint64{3, 1} {
		t.Errorf("state %v after %v packets, want established after 3 and 1", v.TCP, v.Packets)
	}
	r.feed(lan, toNode(packetIn{sport: 4000, dport: 22, flags: "A", seq: 1 << 30, ack: 501, payload: 10}).frame(t))
	if why := r.dropped(lan); !slices.Equal(why, []drop.Reason{drop.TCPBeyondWindow}) || len(r.handed(lan)) != 0 {
		t.Errorf("a segment out of the window: %v", why)
	}
	if r.lane.Flush(); r.lane.Sent() != 0 {
		t.Error("the peers were told of a connection that dies with the node")
	}
}

func TestL8_OnlyWhatARuleNamesComesIn(t *testing.T) {
	for _, row := range []struct {
		name string
		port packet.PortID
		in   packetIn
		why  drop.Reason
	}{
		{"no rule", lan, toNode(packetIn{sport: 4000, dport: 80, flags: "S"}), drop.ToSelf},
		{"another port's rule", wan, fromServer(packetIn{sport: 4000, dport: 22, flags: "S"}), drop.ToSelf},
		{"in mid-stream", lan, toNode(packetIn{sport: 4000, dport: 22, flags: "A"}), drop.TCPNoConnection},
		{"our own address as source", lan, packetIn{from: wanAddr, to: lanAddr, sport: 4000, dport: 22, flags: "S", fromMAC: macClient, toMAC: macLan}, drop.SourceInvalid},
		{"a source behind another port", lan, packetIn{from: server, to: lanAddr, sport: 4000, dport: 22, flags: "S", fromMAC: macClient, toMAC: macLan}, drop.SourceInvalid},
		{"an echo reply that nobody asked for", lan, toNode(packetIn{proto: packet.ICMP, icmpType: 0, icmpID: 9}), drop.ToSelf},
		{"another query", lan, toNode(packetIn{proto: packet.ICMP, icmpType: 13, icmpID: 9}), drop.ToSelf},
		{"a broadcast", lan, packetIn{from: client, to: ip("255.255.255.255"), proto: packet.UDP, sport: 68, dport: 67, fromMAC: macClient, toMAC: packet.Broadcast}, drop.Multicast},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newSelfRig(t)
			r.feed(row.port, row.in.frame(t))
			if why := r.dropped(row.port); !slices.Equal(why, []drop.Reason{row.why}) {
				t.Errorf("died of %v, want %v", why, row.why)
			}
			if n := len(r.handed(row.port)); n != 0 || r.w.snapshot.Table.Len() != 0 {
				t.Errorf("the kernel was handed %d frames, %d connections", n, r.w.snapshot.Table.Len())
			}
		})
	}
}

// Pings need no connection in one direction and have one in the other.
func TestL8_PingBothWays(t *testing.T) {
	r := newSelfRig(t)
	request := toNode(packetIn{proto: packet.ICMP, icmpType: 8, icmpID: 9}).frame(t)
	r.feed(lan, request)
	r.same("the request", r.handed(lan), request)
	reply := byNode(packetIn{proto: packet.ICMP, icmpType: 0, icmpID: 9}).frame(t)
	r.same("the reply", frames(r.kernelSays(lan, reply)), reply)
	if n := r.w.snapshot.Table.Len(); n != 0 {
		t.Errorf("%d connections: a flood of forged requests would fill the table", n)
	}

	request = byNodeOut(packetIn{proto: packet.ICMP, icmpType: 8, icmpID: 7}).frame(t)
	r.same("the node's request", frames(r.kernelSays(wan, request)), request)
	reply = fromServer(packetIn{proto: packet.ICMP, icmpType: 0, icmpID: 7}).frame(t)
	r.feed(wan, reply)
	r.same("its answer", r.handed(wan), reply)
	r.feed(wan, fromServer(packetIn{proto: packet.ICMP, icmpType: 0, icmpID: 8}).frame(t))
	if why := r.dropped(wan); !slices.Equal(why, []drop.Reason{drop.ToSelf}) {
		t.Errorf("another answer: %v", why)
	}
}

// A TCP client and a DNS client on the node, which no rule forbids.
func TestL8_ClientOnTheNode(t *testing.T) {
	r := newSelfRig(t)
	syn := byNodeOut(packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t)
	r.same("the SYN", frames(r.kernelSays(wan, syn)), syn)
	if class := r.class(); class.Ingress != packet.Self || class.Egress != wan || class.Sync != conntrack.SyncNone || class.Rule != 0 {
		t.Errorf("class %+v, want from the node to wan, by no rule, not replicated", class)
	}
	answer := fromServer(packetIn{sport: 80, dport: 4000, flags: "SA", seq: 500, ack: 101}).frame(t)
	r.feed(wan, answer)
	r.same("the SYN/ACK", r.handed(wan), answer)

	query := byNodeOut(packetIn{proto: packet.UDP, sport: 5353, dport: 53, payload: 30}).frame(t)
	r.same("the query", frames(r.kernelSays(wan, query)), query)
	answer = fromServer(packetIn{proto: packet.UDP, sport: 53, dport: 5353, payload: 80}).frame(t)
	r.feed(wan, answer)
	r.same("the answer", r.handed(wan), answer)
	r.feed(wan, fromServer(packetIn{proto: packet.UDP, sport: 53, dport: 5354, payload: 80}).frame(t))
	if why := r.dropped(wan); !slices.Equal(why, []drop.Reason{drop.ToSelf}) {
		t.Errorf("an answer to another port: %v", why)
	}
	if r.lane.Flush(); r.lane.Sent() != 0 {
		t.Error("the peers were told of connections that die with the node")
	}
}

// What the kernel sends and may not: with a reason on the port's sending side.
func TestL8_WhatTheNodeMayNotSend(t *testing.T) {
	for _, row := range []struct {
		name string
		says packetIn
		why  drop.Reason
		told int // frames that tell the kernel
	}{
		{"a reject rule, TCP", byNodeOut(packetIn{sport: 4000, dport: 25, flags: "S"}), drop.RuleReject, 1},
		{"a block rule", byNodeOut(packetIn{proto: packet.UDP, sport: 123, dport: 123}), drop.RuleBlock, 0},
		{"routed for another network", packetIn{from: ip("192.168.9.9"), to: server, sport: 1, dport: 80, flags: "S", fromMAC: macWan, toMAC: macServer}, drop.FromSelf, 0},
		{"a group", packetIn{from: wanAddr, to: ip("224.0.0.18"), proto: packet.UDP, sport: 1, dport: 1, fromMAC: macWan, toMAC: packet.MAC{1, 0, 0x5e, 0, 0, 18}}, drop.Multicast, 0},
		{"a segment of no connection", byNodeOut(packetIn{sport: 4000, dport: 80, flags: "A"}), drop.TCPNoConnection, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newSelfRig(t)
			if got := r.kernelSays(wan, row.says.frame(t)); len(got) != 0 {
				t.Errorf("%d frames left", len(got))
			}
			if why := r.kept(wan); !slices.Equal(why, []drop.Reason{row.why}) {
				t.Errorf("kept for %v, want %v", why, row.why)
			}
			told := r.handed(wan)
			if len(told) != row.told || r.w.snapshot.Table.Len() != 0 {
				t.Fatalf("the kernel was told by %d frames, want %d; %d connections", len(told), row.told, r.w.snapshot.Table.Len())
			}
			for _, f := range told {
				var p packet.Parsed
				if why := packet.Decode(f, &p); why != drop.Pass || p.Tuple.Src != server || p.Tuple.Dst != wanAddr || packet.DstMAC(f) != macWan {
					t.Errorf("told by %v, %v to %v", why, p.Tuple, packet.DstMAC(f))
				}
			}
		})
	}
}

// A node without the right to transmit answers nobody, and forgets what its kernel wanted
// to say meanwhile.
func TestL8_AMuteNodeAnswersNothing(t *testing.T) {
	r := newSelfRig(t)
	r.w.active = false
	var arp [64]byte
	n := packet.AppendGratuitousARP(arp[:], macLan, lanAddr)
	got := r.kernelSays(lan, arp[:n], byNode(packetIn{proto: packet.ICMP, icmpType: 0, icmpID: 1}).frame(t), byNode(packetIn{sport: 4000, dport: 80, flags: "S"}).frame(t))
	if len(got) != 0 || !slices.Equal(r.kept(lan), []drop.Reason{drop.Mute, drop.Mute, drop.Mute}) {
		t.Errorf("%d frames left a mute node", len(got))
	}
	if r.w.active = true; len(r.kernelSays(lan)) != 0 || r.w.snapshot.Table.Len() != 0 {
		t.Error("what was said before the promotion was kept")
	}
}

// A turn takes no more than a burst from each face, and leaves the rest for the next.
func TestL8_TheKernelsFacesAreServedInBursts(t *testing.T) {
	r := newSelfRig(t)
	for i := range 3*kernelBurst - 1 {
		r.kernel[wan].say = append(r.kernel[wan].say, byNodeOut(packetIn{proto: packet.UDP, sport: uint16(1000 + i), dport: 53}).frame(t))
	}
	for i, want := range []int{kernelBurst, kernelBurst, kernelBurst - 1, 0} {
		if got := r.kernelSays(wan); len(got) != want {
			t.Errorf("turn %d: %d frames, want %d", i, len(got), want)
		}
	}
}

// A reply leaves by the port that its connection came in by, whichever TAP the kernel's
// routes lead to; what the node begins leaves by the port of its TAP.
func TestL8_RepliesLeaveTheWayOfTheirConnection(t *testing.T) {
	r := newSelfRig(t)
	r.feed(wan, fromServer(packetIn{proto: packet.UDP, sport: 4000, dport: 53}).frame(t))
	if len(r.handed(wan)) != 1 {
		t.Fatalf("the query died of %v", r.dropped(wan))
	}
	stray := packetIn{from: wanAddr, to: server, proto: packet.UDP, sport: 53, dport: 4000, fromMAC: macLan, toMAC: macClient}
	r.one(r.kernelSays(lan, stray.frame(t)), wan, macServer, macWan)

	// A neighbour that the routes do not know yet, and the kernel does.
	snapshot := *r.w.snapshot
	snapshot.Routes = fib.NewTable(rigRoutes, nil)
	r.w.snapshot = &snapshot
	answer := byNodeOut(packetIn{proto: packet.UDP, sport: 53, dport: 4000})
	r.one(r.kernelSays(wan, answer.frame(t)), wan, macServer, macWan)
	r.one(r.kernelSays(wan, byNodeOut(packetIn{sport: 4000, dport: 80, flags: "S"}).frame(t)), wan, macServer, macWan)
	if got := r.kernelSays(lan, stray.frame(t)); len(got) != 0 || !slices.Equal(r.kept(lan), []drop.Reason{drop.NeighborUnresolved}) {
		t.Errorf("%d frames left by the wrong neighbour", len(got))
	}
}

// The address that a connection of the node has is taken away: nothing of it goes astray.
func TestL8_AddressesThatGo(t *testing.T) {
	r := newSelfRig(t)
	r.feed(lan, toNode(packetIn{sport: 4000, dport: 22, flags: "S", seq: 100}).frame(t))
	snapshot := *r.w.snapshot
	snapshot.Routes = fib.NewTable(rigRoutes[:2], append(rigNeighbors, fib.Neighbor{Port: lan, Addr: lanAddr, MAC: macServer}))
	r.w.snapshot = &snapshot
	r.handed(lan)
	got := r.feed(lan, toNode(packetIn{sport: 4000, dport: 22, flags: "S", seq: 100}).frame(t))
	r.one(got, lan, macClient, macLan) // that there is no way
	if len(r.handed(lan)) != 0 {
		t.Error("the kernel was handed a packet for an address that it has no more")
	}
}

// ICMP errors of the kernel about what it was handed, and about what it has sent.
func TestL8_ErrorsOfAndAboutTheNode(t *testing.T) {
	r := newSelfRig(t)
	query := fromServer(packetIn{proto: packet.UDP, sport: 4000, dport: 53, payload: 8}).frame(t)
	r.feed(wan, query)
	unreachable := func(frame []byte, from packet.Addr) []byte {
		var p packet.Parsed
		if why := packet.Decode(frame, &p); why != drop.Pass {
			t.Fatal(why)
		}
		buf := make([]byte, 2048)
		n := packet.AppendUnreachable(buf, frame, &p, from, packet.UnreachablePort)
		return buf[:n]
	}
	answer := unreachable(query, wanAddr)
	r.same("port unreachable", frames(r.kernelSays(wan, answer)), answer)
	strange := fromServer(packetIn{proto: packet.UDP, sport: 4001, dport: 53, payload: 8}).frame(t)
	if got := r.kernelSays(wan, unreachable(strange, wanAddr)); len(got) != 0 || !slices.Equal(r.kept(wan), []drop.Reason{drop.ICMPErrorUnmatched}) {
		t.Error("an error about a packet that never came in left")
	}

	own := byNodeOut(packetIn{proto: packet.UDP, sport: 5353, dport: 53, payload: 8}).frame(t)
	r.handed(wan)
	r.kernelSays(wan, own)
	refused := unreachable(own, server)
	r.feed(wan, refused)
	r.same("an error about the node's own", r.handed(wan), refused)
}

// The ends of a killed connection are told, and one of them is this node.
func TestL8_KilledConnectionsOfTheNode(t *testing.T) {
	r := newSelfRig(t)
	r.feed(lan, toNode(packetIn{sport: 4000, dport: 22, flags: "S", seq: 100}).frame(t))
	r.kernelSays(lan, byNode(packetIn{sport: 22, dport: 4000, flags: "SA", seq: 500, ack: 101}).frame(t))
	r.feed(lan, toNode(packetIn{sport: 4000, dport: 22, flags: "A", seq: 101, ack: 501}).frame(t))
	r.handed(lan)
	table := r.w.snapshot.Table
	k := table.Kill(func(c *conntrack.Class) bool { return c.Egress == packet.Self }, 0)
	reaped := make([]conntrack.Reaped, 8)
	if _, n := table.Reap(0, 100, r.w.now, reaped, nil); n != 1 || k.Live != 1 {
		t.Fatalf("reaped %d of %d", n, k.Live)
	}
	order, ok := AbortOf(&reaped[0], Reset)
	if !ok || !r.w.abort(&order) {
		t.Fatal("the ends could not be told")
	}
	r.one(r.take(), lan, macClient, macLan)
	told := r.handed(lan)
	var p packet.Parsed
	if len(told) != 1 || packet.Decode(told[0], &p) != drop.Pass || p.TCPFlags&packet.FlagRST == 0 || p.Tuple.Src != client ||
		packet.DstMAC(told[0]) != macLan || !packet.VerifyChecksum(told[0], &p) {
		t.Errorf("the kernel was told by %d frames: %+v", len(told), p)
	}
}

// The long way of a burst is as free of allocation as the forwarding one.
func TestL8_NothingIsAllocatedForTheNodesPackets(t *testing.T) {
	r := newSelfRig(t)
	r.open(4000) // the tables of the journal and the ports exist
	in := toNode(packetIn{sport: 4000, dport: 22, flags: "S", seq: 100}).frame(t)
	answer := byNode(packetIn{sport: 22, dport: 4000, flags: "SA", seq: 500, ack: 101}).frame(t)
	r.feed(lan, in)
	r.kernelSays(lan, answer)
	quiet := &silentKernel{}
	r.w.shares[lan].Kernel = quiet
	b := &r.w.burst
	if n := testing.AllocsPerRun(100, func() {
		b.in, b.n = r.w.shares[lan], r.w.umem.Alloc(b.desc[:1])
		buf := r.w.umem.Bytes(b.desc[0])
		b.desc[0].Len = uint32(copy(buf[:cap(buf)], in))
		r.w.forward(b)
		quiet.say = answer
		r.w.serveKernel()
		r.discard()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if quiet.got == 0 {
		t.Error("nothing reached the kernel")
	}
}

// silentKernel counts what it is handed.
type silentKernel struct {
	say []byte
	got int
}

func (k *silentKernel) Fd() int                     { return -1 }
func (k *silentKernel) Write(f []byte) (int, error) { k.got++; return len(f), nil }
func (k *silentKernel) Read(f []byte) (int, error) {
	n := copy(f, k.say)
	k.say = nil
	return n, nil
}
