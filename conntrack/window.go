package conntrack

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// after reports whether a lies ahead of b, modulo 2^32.
func after(a, b uint32) bool { return int32(a-b) > 0 }

// ackWindow is how far an acknowledgement may lie behind, whatever the window (van Rooij).
const ackWindow = 66000

// windowMax is the largest window there is: 65535 << 14, rounded up.
const windowMax = 1 << 30

// window is the test of Guido van Rooij ("Real Stateful TCP Packet Filtering in IP
// Filter", 2001) in the form of Linux: a segment need only intersect the window. For a
// segment [seq, end) with acknowledgement sack, its sender s and its receiver r:
//
//	I    seq  <= s.maxEnd                   not past what r allowed
//	II   end  >= s.end - r.maxWin           not older than a window
//	III  sack <= r.end                      not for what r never sent
//	IV   sack >= r.end - max(s.maxWin, 66000)
//
//	          II                s.end              I (s.maxEnd)
//	-----------|==================|==================|------> sequence numbers of s
//	  forward  :        accepted (any overlap)       :  drop, but see overshoot
//
// Of a connection that was picked up in mid-stream nobody knows what the ends have sent
// before, nor their scale: III always holds, and windows count as if scaled by 14 (F2).
//
// Not I or not III drops; not II or not IV is an old duplicate, forwarded without
// refresh. Where an edge was imported every bound that depends on it gives way by the
// slack of its direction (F5). An accepted segment moves the edges.
func (c *Conn) window(p *packet.Parsed, dir Direction) verdict {
	s, r := &c.edge[dir], &c.edge[dir^1]
	slackS, slackR := c.slack(dir), c.slack(dir^1)
	seq, end := p.Seq, p.Seq+p.SegmentLen()
	ack, sack := uint32(r.end), uint32(r.end)
	if p.TCPFlags&packet.FlagACK != 0 {
		ack, sack = p.Ack, c.sackOf(p)
	}
	sEnd, rEnd := uint32(s.end), uint32(r.end)

	recent := r.maxWin == 0 || !after(sEnd-r.maxWin-slackS, end) // II
	seen := !after(sack, rEnd+slackR) || c.flags&PickedUp != 0   // III
	timely := !after(rEnd-max(s.maxWin, ackWindow)-slackR, sack) // IV
	if beyond := end - s.maxEnd; after(seq, s.maxEnd+slackS) {   // not I
		if !seen || !timely || !recent || r.maxWin == 0 || beyond > r.maxWin+slackS {
			return dropped(drop.TCPBeyondWindow)
		}
		// A sender that overran the window (C11). Its data may be acknowledged, so it
		// counts as sent.
		if after(end, sEnd) {
			s.advance(end)
			c.clearAhead(dir)
		}
		return forward
	}
	if !seen {
		return dropped(drop.TCPAckUnseen)
	}
	if !recent || !timely {
		return forward
	}
	c.move(p, dir, end, ack, sack)
	return tracked
}

// sackOf returns how far a segment acknowledges: the furthest SACK edge where both ends
// agreed on SACK, which the decoder never puts before Ack.
func (c *Conn) sackOf(p *packet.Parsed) uint32 {
	if p.TCPOptions&packet.HasSACK != 0 && c.sets[Original]&c.sets[Reply]&SeenSACK != 0 {
		return p.SACKRight
	}
	return p.Ack
}

// scaled returns the window that a segment advertises. Scaling counts if both SYNs
// offered it, and never in a SYN (RFC 7323 section 2.2).
func (c *Conn) scaled(p *packet.Parsed, dir Direction) uint32 {
	win := uint32(p.Window)
	if c.flags&PickedUp != 0 {
		return win << 14 // the largest scale there is, as pf does
	}
	if p.TCPFlags&packet.FlagSYN == 0 && c.sets[Original]&c.sets[Reply]&SeenScale != 0 {
		win <<= c.scale.of(dir)
	}
	return win
}

// move brings the edges up to date with an accepted segment.
func (c *Conn) move(p *packet.Parsed, dir Direction, end, ack, sack uint32) {
	s, r := &c.edge[dir], &c.edge[dir^1]
	win := c.scaled(p, dir)
	s.maxWin = max(s.maxWin, min(win+(sack-ack), windowMax))
	if after(end, uint32(s.end)) {
		s.advance(end)
		c.clearAhead(dir) // the wire has caught up with the import
	}
	if after(sack, uint32(r.end)) {
		r.advance(sack) // within the slack of an import: what is acknowledged was sent
	}
	if p.TCPFlags&packet.FlagACK != 0 && after(ack, s.maxAck) {
		s.maxAck = ack
	}
	if r.maxWin == 0 {
		return // nothing is known of the peer yet
	}
	if after(end, s.maxEnd) {
		r.maxWin = min(r.maxWin+(end-s.maxEnd), windowMax)
	}
	// A closed window still lets one byte through, the probe (C8).
	if allowed := sack + max(win, 1); after(allowed, r.maxEnd) {
		r.maxEnd = allowed
	}
}

// resetAborts judges a reset by the side whose SYN has no answer yet. It must name the
// place where that side is; one that answers a challenge ACK changes nothing (B7).
func (c *Conn) resetAborts(p *packet.Parsed) verdict {
	if c.remembers(memoChallenge, p.Seq) {
		return forward
	}
	e := &c.edge[Original]
	if first := c.edge[Reply].maxAck; after(first, p.Seq) || after(p.Seq, uint32(e.end)) {
		return dropped(drop.TCPResetInvalid)
	}
	c.sets[Original] |= SeenRST
	return tracked
}

// resetAnswers judges a reset that answers a SYN: it acknowledges exactly the SYN,
// whatever its own number is (RFC 9293 section 3.5.2, B14).
func (c *Conn) resetAnswers(p *packet.Parsed) verdict {
	if p.TCPFlags&packet.FlagACK == 0 || p.Ack != uint32(c.edge[Original].end) && !c.remembers(memoSYN, p.Ack) {
		return dropped(drop.TCPResetInvalid)
	}
	c.sets[Reply] |= SeenRST
	return tracked
}

// resetChecked judges a reset of a live connection as RFC 5961 section 3.2 does. Outside
// the window it drops. In the window but not exact it is forwarded, and a shorter timer
// runs until the end that got it has answered with a challenge ACK. Exact is the number
// that the peer expects, or the one after the sender's last byte: a train of data that
// ends in a reset (D3). An acknowledgement number proves nothing (D5).
func (c *Conn) resetChecked(p *packet.Parsed, dir Direction) verdict {
	s, r := &c.edge[dir], &c.edge[dir^1]
	hasAck := p.TCPFlags&packet.FlagACK != 0 && p.Ack != 0
	if dir == Reply && hasAck && c.remembers(memoSYN, p.Ack) {
		c.sets[dir] |= SeenRST // answers the SYN that we only remembered: the server has nothing
		return tracked
	}
	if after(r.maxAck, p.Seq) || after(p.Seq, s.maxEnd) {
		return dropped(drop.TCPResetInvalid)
	}
	if hasAck && c.flags&PickedUp == 0 && after(p.Ack, uint32(r.end)+c.slack(dir^1)) {
		return dropped(drop.TCPResetInvalid)
	}
	exact := p.Seq == r.maxAck || p.Seq == uint32(s.end) && !c.marks.ahead(dir)
	if !exact && c.tcp() == Established {
		c.setWait(waitVerdict)
		return tracked
	}
	c.sets[dir] |= SeenRST
	return tracked
}
