package table

import (
	"iter"
	"net/netip"
)

// ChangeKind says what a Change does.
type ChangeKind uint8

// The kinds. The zero value is illegal.
const (
	Put   ChangeKind = iota + 1 // the entry is in the table
	Drop                        // it has left
	Clear                       // all have left that were put up to the version
)

// Change is what nodes tell each other of a table: what holds of one of its entries since a
// version. It may arrive in any order, any number of times: of two about one entry the later
// version holds, and what is not later than a Clear does not.
type Change struct {
	Kind    ChangeKind
	Version Version
	Table   string
	Prefix  netip.Prefix // of Put and Drop
	Sense   Sense        // of Put, as what follows
	Left    int64        // of its lifetime, ns; 0: it stays
	Age     int64        // ns since it was added
	Cause   Cause        // never Written
}

// put fills in a Put of e at now.
func (t *Table) put(e *entry, now int64, c *Change) {
	*c = Change{
		Kind: Put, Version: e.version.Load(), Table: t.plan.Name, Prefix: e.prefix, Sense: e.sense, Cause: e.cause, Age: max(0, now-e.added),
	}
	if at := e.expires.Load(); at != 0 {
		c.Left = max(at-now, msNS) // what is over by now leaves there too
	}
}

// Tell fills in what now holds of a prefix: after a change, that is the change. It reports
// whether anything is known of it.
func (t *Table) Tell(p netip.Prefix, now int64, c *Change) bool {
	if t.added == nil {
		return false
	}
	d := t.added
	d.mu.Lock()
	defer d.mu.Unlock()
	if e, ok := d.tree.Load().Get(p); ok {
		t.put(e, now, c)
		return true
	}
	v := d.graves.version(p)
	*c = Change{Kind: Drop, Version: v, Table: t.plan.Name, Prefix: p}
	return v != 0
}

// Changes goes over all that was added and over what has left of late, as it is when the
// iteration begins: together they make another node's table the same. A Clear comes last, so
// that no entry is out for a moment that was replaced by itself.
func (t *Table) Changes(now int64) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		if t.added == nil {
			return
		}
		d := t.added
		d.mu.Lock()
		tree, floor, left := d.tree.Load(), d.floor, d.graves.all()
		d.mu.Unlock()
		var c Change
		for _, e := range tree.All() {
			if e.version.Load() <= floor {
				continue // on its way out
			}
			if t.put(e, now, &c); !yield(c) {
				return
			}
		}
		for _, g := range left {
			if !yield(Change{Kind: Drop, Version: g.version, Table: t.plan.Name, Prefix: g.prefix}) {
				return
			}
		}
		if floor != 0 {
			yield(Change{Kind: Clear, Version: floor, Table: t.plan.Name})
		}
	}
}

// mergeRoom is how many times Max entries there may be by what other nodes tell: what they
// replace may come before the word that the old ones are gone.
const mergeRoom = 2

// Merge takes in what another node tells of the table, at now (ns):
//
//	Put    Added, Refreshed, Outdated, Full
//	Drop   Deleted, Outdated, or Absent: then it is remembered, because the Put may come yet
//	Clear  Deleted, Outdated
//
// What the policy has written is no obstacle: it decides all the same, wherever both have a
// prefix. Of two Puts of one version that which leaves earlier holds: the other was told late.
func (t *Table) Merge(c *Change, now int64) Outcome {
	if t.added == nil {
		return IsConst
	}
	t.clock.observe(c.Version)
	d := t.added
	if c.Kind == Clear {
		return d.clear(c.Version, now)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = max(d.now, now)
	if c.Version <= d.floor {
		return Outdated
	}
	if c.Kind == Drop {
		return d.dropLocked(c)
	}
	return d.mergeLocked(c, mergeRoom*t.plan.Max)
}

func (d *dynamic) dropLocked(c *Change) Outcome {
	before := d.tree.Load()
	e, there := before.Get(c.Prefix)
	switch {
	case there && e.version.Load() > c.Version, !there && d.graves.version(c.Prefix) >= c.Version:
		return Outdated
	case there:
		d.leaveLocked(e)
		d.tree.Store(before.DeletePersist(c.Prefix))
	}
	d.graves.dig(c.Prefix, c.Version, d.now)
	if there {
		return Deleted
	}
	return Absent
}

func (d *dynamic) mergeLocked(c *Change, room int) Outcome {
	before := d.tree.Load()
	old, there := before.Get(c.Prefix)
	expires := int64(0)
	if c.Left != 0 {
		expires = d.now + c.Left
	}
	switch {
	case !there && d.graves.version(c.Prefix) >= c.Version, there && old.version.Load() > c.Version:
		return Outdated
	case there && old.version.Load() == c.Version:
		if expires == 0 || !outlives(old.expires.Load(), expires) {
			return Refreshed
		}
	case there && old.sense == c.Sense && old.cause == c.Cause:
		d.renewLocked(old, expires, c.Version)
		return Refreshed
	case !there && before.Size() >= room:
		d.refused.Add(1)
		return Full
	}
	e := newEntry(c.Prefix, c.Sense, c.Cause, d.now-c.Age, c.Version)
	if there {
		if old.sense == c.Sense {
			e.counts = old.counts
		}
		d.leaveLocked(old)
	}
	d.enterLocked(e, expires)
	d.graves.close(c.Prefix)
	d.tree.Store(before.InsertPersist(c.Prefix, e))
	if there {
		return Refreshed
	}
	return Added
}

// clear takes out all that was put up to a version, a few at a time.
func (d *dynamic) clear(v Version, now int64) Outcome {
	d.mu.Lock()
	d.now = max(d.now, now)
	if v <= d.floor {
		d.mu.Unlock()
		return Outdated
	}
	d.floor = v
	d.graves.below(v)
	tree := d.tree.Load()
	d.mu.Unlock()
	var some []netip.Prefix
	for p, e := range tree.All() {
		if e.version.Load() > v {
			continue
		}
		if some = append(some, p); len(some) == expireStep {
			d.removeBelow(some, v)
			some = some[:0]
		}
	}
	d.removeBelow(some, v)
	return Deleted
}

// removeBelow takes out those of some entries that are not later than a version.
func (d *dynamic) removeBelow(some []netip.Prefix, v Version) {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := d.tree.Load()
	for _, p := range some {
		if e, ok := after.Get(p); ok && e.version.Load() <= v {
			d.leaveLocked(e)
			after = after.DeletePersist(p)
		}
	}
	d.tree.Store(after)
}
