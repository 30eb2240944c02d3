package conntrack

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// Related is the connection that an ICMP error belongs to. The caller owns and reuses it.
type Related struct {
	Sent        packet.Tuple // of the quoted packet, as its sender sent it
	Direction   Direction    // in which it went; the error goes the other way
	Index       uint32
	Incarnation Incarnation
	class       classKey
}

// Way returns the way of the error, which is that of the packets of the other direction.
func (r *Related) Way() Way { return r.class.way(r.Direction ^ 1) }

// Related finds the connection of an ICMP error p that quotes q, and returns drop.Pass if
// the error may go on to whoever sent the quoted packet, else why it dies.
//
// A packet that went out in direction d is quoted as it left, translated. Its tuple turned
// around is what packets of the other direction come in with, and that is a tuple of the
// table:
//
//	client > server   --- firewall --->   external > server   --- router: time exceeded
//	(direction d)                         (quoted)
//	                                      server > external   turned around, in the table
//	r.Sent: client > server
//
// An error belongs to a packet that may have been sent: by the side that it goes to, in a
// direction in which something was sent, and in TCP with a sequence number that was in
// flight not long ago (RFC 5927 section 4). Whoever does not see the connection has
// nothing but guesses.
//
// Errors change nothing: they neither refresh a connection nor end it nor count (H10,
// RFC 5508 REQ-6). An error that arrives while its shard is being moved may be missed.
func (t *Table) Related(p *packet.Parsed, q *packet.Quote, r *Related) drop.Reason {
	if p.Tuple.Dst != q.Tuple.Src {
		return drop.ICMPErrorMismatched
	}
	answer := q.Tuple.Reply()
	answer.Zone = p.Tuple.Zone
	walk := t.search(t.secret.hash(&answer))
	for s := walk.next(t); s != 0; s = walk.next(t) {
		c := &t.conns.all[s.index()]
		if home, ok := t.lockTuple(c, s.index(), s.direction(), &answer); ok {
			why := t.relate(c, s.index(), s.direction()^1, q, r)
			t.unlock(home)
			return why
		}
	}
	return drop.ICMPErrorUnmatched
}

// relate is Related for the connection that was found; the quoted packet went in direction
// d. The caller holds the home lock.
func (t *Table) relate(c *Conn, index uint32, d Direction, q *packet.Quote, r *Related) drop.Reason {
	key := t.keyOf(c)
	switch {
	case t.dead(c):
		return drop.Killed
	case d == Reply && c.flags&Replied == 0:
		return drop.ICMPErrorUnmatched
	case c.proto == packet.TCP && key.mode() == ModeStrict && !c.hasSent(d, q.Seq+c.quoted(d)):
		return drop.ICMPErrorSequence
	}
	q.Shift = c.quoted(d)
	r.Sent, r.Direction = t.tupleOf(c, index, d), d
	r.Index, r.Incarnation, r.class = index, c.incarnation, key
	return drop.Pass
}

// quoted returns what must be added to the number of a segment that went in direction d, as
// it is quoted, for it to be what its sender knows.
func (c *Conn) quoted(d Direction) uint32 {
	if d == Reply && c.flags&Spliced != 0 {
		return -c.offset
	}
	return 0
}

// hasSent reports whether a segment with this sequence number can have gone out in
// direction d not longer ago than a window, as II of the window test has it.
func (c *Conn) hasSent(d Direction, seq uint32) bool {
	end, slack := uint32(c.edge[d&1].end), c.slack(d)
	window := max(c.edge[d&1^1].maxWin, ackWindow)
	return !after(seq, end+slack) && !after(end-window-slack, seq)
}
