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
	TCP             TCPState // StateNone where not TCP
	Timer           Timer
	Flags           Flags
	Sync            SyncMode
	Rule            uint32
	Ingress, Egress packet.PortID
	Age             time.Duration // since this node has known it, to the second
	Idle            time.Duration // since a packet last refreshed it, to the ms
	Left            time.Duration // until it expires at its owner; negative where it is overdue
	Packets, Bytes  [2]uint64     // forwarded by this node, by Direction; bytes of IP
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
	idle, limit := int64(c.idle(milliseconds(now))), int64(t.idleLimit(c))
	*v = View{
		Index: index, Incarnation: c.incarnation, Original: c.tuple[Original], Reply: c.tuple[Reply],
		TCP: c.state, Timer: c.timer, Flags: c.flags, Sync: c.sync, Rule: c.rule,
		Ingress: c.port[Original], Egress: c.port[Reply],
		Age:     time.Duration(max(0, int32(seconds(now)-c.born))) * time.Second,
		Idle:    time.Duration(idle) * time.Millisecond,
		Left:    time.Duration(limit-idle) * time.Millisecond,
		Packets: [2]uint64{c.packets(Original), c.packets(Reply)},
		Bytes:   [2]uint64{c.edge[Original].bytes, c.edge[Reply].bytes},
	}
	return true
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
	c.export(s, index, milliseconds(now))
	t.unlock(home)
	return true
}
