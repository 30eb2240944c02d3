package conntrack

// Choice says which connections a KillEach ends. It serves one goroutine.
type Choice struct {
	// Class says whether connections of a class can be meant at all. It is asked about a
	// class once, or a few times, instead of for every connection. nil: of any class.
	Class func(*Class) bool
	// Conn says whether a connection is meant; Left and the counters of the View are not
	// filled. nil: all whose class is. It is called with the connection locked, so it must
	// be quick and call nothing of the table.
	Conn func(*View) bool

	asked [choiceClasses]askedClass // what Class has said, by number of the class
	view  View
}

// choiceClasses is how many answers of Choice.Class are kept.
const choiceClasses = 256

// askedClass is one answer. The zero value is none, because a key is never zero.
type askedClass struct {
	key   classKey
	meant bool
}

// ofClass asks about a class, where that was not done just before.
func (x *Choice) ofClass(id classID, key classKey) bool {
	a := &x.asked[id%choiceClasses]
	if a.key != key {
		c := key.class()
		*a = askedClass{key, x.Class(&c)}
	}
	return a.meant
}

// KillEach looks at count entries of the dense array from the index from on, and ends
// those that are meant and began up to before, at once: no packet passes in them after
// it returns. It returns where to go on, zero after the last, and how many it has ended.
// Two goroutines may take a part of the array each, with a Choice each. Nothing is given
// back yet: call Reap over the whole table.
//
// A connection that begins while the array is gone through is left alone: its incarnation
// lies above before, if that is what Latest said at the start.
func (t *Table) KillEach(from, count uint32, now int64, before Incarnation, choose *Choice) (next uint32, n int) {
	t.heard(before)
	high := t.high.Load()
	if from >= high {
		return 0, 0
	}
	end := from + min(count, high-from)
	for i := from; i < end; i++ {
		c := &t.conns.all[i]
		home, live := t.lockLive(c)
		if !live {
			continue
		}
		if t.meant(c, i, now, before, choose) {
			c.marks |= markDoomed
			n++
		}
		t.unlock(home)
	}
	if end >= high {
		end = 0
	}
	return end, n
}

// meant reports whether a kill ends an entry that lives. The caller holds its home.
func (t *Table) meant(c *Conn, index uint32, now int64, before Incarnation, choose *Choice) bool {
	if c.incarnation > before || t.dead(c) || choose.Class != nil && !choose.ofClass(c.class, t.keyOf(c)) {
		return false
	}
	if choose.Conn == nil {
		return true
	}
	t.glance(c, index, now, &choose.view)
	return choose.Conn(&choose.view)
}
