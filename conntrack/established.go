package conntrack

import "holdfast/dataplane/packet"

// What most packets are has a way of its own: a segment with ACK, perhaps PSH, of an
// established connection both of whose ends talk, that lies whole in its window, and
// brings nothing that a peer need know by itself. It does what trackTCP and due do, in
// the order of their rules, and gives up before it changes anything where a rule says
// otherwise (TestEstablishedIsTheLongWay).

// The sets of such a connection: what is not asked may be there.
const (
	establishedAsked = SeenSYN | SeenSYNAcked | SeenFIN | SeenFINAcked | SeenRST
	establishedHas   = SeenSYN | SeenSYNAcked
)

// trackEstablished judges a segment of such a connection. known is false where it is
// another kind of segment or connection; then nothing has happened. due says that the
// exported form has changed. The caller holds the home lock.
func (c *Conn) trackEstablished(p *packet.Parsed, dir Direction) (known, due bool) {
	sets := c.sets
	both := sets[Original] & sets[Reply]
	if p.TCPFlags&^packet.FlagPSH != packet.FlagACK || both&establishedAsked != establishedHas ||
		(sets[Original]|sets[Reply])&establishedAsked != establishedHas ||
		c.flags&^bothNAT != Replied|Assured || c.marks&exportedMarks != 0 {
		return false, false
	}
	s, r := &c.edge[dir&1], &c.edge[dir&1^1]
	end := p.Seq + p.End - uint32(p.Payload)
	ack, sack := p.Ack, p.Ack
	win := uint32(p.Window)
	if both&SeenScale != 0 {
		win <<= c.scale.of(dir)
	}
	if p.TCPOptions&packet.HasSACK != 0 {
		sack = c.sackOf(p)
	}
	sEnd, rEnd := uint32(s.end), uint32(r.end)
	maxWin := max(s.maxWin, min(win+(sack-ack), windowMax))
	if after(end, s.maxEnd) || after(p.Seq, s.maxEnd) || // I, and no byte beyond
		after(sEnd-r.maxWin, end) || // II
		after(sack, rEnd) || // III
		after(rEnd-max(s.maxWin, ackWindow), sack) || // IV
		r.maxWin == 0 || maxWin > s.maxWin && exportedWindow(maxWin) != exportedWindow(s.maxWin) {
		return false, false
	}
	s.maxWin = maxWin
	if after(end, sEnd) || after(ack, s.maxAck) {
		cell := cellOf(s.maxWin, r.maxWin)
		if after(end, sEnd) {
			// The peer's acknowledgement is exported as a position relative to this edge.
			acked := unwrap(s.position(), r.maxAck)
			was := s.position()
			s.advance(end)
			due = (was^s.position())>>cell|(acked^unwrap(s.position(), r.maxAck))>>cell != 0
		}
		if after(ack, s.maxAck) {
			edge := r.position()
			due = due || (unwrap(edge, s.maxAck)^unwrap(edge, ack))>>cell != 0
			s.maxAck = ack
		}
	}
	if allowed := sack + max(win, 1); after(allowed, r.maxEnd) {
		r.maxEnd = allowed
	}
	if dir == Original {
		c.memoIs = 0
	}
	w := waitNothing
	switch {
	case p.Window == 0:
		w = waitWindow
	case after(uint32(s.end), r.maxAck), after(rEnd, s.maxAck):
		w = waitAck
	}
	c.setWait(w)
	return true, due
}
