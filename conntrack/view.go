package conntrack

import (
	"time"

	"holdfast/dataplane/packet"
)

// View is a copy of one connection for people: listings, selectors, `conns`.
type View struct {
	Index           uint32
	Incarnation     Incarnation
	Original, Reply packet.Tuple
	TCP             TCPState  // StateNone where not TCP
	SCTP            SCTPState // SCTPNone where not SCTP
	Timer           Timer
	Flags           Flags
	Class
	Age            time.Duration // since this node has known it, to the second
	Idle           time.Duration // since a packet last refreshed it, to the ms
	Left           time.Duration // until it expires at its owner; negative where it is overdue
	Packets, Bytes [2]uint64     // forwarded by this node, by Direction; bytes of IP
}

// View copies the connection at index into v, consistent in itself, and reports whether
// there is one. All connections are at indices below High.
func (t *Table) View(index uint32, now int64, v *View) bool {
	c := t.entry(index)
	if c == nil {
		return false
	}
	home, live := t.lockLive(c)
	if !live {
		return false
	}
	defer t.unlock(home)
	if t.dead(c) {
		return false
	}
	t.glance(c, index, now, v)
	idle := c.idle(milliseconds(now))
	judge := t.regimes.at(now, GraceOwner)
	limit := judge.limit(t.keyOf(c).timeouts(), c.flags, c.timer(), idle)
	v.Left = (time.Duration(limit) - time.Duration(idle)) * time.Millisecond
	for d := range c.edge {
		v.Packets[d], v.Bytes[d] = c.edge[d].traffic()
	}
	return true
}

// glance fills in what a selector looks at: all but Left and the counters. The caller
// holds the entry's home.
func (t *Table) glance(c *Conn, index uint32, now int64, v *View) {
	v.Index, v.Incarnation = index, c.incarnation
	v.Original, v.Reply = t.tupleOf(c, index, Original), t.tupleOf(c, index, Reply)
	v.TCP, v.Timer, v.Flags, v.Class = c.tcpState(), c.timer(), c.flags, t.classOf(c)
	if v.SCTP = SCTPNone; c.proto == packet.SCTP {
		v.SCTP = c.sctpState()
	}
	v.Age = time.Duration(max(0, int32(seconds(now)-c.born))) * time.Second
	v.Idle = time.Duration(c.idle(milliseconds(now))) * time.Millisecond
}

// Export fills s with the exported form of the connection at index, for a bulk transfer
// or a repair, and reports whether there is one.
func (t *Table) Export(index uint32, now int64, s *State) bool {
	c := t.entry(index)
	if c == nil {
		return false
	}
	home, live := t.lockLive(c)
	if !live {
		return false
	}
	alive := !t.dead(c)
	t.export(c, index, milliseconds(now), s)
	t.unlock(home)
	return alive
}

// Find fills v with the connection that a packet belongs to and says in which direction the
// packet goes; ok is false where there is none, or one that is over. Nothing is tracked: the
// packet may yet be refused.
func (t *Table) Find(p *packet.Parsed, now int64, v *View) (dir Direction, ok bool) {
	var hit [1]Hit
	t.Lookup([]packet.Parsed{*p}, hit[:])
	c, home := t.verify(p, &hit[0])
	if c == nil {
		return Original, false
	}
	t.unlock(home)
	if !t.View(hit[0].Index, now, v) || v.Left < 0 {
		return Original, false // it has ended, or is about to
	}
	if v.Original != p.Tuple && v.Reply != p.Tuple {
		return Original, false // in between it gave way to another
	}
	return hit[0].Direction, true
}

// Judged returns the tuple that rules see of a connection: its original source and its
// final destination.
func Judged(original, reply *packet.Tuple) packet.Tuple {
	tuple := *original
	tuple.Dst = reply.Src
	if srcPort, _ := original.ReplyPorts(); reply.SrcPort != srcPort {
		tuple.DstPort = reply.SrcPort // its destination's port is translated
	}
	return tuple
}
