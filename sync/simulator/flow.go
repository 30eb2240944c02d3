package simulator

import (
	"net/netip"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// flow is a client and a server that talk through the active node: UDP, or as much of TCP
// as moves windows and states. A segment that no node lets through is lost, and the end
// that sent it tries again in its next step.
type flow struct {
	world    *World
	id       int
	original packet.Tuple
	reply    packet.Tuple
	class    conntrack.Class

	phase   phase
	next    [2]uint32 // by direction: the number of the next byte
	scale   uint8
	left    int // segments that the exchange under way still has
	refused int // segments lost in a row
}

// phase is how far a flow has come.
type phase uint8

const (
	idle phase = iota
	asking
	talking
	closing
)

// newFlow makes flow id: of three one is UDP, of three one is translated, and there are
// two rules.
func newFlow(w *World, id int) *flow {
	f := &flow{world: w, id: id, scale: 5}
	f.original = packet.Tuple{
		Src: packet.AddrFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(id + 1)})), Dst: packet.AddrFrom(netip.AddrFrom4([4]byte{198, 51, 100, 9})),
		SrcPort: uint16(20000 + id), DstPort: 443, Proto: packet.TCP,
	}
	if w.rng.IntN(3) == 0 {
		f.original.Proto, f.original.DstPort = packet.UDP, 53
	}
	f.reply = f.original.Reply()
	if w.schedule.Seed%4 == 0 && id%2 == 0 { // an address costs each node megabytes, so not in every schedule
		f.reply.Dst = packet.AddrFrom(netip.AddrFrom4([4]byte{203, 0, 113, 1}))
	}
	f.class = conntrack.Class{Rule: uint32(1 + id%2), Ingress: 0, Egress: 1}
	if id == 7 {
		f.class.Sync = conntrack.SyncNone
	}
	return f
}

func (f *flow) udp() bool { return f.original.Proto == packet.UDP }

// segment makes a packet of a direction.
func (f *flow) segment(d conntrack.Direction, flags packet.TCPFlags, length uint32) packet.Parsed {
	p := packet.Parsed{
		Tuple: f.original, L3: 14, L4: 34, Payload: 54, End: 54 + length, Version: 4, Kind: packet.KindIP, TTL: 64,
	}
	if d == conntrack.Reply {
		p.Tuple = f.reply
	}
	if f.udp() {
		return p
	}
	p.TCPFlags, p.Seq, p.Window = flags, f.next[d], 65535
	if flags&packet.FlagACK != 0 {
		p.Ack = f.next[d^1]
	}
	p.SACKRight = p.Ack
	if flags&packet.FlagSYN != 0 {
		p.TCPOptions, p.WScale = packet.HasWScale, f.scale
	}
	return p
}

// send sends a segment through whichever nodes serve, and reports whether one let it
// through. Where two serve, the network has it take either.
func (f *flow) send(d conntrack.Direction, flags packet.TCPFlags, length uint32) bool {
	w := f.world
	var serving []*node
	for _, n := range w.nodes {
		if n.up && w.now >= n.paused && w.now >= n.jammed && n.lease.Held(n.local()) {
			serving = append(serving, n)
		}
	}
	if len(serving) == 0 {
		return false
	}
	n := serving[w.rng.IntN(len(serving))]
	p := f.segment(d, flags, length)
	var admit *conntrack.Proposal
	if d == conntrack.Original {
		admit = &conntrack.Proposal{Original: f.original, Reply: f.reply, Class: f.class}
	}
	// The queue of a packet follows from its addresses, which translation makes differ.
	lane := (f.id + int(d)) % w.shape.Workers
	if !n.forward(lane, &p, admit) {
		return false
	}
	w.law.passed++
	if !f.udp() {
		f.next[d] += p.SegmentLen()
	}
	return true
}

// soon plans the next segment of what the flow is at: the ends are a millisecond apart.
func (f *flow) soon(do func()) {
	w := f.world
	w.at(w.now+100_000+w.rng.Int64N(2*ms), do)
}

// open begins the flow, or begins it anew: the ends have forgotten the one before.
func (f *flow) open() {
	f.phase, f.refused = asking, 0
	f.next = [2]uint32{uint32(f.world.rng.Uint64()), uint32(f.world.rng.Uint64())}
	if f.udp() {
		f.phase = talking
		f.exchange(1)
		return
	}
	f.ask(3)
}

// ask is the handshake, with so many tries.
func (f *flow) ask(tries int) {
	if f.phase != asking || tries == 0 {
		return
	}
	from := f.next
	again := func() { f.next = from; f.ask(tries - 1) }
	if !f.send(conntrack.Original, packet.FlagSYN, 0) {
		f.soon(again)
		return
	}
	f.soon(func() {
		if f.phase != asking || !f.send(conntrack.Reply, packet.FlagSYN|packet.FlagACK, 0) {
			f.soon(again)
			return
		}
		f.soon(func() {
			if f.phase == asking && f.send(conntrack.Original, packet.FlagACK, 0) {
				f.phase = talking
			} else {
				f.soon(again)
			}
		})
	})
}

// exchange lets so many segments go to and fro, the more of them the larger.
func (f *flow) exchange(segments int) {
	begun := f.left > 0
	if f.left = max(f.left, segments); !begun {
		f.soon(f.talk)
	}
}

func (f *flow) talk() {
	if f.phase != talking || f.left == 0 {
		f.left = 0
		return
	}
	f.left--
	length := uint32(1000)
	if f.left > 8 {
		length = 60_000
	}
	d := conntrack.Direction(f.world.rng.IntN(2))
	if f.udp() && f.refused > 0 {
		d = conntrack.Original // the client begins anew
	}
	// What comes in one burst is told in one batch.
	f.world.burst = !f.udp() && f.world.rng.IntN(2) == 0
	passed := f.send(d, packet.FlagACK, length)
	f.world.burst = false
	if passed && !f.udp() {
		passed = f.send(d^1, packet.FlagACK, 0)
	}
	if passed {
		f.refused = 0
	} else if f.refused++; f.refused > 10 {
		f.left = 0 // the ends give up
		return
	}
	f.soon(f.talk)
}

// close ends the flow in order.
func (f *flow) close() {
	if f.phase != talking || f.udp() {
		return
	}
	f.phase = closing
	fin := packet.FlagFIN | packet.FlagACK
	f.send(conntrack.Original, fin, 0)
	f.soon(func() {
		if f.phase != closing {
			return
		}
		f.send(conntrack.Reply, fin, 0)
		f.soon(func() {
			if f.phase == closing {
				f.send(conntrack.Original, packet.FlagACK, 0)
			}
		})
	})
}

// reset ends it otherwise.
func (f *flow) reset() {
	if f.phase == talking && !f.udp() {
		f.phase = closing
		f.send(conntrack.Original, packet.FlagRST|packet.FlagACK, 0)
	}
}
