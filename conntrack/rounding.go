package conntrack

import "holdfast/dataplane/packet"

// RoundEdges looks at count entries of the dense array from the index from on and takes the
// edges of their TCP connections for no better known than peers were told (State): one to two
// cells ahead, as a peer that has imported them does. A node does that when it has given the
// role up. The node that forwards from then on tells nothing while a connection moves within
// what it was told, so edges that are exact here would soon be wrong, and where the role
// comes back segments would be dropped that are past them.
//
// The exported form stays as it is, so nothing is told and digests do not change. Edges of a
// connection that has not completed its handshake, or of an end that has sent FIN, stay exact: whatever
// changes these is told at once.
//
// It returns where to go on, zero after the last. Safe from any goroutine, at any time: a
// connection that this node forwards is judged as after a failover until it has moved on.
func (t *Table) RoundEdges(from, count uint32) (next uint32) {
	high := t.high.Load()
	for next = from; next < high && next-from < count; next++ {
		c := &t.conns.all[next]
		home, live := t.lockLive(c)
		if !live {
			continue
		}
		if c.proto == packet.TCP {
			c.roundEdges()
		}
		t.unlock(home)
	}
	if next >= high {
		return 0
	}
	return next
}

// roundEdges does so with one TCP connection. The caller holds its home.
func (c *Conn) roundEdges() {
	var dirs [2]DirState
	from := c.shape()
	from.dirs(&dirs)
	for d := Original; d <= Reply; d++ {
		e := &c.edge[d]
		if e.maxWin == 0 || !rounds(&c.sets, d) || c.marks.ahead(d) {
			continue // nothing is known, it is exact, or it is rounded already
		}
		e.setPosition(dirs[d].End)
		e.maxEnd, e.maxWin = uint32(dirs[d].MaxEnd), dirs[d].MaxWin
		c.setAhead(d)
	}
}
