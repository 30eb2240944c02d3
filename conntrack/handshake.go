package conntrack

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// begin starts a life with a SYN of the original direction.
func (c *Conn) begin(p *packet.Parsed) {
	c.forget()
	c.open(p, Original)
}

// open initialises a direction from its SYN or SYN/ACK. The window of a SYN is never
// scaled (RFC 7323 section 2.2). That the SYN exists acknowledges what lies before it:
// its sequence number is where the peer's acknowledgements start.
func (c *Conn) open(p *packet.Parsed, dir Direction) {
	e := &c.edge[dir]
	e.setPosition(1<<32 + uint64(p.Seq) + uint64(p.SegmentLen()))
	e.maxEnd = uint32(e.end)
	e.maxWin = max(uint32(p.Window), 1)
	c.edge[dir^1].maxAck = p.Seq
	c.sets[dir] = SeenSYN
	c.setScale(dir, 0)
	if p.TCPOptions&packet.HasWScale != 0 {
		c.sets[dir] |= SeenScale
		c.setScale(dir, p.WScale)
	}
	if p.TCPOptions&packet.HasSACKPermitted != 0 {
		c.sets[dir] |= SeenSACK
	}
}

// synAgain judges a second SYN before any answer (B4, B5): the same one is forwarded
// without refresh; a newer one starts anew; an older one may be right all the same, the
// SYN/ACK will tell.
func (c *Conn) synAgain(p *packet.Parsed) verdict {
	first := c.edge[Reply].maxAck
	switch {
	case p.Seq == first:
		return forward
	case after(p.Seq, first):
		c.begin(p)
		return reopened
	}
	c.rememberSYN(p)
	return forward
}

// rememberSYN keeps a SYN that was let through.
func (c *Conn) rememberSYN(p *packet.Parsed) {
	m := memo{kind: memoSYN, pos: p.Seq + p.SegmentLen(), window: p.Window}
	if p.TCPOptions&packet.HasWScale != 0 {
		m.offer, m.scale = SeenScale, p.WScale
	}
	if p.TCPOptions&packet.HasSACKPermitted != 0 {
		m.offer |= SeenSACK
	}
	c.remember(m)
}

// resume starts a life from the remembered SYN: both ends have gone on without us (B8, B9).
func (c *Conn) resume() {
	m := c.memo()
	c.forget()
	e := &c.edge[Original]
	e.setPosition(1<<32 + uint64(m.pos))
	e.maxEnd = m.pos
	e.maxWin = max(uint32(m.window), 1)
	c.edge[Reply].maxAck = m.pos - 1
	c.sets[Original] = SeenSYN | m.offer
	c.setScale(Original, m.scale)
}

// synAck judges a SYN/ACK.
func (c *Conn) synAck(p *packet.Parsed, dir Direction) verdict {
	effect := effectTrack
	if dir == Reply && c.remembers(memoSYN, p.Ack) {
		c.resume()
		effect = effectReopen
	}
	s, r := &c.edge[dir], &c.edge[dir^1]
	// After SYNs that crossed, too, it must acknowledge ours. An old one may pass, as the
	// window test says, but completes nothing.
	old := !after(p.Ack, s.maxAck)
	switch {
	case s.maxWin == 0: // the first of this direction
		if old || after(p.Ack, uint32(r.end)) {
			return dropped(drop.TCPAckUnseen) // answers an old SYN (B6)
		}
		ack := s.maxAck
		c.open(p, dir)
		s.maxAck = ack
	case c.sets[dir^1]&SeenSYNAcked != 0: // repeated
		return forward
	}
	edges, marks := c.edge, c.marks
	v := c.window(p, dir)
	if v.effect == effectTrack && old {
		c.edge, c.marks = edges, marks
		return dropped(drop.TCPAckUnseen)
	}
	if v.effect == effectTrack {
		c.sets[dir^1] |= SeenSYNAcked
		v.effect = effect
	}
	return v
}

// handshake judges an ACK or FIN by what it says about the handshake. Where the other
// side's SYN has no answer yet this must be the last of the three steps: from the
// original side, after a SYN/ACK, and acknowledging it. After SYNs that crossed each side
// must send a SYN/ACK, so no split handshake gets through (B11).
func (c *Conn) handshake(p *packet.Parsed, dir Direction) verdict {
	if c.sets[dir^1]&SeenSYNAcked != 0 {
		return tracked
	}
	if dir != Original || c.sets[Original]&SeenSYNAcked == 0 {
		return dropped(drop.TCPStateInvalid)
	}
	if !after(p.Ack, c.edge[Original].maxAck) {
		return dropped(drop.TCPAckUnseen)
	}
	return tracked
}
