package dataplane

import (
	"math/rand/v2"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// sums is what went over the wire for one connection, by Direction: packets and bytes of
// IP, without Ethernet's header and padding.
type sums struct{ packets, bytes [2]uint64 }

func (s *sums) add(t *testing.T, dir conntrack.Direction, frames []out) {
	t.Helper()
	for _, f := range frames {
		var p packet.Parsed
		if why := packet.Decode(f.frame, &p); why != drop.Pass {
			t.Fatal(why)
		}
		s.packets[dir]++
		s.bytes[dir] += uint64(p.Len())
	}
}

// padded returns a frame as Ethernet delivers it, at least 60 bytes long.
func padded(frame []byte) []byte { return append(frame, make([]byte, max(0, 60-len(frame)))...) }

// TestO9_CountersMatchTheWire sends packets of known sizes both ways in TCP, UDP and ICMP,
// among them some that are dropped, and compares the counters of each connection with
// what left, byte for byte.
func TestO9_CountersMatchTheWire(t *testing.T) {
	r := newRig(t)
	rng := rand.New(rand.NewPCG(9, 9))
	wire := map[packet.Proto]*sums{packet.TCP: {}, packet.UDP: {}, packet.ICMP: {}}
	// send takes one packet through the path and adds what left to the connection.
	send := func(dir conntrack.Direction, p packetIn, leaves int) {
		t.Helper()
		port, in := lan, fromClient(p)
		if dir == conntrack.Reply {
			port, in = wan, fromServer(p)
		}
		proto := p.proto
		if proto == 0 {
			proto = packet.TCP
		}
		got := r.feed(port, padded(in.frame(t)))
		if len(got) != leaves {
			t.Fatalf("%+v: %d frames left; dropped: %v %v", p, len(got), r.dropped(lan), r.dropped(wan))
		}
		wire[proto].add(t, dir, got)
	}
	const o, a = conntrack.Original, conntrack.Reply
	send(o, packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}, 1)
	send(o, packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}, 1) // sent again: on the wire twice
	send(a, packetIn{sport: 80, dport: 4000, flags: "SA", seq: 500, ack: 101}, 1)
	send(o, packetIn{sport: 4000, dport: 80, flags: "A", seq: 101, ack: 501}, 1)
	send(o, packetIn{sport: 4000, dport: 80, flags: "A", seq: 101 + 1<<30, ack: 501}, 0) // out of the window
	send(a, packetIn{sport: 80, dport: 4000, flags: "R", seq: 501 + 1<<30}, 0)           // a blind reset
	seq, ack := uint32(101), uint32(501)
	for range 300 {
		n := rng.IntN(1400)
		switch rng.IntN(5) {
		case 0:
			send(a, packetIn{sport: 80, dport: 4000, flags: "PA", seq: ack, ack: seq, payload: n}, 1)
			ack += uint32(n)
		case 1:
			send(o, packetIn{proto: packet.UDP, sport: 4001, dport: 53, payload: n}, 1)
		case 2:
			if wire[packet.UDP].packets[o] > 0 {
				send(a, packetIn{proto: packet.UDP, sport: 53, dport: 4001, payload: n}, 1)
			}
		case 3:
			send(o, packetIn{proto: packet.ICMP, icmpType: 8, icmpID: 7, payload: n}, 1)
			send(a, packetIn{proto: packet.ICMP, icmpType: 0, icmpID: 7, payload: n}, 1)
		default:
			send(o, packetIn{sport: 4000, dport: 80, flags: "PA", seq: seq, ack: ack, payload: n}, 1)
			seq += uint32(n)
		}
	}
	table := r.w.snapshot.Table
	if table.Len() != len(wire) {
		t.Errorf("%d connections, want %d", table.Len(), len(wire))
	}
	var v conntrack.View
	for i := range table.High() {
		if !table.View(i, r.w.now, &v) {
			continue
		}
		if want := *wire[v.Original.Proto]; v.Packets != want.packets || v.Bytes != want.bytes {
			t.Errorf("%v: counted %v packets and %v bytes, on the wire %v and %v", v.Original, v.Packets, v.Bytes, want.packets, want.bytes)
		}
	}
}

// TestO9_ParkedPacketsCountOnce: a packet that waits for its neighbour goes through the
// tracker twice, and one that is too large for the way out does not leave at all.
func TestO9_ParkedPacketsCountOnce(t *testing.T) {
	r := newRig(t)
	r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t))
	snapshot := *r.snapshot.Load()
	snapshot.Routes = fib.NewTable(rigRoutes, rigNeighbors[1:]) // the client's MAC is forgotten
	r.w.snapshot = &snapshot
	sent := r.lane.Sent()
	if got := r.feed(wan, fromServer(packetIn{sport: 80, dport: 4000, flags: "SA", seq: 500, ack: 101}).frame(t)); len(got) != 0 {
		t.Fatalf("%d frames left before the neighbour was known", len(got))
	}
	if r.lane.Flush(); r.lane.Sent() == sent {
		t.Error("the peers have not heard of the answer")
	}
	snapshot.Routes = fib.NewTable(rigRoutes, rigNeighbors)
	r.w.parked.generation = ^uint64(0)
	r.w.retryParked()
	r.one(r.take(), lan, macClient, macLan)
	r.w.shares[wan].MTU = 576
	r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "PA", seq: 101, ack: 501, payload: 1000}).frame(t))
	var v conntrack.View
	if !snapshot.Table.View(0, r.w.now, &v) || v.Packets != [2]uint64{1, 1} {
		t.Errorf("counted %v packets, on the wire was one each way; dropped: %v %v", v.Packets, r.dropped(lan), r.dropped(wan))
	}
}

// TestO9_RuleCounters: each rule counts the packets that it decided on, which are the first
// ones of connections and all that it refused; the default rule too.
func TestO9_RuleCounters(t *testing.T) {
	r := newRig(t)
	for port := range uint16(20) {
		r.open(4000 + port) // three packets each
	}
	for range 7 {
		r.feed(lan, fromClient(packetIn{sport: 5000, dport: 23, flags: "S"}).frame(t))
	}
	for range 5 {
		r.feed(wan, packetIn{from: server, to: client, sport: 1, dport: 2, flags: "S", fromMAC: macServer, toMAC: macWan}.frame(t))
	}
	hits := map[string]uint64{}
	for i := range r.w.snapshot.Hits[0] {
		if n := r.w.snapshot.Hits[0][i].Load(); n > 0 {
			id := "default"
			if i < r.w.snapshot.Rules.Len() {
				id = r.w.snapshot.Rules.Rules()[i].ID
			}
			hits[id] += n
		}
	}
	if len(hits) != 3 || hits["out"] != 20 || hits["no-telnet"] != 7 || hits["default"] != 5 {
		t.Errorf("the rules counted %v", hits)
	}
}

// TestO9_InvalidPacketsAreCounted: what dies is counted once, under its reason, at the
// port and in the direction where it died, and nowhere else.
func TestO9_InvalidPacketsAreCounted(t *testing.T) {
	r := newRig(t)
	r.open(4000)
	frames := func(p packetIn, n int) (all [][]byte) {
		for range n {
			all = append(all, p.frame(t))
		}
		return all
	}
	cut := fromClient(packetIn{sport: 1, dport: 2, flags: "S"}).frame(t)[:40]
	for _, row := range []struct {
		port   packet.PortID
		why    drop.Reason
		frames [][]byte
	}{
		{lan, drop.TCPNoConnection, frames(fromClient(packetIn{sport: 5, dport: 80, flags: "A"}), 3)},
		{wan, drop.TCPNoConnection, frames(packetIn{from: server, to: client, sport: 5, dport: 80, flags: "A", fromMAC: macServer, toMAC: macWan}, 2)},
		{lan, drop.TCPFlagsInvalid, frames(fromClient(packetIn{sport: 5, dport: 80, flags: "SF"}), 4)},
		{lan, drop.ICMPNoRequest, frames(fromClient(packetIn{proto: packet.ICMP, icmpType: 0, icmpID: 9}), 5)},
		{wan, drop.NotForThisMAC, frames(packetIn{from: server, to: wanAddr, sport: 5, dport: 80, flags: "S", fromMAC: macServer, toMAC: macClient}, 6)},
		{lan, drop.FrameTruncated, [][]byte{cut, cut}},
	} {
		want := counted(r)
		want[died{row.port, "receive", row.why}] += uint64(len(row.frames))
		r.feed(row.port, row.frames...)
		for k, n := range counted(r) {
			if n != want[k] {
				t.Errorf("%d of %v at port %d: %v stands at %d, want %d", len(row.frames), row.why, row.port, k, n, want[k])
			}
		}
	}
}

// died is where and why packets died.
type died struct {
	port      packet.PortID
	direction string
	why       drop.Reason
}

// counted reads all drop counters of a rig.
func counted(r *rig) map[died]uint64 {
	all := map[died]uint64{}
	for _, s := range r.w.shares {
		_, _, receive, send := r.w.Counters(s.ID)
		for _, why := range drop.Reasons() {
			all[died{s.ID, "receive", why}] += receive.Count(why)
			all[died{s.ID, "send", why}] += send.Count(why)
		}
	}
	return all
}
