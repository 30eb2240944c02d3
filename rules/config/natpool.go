package config

import (
	"fmt"
	"slices"
)

// poolEntriesMax is how many written entries a table may have that is a pool: a first packet
// walks them to its address.
const poolEntriesMax = 1024

// fillPools puts the written entries of the tables that target names in their place, so that
// all behind it sees addresses alone, and a changed table is a changed translation. It reports
// whether the targets are whole: where it says no, that has been told, or what is wrong with
// the table has.
func (n *NAT) fillPools(d *decoder, p *Policy) (whole bool) {
	if !slices.ContainsFunc(n.Targets, func(t Value[Target]) bool { return t.V.Table != "" }) {
		return true
	}
	named := n.Targets
	n.Targets, whole = make([]Value[Target], 0, len(named)), true
	for _, t := range named {
		if t.V.Table == "" {
			n.Targets = append(n.Targets, t)
			continue
		}
		entries, ok := p.poolOf(d, t)
		n.Targets = append(n.Targets, entries...)
		whole = whole && ok
	}
	return whole && n.checkOnce(d)
}

// poolOf returns the addresses of the table that a target names, each with the target's weight
// and place. A table is a set: an address that several entries hold counts once, and the order
// of entries does not count.
func (p *Policy) poolOf(d *decoder, t Value[Target]) (pool []Value[Target], ok bool) {
	number, ok := p.TableNumber(t.V.Table)
	if !ok {
		if !d.damaged {
			d.refuse(t.Pos, fmt.Sprintf("unknown table %q", t.V.Table), suggest(t.V.Table, p.tableNames(), "tables"))
		}
		return nil, false
	}
	set := &p.Tables[number]
	if set.faulty {
		return nil, false
	}
	if bad := set.poolFault(); bad != nil {
		d.refuse(t.Pos, bad.what, bad.mend)
		return nil, false
	}
	spans := joined(set.Addresses)
	if d.budget -= len(spans); d.budget <= 0 {
		d.refuse(t.Pos, fmt.Sprintf("macros and pools expand to more than %d values", macroElementsMax), "use prefixes or ranges for the many")
		return nil, false
	}
	for _, a := range spans {
		one := Value[Target]{V: Target{First: a.First, Last: a.Last, Weight: t.V.Weight, Table: t.V.Table}, Pos: t.Pos}
		if wider(a.First, a.Last) {
			bad := tooWide(one.V.String())
			d.refuse(t.Pos, bad.what, bad.mend)
			return nil, false
		}
		pool = append(pool, one)
	}
	return pool, true
}

// poolFault says why a table cannot be a pool.
func (t *Table) poolFault() *fault {
	switch name := t.Name.V; {
	case len(t.Addresses) == 0:
		return &fault{what: fmt.Sprintf("table %s has no written entries, and a pool is made of these alone", name),
			mend: fmt.Sprintf("give [tables.%s] addresses or a file: what is added while the node runs is in no pool", name)}
	case len(t.Addresses) > poolEntriesMax:
		return &fault{what: fmt.Sprintf("table %s has %d entries, and a pool at most %d", name, len(t.Addresses), poolEntriesMax), mend: "write prefixes or ranges for the many"}
	}
	for _, a := range t.Addresses {
		if a.V.Sense == Exclude {
			return &fault{what: fmt.Sprintf("table %s has %s, at %s, and a pool has no exceptions", t.Name.V, a.V, a.Pos),
				mend: "name a table without it, with the addresses around it as ranges"}
		}
		if bad := unroutable(a.V.First, a.V.Last, fmt.Sprintf("%s of <%s>, at %s,", a.V, t.Name.V, a.Pos)); bad != nil {
			return bad
		}
	}
	return nil
}

// joined returns the addresses that entries hold, each once: what overlaps is one range, and
// what adjoins too, as far as that is no wider than a target may be.
func joined(entries []Value[Address]) []Address {
	sorted := make([]Address, len(entries))
	for i, e := range entries {
		sorted[i] = e.V
	}
	slices.SortFunc(sorted, func(a, b Address) int { return a.First.Compare(b.First) })
	all := sorted[:1]
	for _, a := range sorted[1:] {
		last := &all[len(all)-1]
		overlaps := !last.Last.Less(a.First) // no IPv4 address is behind one of IPv6
		adjoins := last.Last.Next() == a.First && !wider(last.First, a.Last)
		switch {
		case !overlaps && !adjoins:
			all = append(all, a)
		case last.Last.Less(a.Last):
			last.Last = a.Last
		}
	}
	return all
}

// checkOnce refuses a table whose addresses stand in the same target once more: nobody could
// say how often it is chosen.
func (n *NAT) checkOnce(d *decoder) bool {
	sorted := slices.Clone(n.Targets)
	slices.SortStableFunc(sorted, func(a, b Value[Target]) int { return a.V.First.Compare(b.V.First) })
	for i, furthest := 1, sorted[0]; i < len(sorted); i++ {
		t := sorted[i]
		if !furthest.V.Last.Less(t.V.First) && (t.V.Table != "" || furthest.V.Table != "") {
			if t.Pos.compare(furthest.Pos) < 0 {
				t, furthest = furthest, t
			}
			d.refuse(t.Pos, fmt.Sprintf("%s and %s, at %s, are in one pool", t.V, furthest.V, furthest.Pos), "name each address once")
			return false
		}
		if furthest.V.Last.Less(t.V.Last) {
			furthest = t
		}
	}
	return true
}
