package table

import (
	"fmt"
	"iter"
	"net/netip"

	"github.com/gaissmai/bart"

	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

// Plan says what a table is, as plain data that package rules makes of a policy.
type Plan struct {
	Name     string
	Written  []WrittenEntry
	Lifetime int64 // of entries that are added without one, in ns; 0: they stay
	Max      int   // how many entries there may be beside the written ones
	Const    bool  // there are none beside the written ones
}

// WrittenEntry is an entry of the policy or of the table's file.
type WrittenEntry struct {
	Prefix netip.Prefix
	Sense  Sense
	Pos    config.Position
}

// tree is one half of a table.
type tree = bart.Table[*entry]

// Table is one table. Make it with New.
type Table struct {
	plan    Plan
	written *tree    // nil: none
	added   *dynamic // nil: the table is const
	clock   *clock   // of the node
}

// newTable makes a table that takes over from the one of the same name before, or nil.
func newTable(p *Plan, before *Table, c *clock) (*Table, error) {
	t := &Table{plan: *p, clock: c}
	for i := range p.Written {
		w := &p.Written[i]
		if t.written == nil {
			t.written = new(tree)
		}
		if !w.Prefix.IsValid() || w.Prefix != w.Prefix.Masked() {
			return nil, fmt.Errorf("table %s: %v is not a prefix", p.Name, w.Prefix)
		}
		if other, twice := t.written.Get(w.Prefix); twice {
			if other.sense != w.Sense {
				return nil, fmt.Errorf("table %s: %v is both in it and kept out", p.Name, w.Prefix)
			}
			continue
		}
		e := &entry{prefix: w.Prefix, sense: w.Sense, written: w.Pos, place: -1, counts: new(counts)}
		if before != nil && before.written != nil {
			if old, ok := before.written.Get(w.Prefix); ok && old.sense == w.Sense {
				e.counts = old.counts
			}
		}
		t.written.Insert(w.Prefix, e)
	}
	switch {
	case p.Const:
	case before != nil && before.added != nil:
		t.added = before.added
	default:
		t.added = newDynamic()
	}
	t.plan.Written = nil // the tree has them
	return t, nil
}

// Name returns the table's name.
func (t *Table) Name() string { return t.plan.Name }

// Const reports whether the table has the written entries and no others.
func (t *Table) Const() bool { return t.plan.Const }

// Max returns how many entries there may be beside the written ones.
func (t *Table) Max() int { return t.plan.Max }

// Lifetime returns that of entries that are added without one, in ns; 0: they stay.
func (t *Table) Lifetime() int64 { return t.plan.Lifetime }

// find returns the entry that decides about an address, or nil.
func (t *Table) find(a netip.Addr) *entry {
	var decides *entry
	if t.written != nil {
		decides, _ = t.written.Lookup(a)
	}
	if t.added == nil {
		return decides
	}
	added := t.added.tree.Load()
	if added.Size() == 0 {
		return decides
	}
	if e, ok := added.Lookup(a); ok && (decides == nil || e.prefix.Bits() > decides.prefix.Bits()) {
		return e
	}
	return decides
}

// Holds reports whether the table holds an address. A nil table holds none.
func (t *Table) Holds(a *packet.Addr) bool {
	if t == nil {
		return false
	}
	e := t.find(a.Netip())
	return e != nil && e.sense == Include
}

// Count counts a match with the entry that holds an address, if one does.
func (t *Table) Count(a *packet.Addr, now int64) {
	if t == nil {
		return
	}
	if e := t.find(a.Netip()); e != nil && e.sense == Include {
		e.counts.matches.Add(1)
		e.counts.last.Store(now)
	}
}

// Find returns the entry that decides about an address; there may be none.
func (t *Table) Find(a netip.Addr) (Entry, bool) {
	e := t.find(a.Unmap())
	if e == nil {
		return Entry{}, false
	}
	return e.show(), true
}

// Get returns the entry with a prefix, the written one where both halves have it.
func (t *Table) Get(p netip.Prefix) (Entry, bool) {
	if t.written != nil {
		if e, ok := t.written.Get(p); ok {
			return e.show(), true
		}
	}
	if t.added != nil {
		if e, ok := t.added.tree.Load().Get(p); ok {
			return e.show(), true
		}
	}
	return Entry{}, false
}

// Sizes returns how many entries are written and how many were added.
func (t *Table) Sizes() (written, added int) {
	if t.written != nil {
		written = t.written.Size()
	}
	if t.added != nil {
		added = t.added.tree.Load().Size()
	}
	return written, added
}

// Refused returns how many entries found no room.
func (t *Table) Refused() uint64 {
	if t.added == nil {
		return 0
	}
	return t.added.refused.Load()
}

// Entries goes over the written entries, then over those that were added, each half in the
// order of addresses and as it was when its turn came.
func (t *Table) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		halves := []*tree{t.written}
		if t.added != nil {
			halves = append(halves, t.added.tree.Load())
		}
		for _, half := range halves {
			if half == nil {
				continue
			}
			for _, e := range half.AllSorted() {
				if !yield(e.show()) {
					return
				}
			}
		}
	}
}
