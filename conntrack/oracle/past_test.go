package oracle

import (
	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// past is what is known of a sequence from the packets alone: what each direction has
// sent, acknowledged and allowed, by those packets that were let through. The rows of the
// allowed differences are written in its terms. It judges nothing.
type past struct {
	known     [2]bool   // the direction has sent a SYN
	first     [2]uint32 // sequence number of its SYN
	end       [2]uint32 // after its furthest byte, resets apart
	acked     [2]uint32 // furthest that the peer acknowledged of it
	maxEnd    [2]uint32 // furthest that the peer allowed it
	maxWin    [2]uint32 // largest window that it advertised
	scale     [2]int8
	sackOK    [2]bool
	fin       [2]bool // it has sent a FIN
	backwards [2]uint32
	overran   [2]bool  // it sent beyond the window, and then less far beyond it: backwards
	finAcked  [2]bool  // all that it sent was acknowledged after its FIN
	resumed   bool     // this life began with a SYN that was only remembered
	refused   bool     // a SYN/ACK or reset that answers no SYN was dropped
	moved     bool     // a reset came by that would have moved an edge, were it data
	memo      *segment // a SYN amid the connection
	recent    bool     // nothing was tracked since
	tracked   *segment // the last packet that moved the window
	used      map[string]int
}

// after reports whether a lies ahead of b modulo 2^32.
func after(a, b uint32) bool { return int32(a-b) > 0 }

// note takes over a packet that passed.
func (p *past) note(c *comparison) {
	s := c.seg
	if c.proto == packet.TCP && !c.ours.passed && c.before.exists {
		switch kind := kindOf(s.flags); c.before.state {
		case ss:
			p.refused = p.refused || c.dir() == conntrack.Reply && (kind == kindSYNACK || kind == kindRST)
		case sr, s2:
			p.refused = p.refused || kind == kindSYNACK
		}
	}
	if c.proto != packet.TCP || !c.ours.passed {
		return
	}
	d := c.dir()
	if c.ours.refreshed && kindOf(s.flags) != kindRST {
		p.recent, p.tracked = false, s
	}
	if begins := kindOf(s.flags) == kindSYN && c.ours.state == ss && c.ours.refreshed; begins || c.ours.reopened {
		p.life(c)
		return
	}
	switch kind := kindOf(s.flags); {
	case kind == kindSYN && d == conntrack.Original:
		p.memo, p.recent = s, true
		return
	case kind == kindRST:
		acks := s.ack
		if s.flags&ack == 0 || s.ack == 0 {
			acks = p.end[d^1]
		}
		p.moved = p.moved || after(s.end(), p.end[d]) || s.flags&ack != 0 && after(acks, p.acked[d^1]) ||
			after(acks+max(p.window(s, d), 1), p.maxEnd[d^1]) || p.window(s, d) > p.maxWin[d]
		return
	case !c.ours.refreshed:
		if kind != kindSYNACK && c.before.state != ss && c.before.state != s2 && after(s.seq, p.maxEnd[d]) {
			if !after(s.end(), p.end[d]) {
				p.overran[d], p.backwards[d] = true, s.end()
			} else {
				p.overran[d], p.end[d] = false, s.end()
			}
		}
		return
	}
	p.track(c, d)
}

// life begins anew with a SYN, or with a SYN/ACK that answers one that was remembered.
func (p *past) life(c *comparison) {
	begin, used := c.seg, p.used
	if kindOf(c.seg.flags) == kindSYNACK {
		begin = p.memo
	}
	if begin == nil {
		return
	}
	// Linux keeps what it wrongly took from the peer when the opener's SYN is renewed.
	refused := p.refused && c.before.exists && c.before.state == ss
	*p = past{used: used, tracked: c.seg, refused: refused, resumed: begin != c.seg}
	p.open(begin, conntrack.Original)
	if begin != c.seg {
		p.track(c, conntrack.Reply)
	}
}

// open notes a direction's first SYN.
func (p *past) open(s *segment, d conntrack.Direction) {
	p.known[d], p.first[d], p.end[d], p.acked[d], p.maxEnd[d] = true, s.seq, s.end(), s.seq, s.end()
	p.maxWin[d], p.scale[d], p.sackOK[d] = uint32(max(s.win, 1)), s.scale, s.sackOK
}

// track notes a packet that was tracked.
func (p *past) track(c *comparison, d conntrack.Direction) {
	s, peer := c.seg, d^1
	if !p.known[d] {
		p.open(s, d)
	}
	if s.flags&fin != 0 {
		p.fin[d] = true
	}
	sack, right := s.ack, p.right(s)
	if s.flags&ack == 0 {
		sack, right = p.end[peer], p.end[peer]
	} else if after(s.ack, p.acked[peer]) {
		p.acked[peer] = s.ack
	}
	if d == conntrack.Original && s.flags&syn == 0 {
		p.memo = nil // the connection lives on
	}
	if s.flags&ack != 0 && p.fin[peer] && !after(p.end[peer], s.ack) {
		p.finAcked[peer] = true
	}
	win := p.window(s, d)
	p.maxWin[d] = max(p.maxWin[d], win+right-sack)
	if after(s.end(), p.end[d]) {
		p.end[d], p.overran[d] = s.end(), false
	}
	if !p.known[peer] || s.flags&(syn|ack) == syn {
		return
	}
	if after(s.end(), p.maxEnd[d]) {
		p.maxWin[peer] += s.end() - p.maxEnd[d]
	}
	if allowed := right + max(win, 1); after(allowed, p.maxEnd[peer]) {
		p.maxEnd[peer] = allowed
	}
}

// window is what a segment advertises.
func (p *past) window(s *segment, d conntrack.Direction) uint32 {
	win := uint32(s.win)
	if s.flags&syn == 0 && p.scale[0] >= 0 && p.scale[1] >= 0 {
		win <<= min(p.scale[d], 14)
	}
	return win
}

// right is how far a segment acknowledges, with SACK where both agreed on it.
func (p *past) right(s *segment) uint32 {
	right := s.ack
	if p.sackOK[0] && p.sackOK[1] && len(s.sack)%2 == 0 {
		for i := 1; i < len(s.sack); i += 2 {
			if after(s.sack[i], right) {
				right = s.sack[i]
			}
		}
	}
	return right
}

// outstanding reports whether a direction has sent what its peer has not acknowledged.
func (p *past) outstanding() bool {
	return p.known[0] && after(p.end[0], p.acked[0]) || p.known[1] && after(p.end[1], p.acked[1])
}
