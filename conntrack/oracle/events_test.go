package oracle

import "holdfast/dataplane/packet"

// walk is up to n things that may happen in the middle.
func (g *generator) walk(n int) {
	for range g.IntN(n + 1) {
		s := pick(g, lan, wan)
		switch g.IntN(20) {
		case 0, 1, 2:
			g.send(s, ack|psh, pick[uint16](g, 1, 100, 536, 1460), "data")
			if g.chance(50) {
				g.send(s.peer(), ack, 0, "ack")
			}
		case 3:
			for range g.IntN(4) {
				g.send(s, ack, 1460, "train")
			}
			g.send(s.peer(), ack, 0, "ack")
		case 4:
			g.send(s, ack, 0, "ack")
		case 5:
			g.host[s].win = pick[uint16](g, 0, 0, 1, 100, 65535)
			g.send(s, ack, 0, "window")
			if g.host[s].win == 0 && g.chance(50) {
				p := g.segment(s.peer(), ack, 1, "probe")
				g.emit(p)
				g.send(s, ack, 0, "answers the probe")
			}
		case 6:
			p := g.segment(s, ack, uint16(g.IntN(2)), "keepalive")
			p.seq--
			g.emit(p)
			g.send(s.peer(), ack, 0, "ack")
		case 7, 8:
			g.repeat()
		case 9:
			g.selective(s)
		case 10:
			g.edge(s)
		case 11:
			g.reset(s)
		case 12:
			g.intruder(s)
		case 13:
			g.odd(s)
		default:
			g.target(s)
		}
	}
}

// repeat sends an earlier packet again.
func (g *generator) repeat() {
	if len(g.script) == 0 {
		return
	}
	s := g.script[max(0, len(g.script)-1-g.IntN(8))]
	s.note = "again"
	g.emit(s)
	if g.chance(10) { // three identical ones
		g.emit(s)
		g.emit(s)
	}
}

// selective is data with a hole, and acknowledgements that name what came after it.
func (g *generator) selective(s side) {
	h, peer := &g.host[s], &g.host[s.peer()]
	hole := h.next
	h.next += 500
	left := h.next
	g.emit(g.segment(s, ack, 1000, "after a hole"))
	h.next += 1000
	p := g.segment(s.peer(), ack, 0, "sack")
	p.ack = hole
	p.sack = []uint32{left, left + 1000}
	switch g.IntN(6) {
	case 0:
		p.sack = []uint32{hole - 300, hole - 100} // D-SACK (C7)
	case 1:
		p.sack[1] += pick[uint32](g, 1, 5000, 1<<30) // beyond
	case 2:
		p.sack = append(p.sack, left+100, left+200)
	case 3:
		p.sack = p.sack[:1] // malformed
	}
	g.emit(p)
	if g.chance(70) {
		q := g.segment(s, ack, 500, "fills the hole")
		q.seq = hole
		g.emit(q)
		peer.heard = h.next
		g.send(s.peer(), ack, 0, "ack")
	}
}

// edge is data around the edge of what the peer allowed (C1, C10, C11).
func (g *generator) edge(s side) {
	p := g.segment(s, ack, pick[uint16](g, 1, 2, 100, 1000), "edge")
	allowed := uint32(max(g.host[s.peer()].win, 1))
	if scale := g.host[s.peer()].scale; scale > 0 && g.host[s].scale >= 0 {
		allowed <<= min(scale, 14)
	}
	p.seq = g.host[s.peer()].heard + allowed*pick[uint32](g, 1, 1, 1, 2, 3) + pick[uint32](g, 0, 0, 1, 2, ^uint32(0), uint32(0)-uint32(p.length), 1-uint32(p.length))
	g.emit(p)
	if g.chance(50) {
		q := g.segment(s.peer(), ack, 0, "ack of the edge")
		q.ack = p.end()
		g.emit(q)
	}
}

// reset is a reset of one of the ends: exact, nearly so, or after a train of data.
func (g *generator) reset(s side) {
	p := g.segment(s, pick(g, rst, rst|ack), 0, "reset")
	p.seq += pick[uint32](g, 0, 0, 1, ^uint32(0), 10, 1000, 1<<20)
	if g.chance(30) {
		p.seq = g.host[s.peer()].heard
	}
	if g.chance(20) {
		p.ack = 0
	}
	if g.chance(10) {
		p.length = 10
	}
	g.emit(p)
	if g.chance(30) {
		g.send(s.peer(), ack, 0, "challenge")
		g.emit(g.segment(s, rst, 0, "answers the challenge"))
	}
}

// intruder is somebody who does not know the numbers (D1, D6).
func (g *generator) intruder(s side) {
	p := g.segment(s, pick(g, rst, rst|ack, syn, syn|ack, ack, fin|ack), pick[uint16](g, 0, 0, 100), "blind")
	p.seq = g.Uint32()
	if p.flags&ack != 0 {
		p.ack = g.Uint32()
	}
	g.emit(p)
}

// odd is a packet that should not be: odd flags, or damage.
func (g *generator) odd(s side) {
	p := g.segment(s, packet.TCPFlags(g.IntN(256)), pick[uint16](g, 0, 0, 10), "odd")
	if g.chance(30) {
		p.flags = ack
		p.flaw = flaw(1 + g.IntN(int(flawsCount)-1))
		if p.flaw == badChecksum && !g.chance(10) {
			p.flaw = badOffset
		}
	}
	p.ack = g.host[s].heard
	g.emit(p)
}

// target is any kind of packet at any remarkable place: what reaches the cells of the
// state table that no well-behaved host does.
func (g *generator) target(s side) {
	flags := pick(g, syn, syn|ack, fin|ack, ack, rst, rst|ack, 0) | pick[packet.TCPFlags](g, 0, 0, 0, psh, packet.FlagECE)
	p := g.segment(s, flags, pick[uint16](g, 0, 0, 0, 0, 1, 1000), "target")
	switch g.IntN(4) {
	case 0:
		p.seq += pick[uint32](g, 1, ^uint32(0), 1000, ^uint32(999), 66000, 1<<20, 1<<30, 1<<31)
	case 1:
		p.seq = pick(g, g.host[s.peer()].heard, g.host[s].isn, 0, g.number())
	}
	if flags&ack != 0 && g.chance(40) {
		p.ack = g.host[s.peer()].next + pick[uint32](g, 0, 0, 1, ^uint32(0), ^uint32(999), 1<<20, ^uint32(65999), ^uint32(66000), ^uint32(1<<20), g.host[s.peer()].isn+1-g.host[s.peer()].next)
	}
	g.emit(p)
	if (flags&(syn|rst)) == 0 && p.seq == g.host[s].next && g.chance(70) {
		g.host[s].next = p.end()
		g.host[s.peer()].heard = p.end()
	}
}

// datagrams is a sequence of UDP packets, now and then damaged.
func (g *generator) datagrams() {
	for range 1 + g.IntN(8) {
		s := segment{from: pick(g, lan, wan), length: uint16(g.IntN(40)), scale: -1}
		if g.chance(10) {
			s.flaw = pick(g, badOffset, badHeaderSum, shortSegment)
		}
		g.emit(s)
	}
}

// echoes is a sequence of ICMP queries, answers and others.
func (g *generator) echoes() {
	for range 1 + g.IntN(8) {
		s := segment{from: pick(g, lan, wan), length: 30, scale: -1, icmp: packet.ICMPEchoRequest}
		switch g.IntN(6) {
		case 0, 1, 2:
			s.icmp = packet.ICMPEchoReply
		case 3:
			s.icmp = pick[uint8](g, 3, 9, 10, 11, 12, 40, 42)
			s.quote = s.icmp != 40
		}
		if g.chance(10) {
			s.flaw = pick(g, badHeaderSum, shortSegment)
		}
		g.emit(s)
	}
}
