package conntrack

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// stepSloppy follows a connection without sequence numbers, for routes on which this node
// sees only one direction (pf's `sloppy`, pf_tcp_track_sloppy). What the other direction
// must have done for a segment to be possible counts as done:
//
//	seen from one side only     what it means
//	SYN                         SYN_SENT
//	ACK after the SYN           the other side has sent its SYN and acknowledged: ESTABLISHED
//	FIN                         FIN_WAIT
//	ACK after its own FIN       the other side has sent its FIN too: TIME_WAIT
//
// With both sides seen it goes as elsewhere, each flag believed. A reset is believed too:
// who chooses this mode gives up the protection against blind ones (D1).
func (c *Conn) stepSloppy(p *packet.Parsed, dir Direction, k kind, state TCPState) verdict {
	peer := dir ^ 1
	switch {
	case k == kindNone:
		return dropped(drop.TCPStateInvalid)
	case k == kindSYN && (state == TimeWait || state == Close):
		if dir != Original {
			return verdict{effect: effectSupersede}
		}
		c.begin(p)
		return reopened
	case k == kindRST:
		if state != TimeWait && state != Close {
			c.sets[dir] |= SeenRST
		}
		return tracked
	}
	if c.edge[dir].maxWin == 0 {
		c.place(dir, p.Seq, p.Window)
	}
	if p.TCPFlags&packet.FlagACK != 0 {
		if c.edge[peer].maxWin == 0 && k != kindSYNACK {
			c.place(peer, p.Ack, p.Window) // it has answered, by another way
		}
		c.sets[peer] |= c.sets[peer] & SeenSYN << 1 // SeenSYNAcked
		if c.sets[peer]&SeenFIN != 0 {
			c.sets[peer] |= SeenFINAcked
		}
		packets, _ := c.edge[peer].traffic()
		oneSided := packets == 0 // as far as this node has seen
		if k == kindACK && oneSided && c.sets[dir]&SeenFIN != 0 {
			c.sets[dir] |= SeenFINAcked
			c.sets[peer] |= SeenFIN | SeenFINAcked
		}
		if k != kindSYNACK && oneSided {
			c.sets[dir] |= SeenSYNAcked // or it would not go on
		}
	}
	if k == kindFIN {
		c.sets[dir] |= SeenFIN
	}
	return tracked
}

// place gives a direction that was not seen an edge, so that what is exported of it is
// what an end could have.
func (c *Conn) place(dir Direction, at uint32, window uint16) {
	e := &c.edge[dir]
	e.setPosition(1<<32 + uint64(at))
	e.maxWin = max(uint32(window), 1)
	e.maxEnd = at + e.maxWin
	c.sets[dir] |= SeenSYN
	c.edge[dir^1].maxAck = at
}
