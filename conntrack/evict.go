package conntrack

import (
	"time"

	"holdfast/dataplane/packet"
)

// A full table makes room for a new connection by ending one that has the least to lose:
// half-open first, then closing, never one in use (BEHAVIOUR B15, O2). Which of them: the
// one that has been idle for longest among a few neighbours in the dense array, where a
// hand goes round. In a SYN flood nearly all are half-open and the hand passes a place
// some fifty times a second, so a real handshake, which lasts for a round trip, is hardly
// ever the oldest of its neighbours.
const (
	evictNeighbors = 8  // looked at where there is a half-open one among them
	evictReach     = 64 // looked at in all
	evictPause     = int64(100 * time.Millisecond)
)

// worth is how much it costs to lose a connection.
type worth uint8

const (
	worthInUse    worth = iota // never evicted
	worthClosing               // a FIN or a reset was seen
	worthHalfOpen              // nobody has answered, or the handshake is not complete
)

// worthOf judges an entry. The caller holds its home.
func (c *Conn) worthOf() worth {
	if c.marks&markDoomed != 0 {
		return worthInUse // its kill takes it away, and tells who must know
	}
	if c.proto == packet.SCTP {
		switch c.sctpState() {
		case SCTPEstablished:
			return worthInUse
		case SCTPShutdownSent, SCTPShutdownRecd, SCTPShutdownAckSent, SCTPClosed:
			return worthClosing
		}
		return worthHalfOpen
	}
	if c.proto != packet.TCP {
		if c.flags&Replied == 0 {
			return worthHalfOpen
		}
		return worthInUse
	}
	switch c.tcp() {
	case SynSent, SynRecv, SynSent2:
		return worthHalfOpen
	case FinWait, CloseWait, LastAck, TimeWait, Close:
		return worthClosing
	}
	return worthInUse
}

// Evict ends one connection of a full table, fills e with it, and reports whether there
// was one to be found within reach. After a whole round in which there was none it looks
// again only after 100 ms, so that a table full of established connections costs a first
// packet nothing.
func (t *Table) Evict(now int64, e *Ended) bool {
	high := t.high.Load()
	if high == 0 || now < t.evictRest.Load() {
		return false
	}
	from := t.evictAt.Load()
	best, at, incarnation, idlest := worthInUse, uint32(0), Incarnation(0), uint32(0)
	reach, ms := min(evictReach, high), milliseconds(now)
	looked := uint32(0)
	for looked < reach && (looked < evictNeighbors || best != worthHalfOpen) {
		i := (from + looked) % high
		looked++
		c := &t.conns.all[i]
		home, live := t.lockLive(c)
		if !live {
			continue
		}
		w, idle, life := c.worthOf(), c.idle(ms), c.incarnation
		t.unlock(home)
		// In a flood all were seen in the same millisecond: then the older life goes.
		if w > best || w == best && w != worthInUse && (idle > idlest || idle == idlest && life < incarnation) {
			best, at, incarnation, idlest = w, i, life, idle
		}
	}
	t.evictAt.Store((from + looked) % high)
	if best == worthInUse {
		if barren := t.barren.Add(looked); barren >= high {
			t.barren.Store(0)
			t.evictRest.Store(now + evictPause)
		}
		return false
	}
	t.barren.Store(0)
	e.Why = EndEvicted
	return t.remove(at, incarnation, now, &e.State, remembered, func(c *Conn) bool { return c.worthOf() >= best })
}
