package conntrack

import "holdfast/dataplane/packet"

// pickUp starts a life in mid-stream, with a segment of the original direction that has no
// connection (BEHAVIOUR F). Both ends count as established long ago: their SYNs as sent
// and acknowledged, SACK as permitted (as nf_conntrack does), the scale as unknown. The
// windows are the largest there are, so nothing that either end may send is refused, and
// the edges move with what is seen: a reset must name them like any other (F3).
//
//	        seq+len                         ack
//	original ---|--> window of 1 GiB  reply --|--> window of 1 GiB
func (c *Conn) pickUp(p *packet.Parsed) {
	c.forget()
	c.flags |= PickedUp
	o, r := &c.edge[Original], &c.edge[Reply]
	end := p.Seq + p.SegmentLen()
	o.setPosition(1<<32 + uint64(end))
	r.setPosition(1<<32 + uint64(p.Ack))
	o.maxWin, r.maxWin = windowMax, windowMax
	o.maxEnd, r.maxEnd = end+windowMax, p.Ack+windowMax
	o.maxAck, r.maxAck = p.Ack, p.Seq
	for d := range c.sets {
		c.sets[d] = SeenSYN | SeenSYNAcked | SeenSACK
	}
}
