package conntrack

import (
	"sync"

	"holdfast/internal/mutant"
)

// Killing a group of connections is a few stores. Every class carries the incarnation up
// to which its connections are dead; a kill raises it to the highest that was ever given,
// in every class that matches, and the packet path, which loads it once a packet, finds
// them dead from then on. Connections that begin later have greater incarnations and live.
//
//	incarnations of a class  ---1--4--7--9--|--12--15-->
//	                            dead        killed   live
//
// Where the classes do not say which connections are meant, KillEach looks at every one,
// in steps, and dooms those that match, each by a mark of its own under its home lock. A
// doomed connection is as dead as the others at once; its packets drop until the kill
// itself takes it away.
//
// The memory comes back by Reap, over the whole table after either kill; what only its
// class has killed goes with the sweep too, or when a packet of it passes by. Across nodes a kill is told by what it matches and by its incarnation: the
// order of incarnations is the same on every node (they are Lamport clocks), so a replica
// that was born before the kill is refused whatever the order in which the two arrive.

// killsKept is how many kills a table remembers for classes that it has not met yet: what
// arrives later than that many kills after its own is from another age.
const killsKept = 64

// kills is what the table remembers of them. The lock guards it and serves kills one by one.
type kills struct {
	sync.Mutex
	recent []kill
}

type kill struct {
	match  func(*Class) bool
	before Incarnation
}

// Kill is what a kill has done.
type Kill struct {
	Before Incarnation // connections up to this one are dead, in the classes that match
	Live   int         // how many the table held in those classes, those of an earlier kill that are not reaped yet among them

	classes []classID
	reaped  []uint64 // of each class, before
}

// Kill ends, at once and together, all connections of the classes that match. A before
// of zero means all that have begun until now; otherwise it is the one that a peer told
// of. match must stay true to itself: it is asked again for classes that are new later.
//
// Nothing is given back yet: call Reap over the whole table, then ReapedOf says how many
// connections it was.
func (t *Table) Kill(match func(*Class) bool, before Incarnation) (k Kill) {
	t.kills.Lock()
	defer t.kills.Unlock()
	if before == 0 {
		before = t.Latest()
	} else {
		t.heard(before)
	}
	k.Before = before
	if mutant.KillForgotten {
		t.KillEach(0, t.High(), 0, before, &Choice{Class: match})
		return k
	}
	if len(t.kills.recent) == killsKept {
		t.kills.recent = append(t.kills.recent[:0], t.kills.recent[1:]...)
	}
	t.kills.recent = append(t.kills.recent, kill{match, before})
	for id := range t.classHigh.Load() {
		key := classKey(t.classes.all[id].key.Load())
		if key == 0 {
			continue
		}
		if c := key.class(); match(&c) {
			k.classes = append(k.classes, classID(id))
			k.reaped = append(k.reaped, t.tallies.all[id].reaped.Load())
			k.Live += int(t.tallies.all[id].live.Load())
		}
	}
	for _, id := range k.classes {
		t.raise(id, before)
	}
	return k
}

// Latest returns an incarnation above all that this node has given or heard of so far and
// below all that it will: what a kill of all that is there until now ends up to. Every
// call returns another, so it names the kill too.
func (t *Table) Latest() Incarnation { return Incarnation(t.counter.Add(1)<<16 | 0xffff) }

// ReapedOf returns how many connections of the kill have left the table so far. After a
// Reap over the whole table it is how many the kill has ended, if no other kill has met
// the same classes in between.
func (t *Table) ReapedOf(k *Kill) (n int) {
	for i, id := range k.classes {
		n += int(t.tallies.all[id].reaped.Load() - k.reaped[i])
	}
	return n
}

// Classes returns how many connections each class has, the dead among them until they
// are reaped.
func (t *Table) Classes(visit func(c Class, live int)) {
	for id := range t.classHigh.Load() {
		if key := classKey(t.classes.all[id].key.Load()); key != 0 {
			if n := t.tallies.all[id].live.Load(); n > 0 {
				visit(key.class(), int(n))
			}
		}
	}
}
