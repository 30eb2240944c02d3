package oracle

import (
	"math/rand/v2"

	"holdfast/dataplane/packet"
)

const (
	fin = packet.FlagFIN
	syn = packet.FlagSYN
	rst = packet.FlagRST
	psh = packet.FlagPSH
	ack = packet.FlagACK
	urg = packet.FlagURG
)

// host is one end of a generated TCP connection: what it has sent and what it has heard.
type host struct {
	isn    uint32
	next   uint32 // sequence number of the next byte to send
	heard  uint32 // what it acknowledges: the peer's next, as far as it arrived
	win    uint16 // what it advertises
	scale  int8   // what it offers, or -1
	sackOK bool
}

// generator writes a sequence of packets of one flow. It does not look at what becomes of
// them: loss, both before and behind the tracker, makes the two hosts disagree as a real
// network does.
type generator struct {
	*rand.Rand
	host   [2]host
	opener side
	script []segment
	held   []segment // overtaken by later packets
}

// generate returns the n-th sequence of a seed. The same arguments give the same sequence.
func generate(seed, n uint64) (proto packet.Proto, mixed bool, script []segment) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, n))}
	mixed = g.chance(30)
	switch {
	case g.chance(4):
		g.datagrams()
		return packet.UDP, mixed, g.script
	case g.chance(4):
		g.echoes()
		return packet.ICMP, false, g.script // a query of the wan is another connection
	}
	if mixed && g.chance(40) {
		g.opener = wan
	}
	g.start()
	g.open()
	g.walk(12)
	if g.chance(60) {
		g.shut()
		g.walk(8)
	}
	if g.chance(30) {
		g.again()
		g.walk(8)
	}
	g.release(0)
	return packet.TCP, mixed, g.script
}

// chance is true in so many of a hundred cases.
func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// pick returns one of its arguments.
func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// number returns a sequence number, often near a wrap of 32 or 31 bits (C5).
func (g *generator) number() uint32 {
	switch g.IntN(4) {
	case 0:
		return uint32(0) - g.Uint32N(3000)
	case 1:
		return 1<<31 - g.Uint32N(3000)
	}
	return g.Uint32()
}

// start gives both hosts new numbers and options.
func (g *generator) start() {
	for s := range g.host {
		g.host[s] = host{isn: g.number(), scale: -1, sackOK: g.chance(60), win: pick[uint16](g, 0, 1, 100, 1000, 8192, 64240, 65535)}
		if g.chance(60) {
			g.host[s].scale = int8(pick(g, 0, 1, 2, 7, 7, 14, 15))
		}
		g.host[s].next = g.host[s].isn
	}
	if g.chance(70) { // most hosts agree
		g.host[wan].sackOK = g.host[lan].sackOK
		if g.host[lan].scale < 0 || g.host[wan].scale < 0 {
			g.host[lan].scale, g.host[wan].scale = -1, -1
		}
	}
	g.host[lan].heard, g.host[wan].heard = g.host[wan].next, g.host[lan].next
}

// segment returns what a host would send now.
func (g *generator) segment(from side, flags packet.TCPFlags, length uint16, note string) segment {
	h := &g.host[from]
	s := segment{from: from, flags: flags, seq: h.next, win: h.win, length: length, scale: -1, note: note}
	if flags&ack != 0 {
		s.ack = h.heard
	}
	if flags&syn != 0 {
		s.scale, s.sackOK = h.scale, h.sackOK
	}
	return s
}

// send is a host that sends: its numbers advance, and the peer's where it arrives.
func (g *generator) send(from side, flags packet.TCPFlags, length uint16, note string) {
	s := g.segment(from, flags, length, note)
	g.host[from].next = s.end()
	fate := g.IntN(100)
	if fate >= 6 { // not lost on either side of the tracker
		g.host[from.peer()].heard = s.end()
	}
	if fate < 3 {
		return // lost before the tracker
	}
	if g.chance(4) {
		g.held = append(g.held, s)
		return
	}
	g.emit(s)
	if g.chance(3) {
		s.note = "duplicate"
		g.emit(s)
	}
}

// emit sends a packet through the trackers, and sometimes one that it overtook.
func (g *generator) emit(s segment) {
	g.script = append(g.script, s)
	if len(g.held) > 0 && g.chance(50) {
		g.release(len(g.held) - 1)
	}
}

// release sends all overtaken packets but so many.
func (g *generator) release(but int) {
	for len(g.held) > but {
		s := g.held[0]
		s.note += ", late"
		g.held = g.held[1:]
		g.script = append(g.script, s)
	}
}

// open is a way to begin a connection, often cut short.
func (g *generator) open() {
	a, b := g.opener, g.opener.peer()
	complete := true
	switch g.IntN(16) {
	case 0: // nothing: the packets that follow have no connection
		return
	case 1:
		g.send(a, syn, 0, "open")
		return
	case 2:
		g.send(a, syn, 0, "open")
		g.send(b, syn|ack, 0, "open")
		return
	case 3:
		g.openRepeated(a, b)
	case 4:
		g.openTwice(a, b)
	case 5, 6:
		complete = g.openBoth(a, b)
	case 7:
		g.openFast(a, b)
	case 8:
		g.openChallenged(a, b)
	case 9:
		g.refuse(a, b)
		return
	case 10:
		g.openSplit(a, b)
		return
	case 11: // aborted by its opener
		g.send(a, syn, 0, "open")
		s := g.segment(a, rst, 0, "aborts")
		s.seq += pick[uint32](g, 0, ^uint32(0), 1, 99)
		g.emit(s)
		return
	default:
		g.send(a, syn, 0, "open")
		g.send(b, syn|ack, 0, "open")
	}
	if complete {
		g.send(a, ack, pick[uint16](g, 0, 0, 100), "open")
	}
}

// openRepeated sends SYN and SYN/ACK twice each (B4, B6).
func (g *generator) openRepeated(a, b side) {
	start, back := g.host[a].next, g.host[b].next
	for range 2 {
		g.host[a].next = start
		g.send(a, syn, 0, "open")
	}
	for range 2 {
		g.host[b].next = back
		g.send(b, syn|ack, 0, "open")
	}
}

// openTwice sends two SYNs with different numbers, and perhaps options (B5).
func (g *generator) openTwice(a, b side) {
	start := g.host[a].next
	g.send(a, syn, 0, "open")
	g.host[a].next = start + pick[uint32](g, 1, 5000, 1<<30, ^uint32(0), ^uint32(4999), 0)
	if g.chance(50) {
		g.host[a].scale, g.host[a].sackOK = pick[int8](g, -1, 0, 9), g.chance(50)
	}
	g.send(a, syn, 0, "other SYN")
	g.send(b, syn|ack, 0, "open")
}

// openBoth opens from both sides at once (B10) and reports whether it got to the end.
func (g *generator) openBoth(a, b side) bool {
	g.send(a, syn, 0, "both")
	g.send(b, syn, 0, "both")
	if g.chance(20) {
		return false
	}
	first := pick(g, a, b)
	for _, s := range []side{first, first.peer()} {
		g.host[s].next--
		g.send(s, syn|ack, 0, "both")
		if g.chance(20) {
			return false
		}
	}
	return true
}

// openFast has data on both SYNs, taken or not (B12).
func (g *generator) openFast(a, b side) {
	start := g.host[a].next
	g.send(a, syn, uint16(g.IntN(500)), "fast open")
	if g.chance(50) {
		g.host[b].heard, g.host[a].next = start+1, start+1
	}
	g.send(b, syn|ack, uint16(g.IntN(500)), "fast open")
}

// openChallenged meets a server that still has an older connection (B7).
func (g *generator) openChallenged(a, b side) {
	start, old := g.host[a].next, g.number()
	g.send(a, syn, 0, "open")
	s := g.segment(b, ack, 0, "challenge")
	s.seq, s.ack = g.number(), old
	g.emit(s)
	r := g.segment(a, rst, 0, "answers the challenge")
	r.seq = old
	g.emit(r)
	g.host[a].next = start
	g.send(a, syn, 0, "open")
	g.send(b, syn|ack, 0, "open")
}

// refuse is a SYN that a reset answers (B14).
func (g *generator) refuse(a, b side) {
	g.send(a, syn, 0, "open")
	s := g.segment(b, rst|ack, 0, "refused")
	s.seq = pick(g, 0, 0, g.number())
	s.ack += pick[uint32](g, 0, 0, 0, 1)
	g.emit(s)
}

// openSplit is a handshake in four or five steps (B11).
func (g *generator) openSplit(a, b side) {
	g.send(a, syn, 0, "split")
	if g.chance(50) {
		g.send(b, ack, 0, "split")
	}
	g.send(b, syn, 0, "split")
	g.host[a].next--
	g.send(a, syn|ack, 0, "split")
	g.send(b, ack, 0, "split")
}

// shut is a way to end a connection, often cut short (E1, E2).
func (g *generator) shut() {
	a := pick(g, lan, wan)
	b := a.peer()
	steps := []func(){
		func() { g.send(a, fin|ack, pick[uint16](g, 0, 0, 100), "close") },
		func() { g.send(b, ack, 0, "close") },
		func() { g.send(b, fin|ack, 0, "close") },
		func() { g.send(a, ack, 0, "close") },
	}
	switch g.IntN(5) {
	case 0: // at once
		steps[1], steps[2] = steps[2], func() { g.send(b, ack, 0, "close") }
	case 1: // half closed, the other goes on
		steps[2] = func() {
			g.send(b, ack|psh, 500, "half closed")
			g.send(a, ack, 0, "half closed")
			g.send(b, fin|ack, 0, "close")
		}
	case 2: // FIN and ACK in one
		steps[1] = func() {}
	}
	for _, step := range steps[:pick(g, 1, 2, 3, 4, 4)] {
		step()
	}
}

// again is a new connection of the same ends, from either side (E5, E6), or a SYN into a
// connection that still lives (B8, B9).
func (g *generator) again() {
	if g.chance(20) {
		g.reset(pick(g, lan, wan))
	}
	old := g.host
	g.start()
	if g.chance(50) { // as RFC 9293 wants it: above the old numbers
		for s := range g.host {
			g.host[s].isn = old[s].next + 64000
			g.host[s].next = g.host[s].isn
		}
		g.host[lan].heard, g.host[wan].heard = g.host[wan].next, g.host[lan].next
	}
	a := pick(g, g.opener, g.opener, g.opener.peer())
	b := a.peer()
	g.send(a, syn, 0, "again")
	switch g.IntN(4) {
	case 0: // the peer does not know: challenge and reset (B8)
		fresh := g.host
		g.host = old
		g.emit(g.segment(b, ack, 0, "challenge"))
		r := g.segment(a, rst, 0, "denies it")
		r.seq = old[b].heard
		g.emit(r)
		g.host = fresh
		g.host[a].next--
		g.send(a, syn, 0, "again")
	case 1:
		s := g.segment(b, rst|ack, 0, "refused")
		s.seq = 0
		g.emit(s)
		return
	}
	g.send(b, syn|ack, 0, "again")
	g.send(a, ack, 0, "again")
}
