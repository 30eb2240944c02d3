package conntrack

import "holdfast/dataplane/packet"

// Reaped is a connection that a kill has ended and Reap has taken away.
type Reaped struct {
	State State
	Edges [2]Edge // of TCP; by Direction
}

// Edge is how far one end of a TCP connection has come, to the byte: State tells it
// rounded. The zero value is that of an end that was never heard.
type Edge struct {
	End   uint32 // after its furthest byte, SYN and FIN counted
	Acked uint32 // what it expects next, as far as it has told
	Ahead bool   // End was told by a peer, rounded up: the end is not there yet
}

// edges returns the edges of a TCP connection. The caller holds its home.
func (c *Conn) edges() (edges [2]Edge) {
	if c.proto != packet.TCP {
		return edges
	}
	for d := range c.edge {
		e := &c.edge[d]
		edges[d] = Edge{End: uint32(e.end), Acked: e.maxAck, Ahead: c.marks.ahead(Direction(d))}
	}
	return edges
}

// Reap looks at count entries of the dense array from the index from on, and removes
// those that kills have ended. It stops early where reaped is full; more than 64 of it is
// not used. tell, if not nil, is called with what is about to go, with no lock held: so
// that the peers hear that an index is free before another connection has it.
//
// It returns where to go on, zero after the last, and how many of reaped it has removed;
// what a packet has taken away in between is not among them.
func (t *Table) Reap(from, count uint32, now int64, reaped []Reaped, tell func([]Reaped)) (next uint32, n int) {
	reaped = reaped[:min(len(reaped), lookupBatch)]
	next, n = t.dying(from, count, milliseconds(now), reaped)
	reaped = reaped[:n]
	// The entries lie in a row, but the buckets anywhere: touched together, their cache
	// misses overlap.
	var hashes [lookupBatch][2]uint64
	for i := range reaped {
		s := &reaped[i].State
		hashes[i] = [2]uint64{t.secret.hash(&s.Original), t.secret.hash(&s.Reply)}
	}
	for i := range reaped {
		t.index.all[t.firstBucket(hashes[i][Original])].tags.Load()
		t.index.all[t.firstBucket(hashes[i][Reply])].tags.Load()
	}
	if tell != nil && n > 0 {
		tell(reaped)
	}
	n = 0
	var left classExit
	var freed chain
	for i := range reaped {
		if t.bury(&reaped[i].State, hashes[i][Original], hashes[i][Reply], &left) {
			freed.add(t, reaped[i].State.Index)
			if n != i {
				reaped[n] = reaped[i]
			}
			n++
		}
	}
	left.leave(t)
	t.giveChain(freed)
	return next, n
}

// classExit counts connections out of a class together: those that lie in a row in the
// array have mostly one.
type classExit struct {
	id           classID
	live, fallen int64
}

func (e *classExit) add(t *Table, id classID, fallen bool) {
	if id != e.id {
		e.leave(t)
		*e = classExit{id: id}
	}
	e.live++
	if fallen {
		e.fallen++
	}
}

func (e *classExit) leave(t *Table) {
	if e.live > 0 {
		t.leaveClass(e.id, e.live, e.fallen)
	}
}

// dying copies the dead among count entries from an index on, until dead is full.
func (t *Table) dying(from, count, ms uint32, dead []Reaped) (next uint32, n int) {
	high := t.high.Load()
	if from >= high {
		return 0, 0
	}
	end := from + min(count, high-from)
	for i := from; i < end; i++ {
		if n == len(dead) {
			return i, n
		}
		c := &t.conns.all[i]
		home, live := t.lockLive(c)
		if !live {
			continue
		}
		if t.dead(c) {
			t.export(c, i, ms, &dead[n].State)
			dead[n].Edges = c.edges()
			n++
		}
		t.unlock(home)
	}
	if end >= high {
		end = 0
	}
	return end, n
}

// bury removes the dead entry that s was copied from, if that life is still there. Its
// place is the caller's to give back.
func (t *Table) bury(s *State, original, reply uint64, left *classExit) bool {
	c := &t.conns.all[s.Index]
	home, b := shardOf(original), shardOf(reply)
	t.lockTwo(home, b)
	if c.link.Load() != linkLive|home || c.incarnation != s.Incarnation || !t.dead(c) {
		t.unlockTwo(home, b)
		return false
	}
	t.unlinkLocked(c, s.Index, original, reply)
	t.entombLocked(home, original, s.Incarnation)
	left.add(t, c.class, t.fallen(c))
	t.unlockTwo(home, b)
	return true
}
