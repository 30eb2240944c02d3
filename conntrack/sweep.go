package conntrack

// EndReason says why a connection ended.
type EndReason uint8

// The reasons. The zero value is illegal.
const (
	EndUnset    EndReason = iota
	EndExpired            // idle for longer than its timer allows
	EndReplaced           // a greater incarnation holds one of its tuples
	EndKilled             // somebody asked for it
)

// String returns the word that `watch` prints.
func (e EndReason) String() string {
	return [...]string{"unset", "expired", "replaced", "killed"}[min(e, EndKilled)]
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
	return t.remove(index, incarnation, now, s, nil)
}

// remove is Remove, where still, asked under the lock, agrees.
func (t *Table) remove(index uint32, incarnation Incarnation, now int64, s *State, still func(*Conn) bool) bool {
	c := t.entry(index)
	if c == nil {
		return false
	}
	home, live := t.lockLive(c)
	if !live {
		return false
	}
	same, tuples := c.incarnation == incarnation, c.tuple
	t.unlock(home)
	if !same {
		return false
	}
	// Both shards must be taken in order, so the first lock is given up in between: the
	// incarnation tells whether the entry is still the same.
	original, reply := t.secret.hash(&tuples[Original]), t.secret.hash(&tuples[Reply])
	b, _ := split(reply)
	t.lockTwo(home, b)
	if c.link.Load() != linkLive|home || c.incarnation != incarnation || still != nil && !still(c) {
		t.unlockTwo(home, b)
		return false
	}
	c.export(s, index, milliseconds(now))
	t.unlinkLocked(c, index, original, reply)
	t.unlockTwo(home, b)
	t.give(index)
	return true
}

// Sweep looks at count entries of the dense array from the index from on, and removes
// those that have been idle for longer than grace allows. It fills ended and stops early
// where that is full, so no removal goes unreported. It returns where to go on, zero
// after the last, and how many it removed. Workers sweep ranges of their own choice; two
// in one range do no harm.
func (t *Table) Sweep(from, count uint32, now int64, grace Grace, ended []Ended) (next uint32, n int) {
	high, ms := t.high.Load(), milliseconds(now)
	if from >= high {
		from = 0
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
		expired, incarnation := t.expired(c, ms, grace), c.incarnation
		t.unlock(home)
		if !expired {
			continue
		}
		still := func(c *Conn) bool { return t.expired(c, ms, grace) }
		if t.remove(i, incarnation, now, &ended[n].State, still) {
			ended[n].Why = EndExpired
			n++
		}
	}
	if end >= high {
		end = 0
	}
	return end, n
}

// expired reports whether an entry has been idle for too long. The caller holds its home.
func (t *Table) expired(c *Conn, ms uint32, grace Grace) bool {
	return c.idle(ms) > grace.apply(t.idleLimit(c))
}

// idleLimit returns how long an entry may be idle, in ms.
func (t *Table) idleLimit(c *Conn) uint32 { return t.limits.idle[translated(c.flags)][c.timer] }
