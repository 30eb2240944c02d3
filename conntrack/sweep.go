package conntrack

import "holdfast/dataplane/packet"

// EndReason says why a connection ended.
type EndReason uint8

// The reasons. The zero value is illegal.
const (
	EndUnset    EndReason = iota
	EndExpired            // idle for longer than its timer allows
	EndReplaced           // a greater incarnation holds one of its tuples
	EndKilled             // somebody asked for it
	EndEvicted            // it had to make room in a full table
	EndLimited            // its source has more connections, or begins them faster, than its rule allows

	EndReasonsCount // how many there are
)

// String returns the word that `watch` prints.
func (e EndReason) String() string {
	return [...]string{"unset", "expired", "replaced", "killed", "evicted", "limited"}[min(e, EndLimited)]
}

// Ended is a connection that the table has removed.
type Ended struct {
	Why   EndReason
	State State
}

// Remove ends the life incarnation of the connection at index, whatever its state, and
// fills s with its last one (s.Index is the index). It reports whether that life was
// there. Nothing of the connection is found after it returns.
func (t *Table) Remove(index uint32, incarnation Incarnation, now int64, s *State) bool {
	return t.remove(index, incarnation, now, s, remembered, nil)
}

// Forget is Remove of a connection that has not ended: the table makes no difference between
// it and one that it has never heard of, and a peer may tell of it again.
func (t *Table) Forget(index uint32, incarnation Incarnation, now int64, s *State) bool {
	return t.remove(index, incarnation, now, s, forgotten, nil)
}

// remove is Remove or Forget, where still, asked under the lock, agrees.
func (t *Table) remove(index uint32, incarnation Incarnation, now int64, s *State, keep memory, still func(*Conn) bool) bool {
	c := t.entry(index)
	if c == nil {
		return false
	}
	home, live := t.lockLive(c)
	if !live {
		return false
	}
	same := c.incarnation == incarnation
	tuples := [2]packet.Tuple{t.tupleOf(c, index, Original), t.tupleOf(c, index, Reply)}
	t.unlock(home)
	if !same {
		return false
	}
	// Both shards must be taken in order, so the first lock is given up in between: the
	// incarnation tells whether the entry is still the same.
	original, reply := t.secret.hash(&tuples[Original]), t.secret.hash(&tuples[Reply])
	b := shardOf(reply)
	t.lockTwo(home, b)
	if c.link.Load() != linkLive|home || c.incarnation != incarnation || still != nil && !still(c) {
		t.unlockTwo(home, b)
		return false
	}
	t.export(c, index, milliseconds(now), s)
	// Counted first: who finds the entry gone, as a Reap does, finds it counted (Q3).
	var left classExit
	left.add(t, c.class, t.fallen(c))
	left.leave(t)
	t.unlinkLocked(c, index, original, reply)
	if keep == remembered {
		t.entombLocked(home, original, incarnation)
	}
	t.unlockTwo(home, b)
	t.give(index)
	return true
}

// Sweep looks at count entries of the dense array from the index from on, and removes
// those that have been idle for longer than grace allows, and those that a kill of their
// class has ended. It fills ended and stops early where that is full, so no removal goes
// unreported. It returns where to go on, zero
// after the last, and how many it removed. Workers sweep ranges of their own choice; two
// in one range do no harm.
func (t *Table) Sweep(from, count uint32, now int64, grace Grace, ended []Ended) (next uint32, n int) {
	high, ms := t.high.Load(), milliseconds(now)
	if from >= high {
		from = 0
	}
	if from == 0 && t.regimes.adapts() {
		t.regimes.press(t.Len(), t.Capacity())
	}
	judge := t.regimes.at(now, grace)
	keep := remembered
	if grace == GraceShadow {
		keep = forgotten // its owner has not said that it ended
	}
	end := from + min(count, high-from)
	for i := from; i < end; i++ {
		if n == len(ended) {
			return i, n
		}
		c := &t.conns.all[i]
		home, live := t.lockLive(c)
		if !live {
			continue
		}
		why, incarnation := t.over(c, ms, &judge), c.incarnation
		t.unlock(home)
		if why == EndUnset {
			continue
		}
		still := func(c *Conn) bool { return t.over(c, ms, &judge) == why }
		if t.remove(i, incarnation, now, &ended[n].State, keep, still) {
			ended[n].Why = why
			n++
		}
	}
	if end >= high {
		end = 0
	}
	return end, n
}

// over returns why an entry is to go, or EndUnset. The caller holds its home.
func (t *Table) over(c *Conn, ms uint32, j *judge) EndReason {
	switch {
	case c.marks&markDoomed != 0:
		return EndUnset // its kill takes it away
	case t.dead(c):
		return EndKilled
	case j.expired(t.keyOf(c).timeouts(), c.flags, c.timer(), c.idle(ms)):
		return EndExpired
	}
	return EndUnset
}
