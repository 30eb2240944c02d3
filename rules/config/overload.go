package config

import (
	"fmt"
	"slices"
)

// Flush says which connections of a source end when it goes beyond its limit. The zero value
// is the default.
type Flush uint8

// The extents of a flush.
const (
	FlushNone Flush = iota // the one that was too many
	FlushRule              // those of the rule too
	FlushAll               // all
)

// String returns the word of the file.
func (f Flush) String() string { return [...]string{"none", "rule", "all"}[f] }

// MarshalText is String.
func (f Flush) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// readOverload reads what becomes of a source that goes beyond a rule's limit.
func (r *Rule) readOverload(t *table) {
	one(t, "overload", named("table", nameMax), &r.Overload)
	one(t, "flush", choice("an extent of a flush", FlushRule, FlushAll), &r.Flush)
}

// referOverload: what a source is taken in for is a limit, by a table that takes entries.
func (p *Policy) referOverload(d *decoder, r *Rule) {
	if r.Flush.Written() && !r.Overload.Written() {
		d.refuse(r.Flush.Pos, fmt.Sprintf("rule %s has flush and no overload", r.ID.V), `add overload = "brutes", the name of a table`)
	}
	if !r.Overload.Written() {
		return
	}
	if r.limitAt().IsZero() {
		d.refuse(r.Overload.Pos, fmt.Sprintf("rule %s has overload and no limit that a source could go beyond", r.ID.V), `add limit = { rate = "5/1m" }`)
	}
	tcp := func(proto Value[Protocol]) bool { return proto.V == TCP }
	if len(r.Protos) > 0 && !slices.ContainsFunc(r.Protos, tcp) {
		d.refuse(r.Overload.Pos, fmt.Sprintf("overload of rule %s: no protocol of it proves where a packet is from", r.ID.V), `only TCP's handshake does: remove overload, or write proto = "tcp"`)
	}
	if r.Mode.V != Strict {
		d.refuse(r.Overload.Pos, fmt.Sprintf("overload of rule %s: its mode is %v, so whoever forges a source completes a handshake too", r.ID.V, r.Mode.V), `remove overload, or mode`)
	}
	n, ok := p.TableNumber(r.Overload.V)
	switch {
	case !ok:
		known(d, "table", r.Overload, p.tableNames())
	case p.Tables[n].Const.V:
		d.refuse(r.Overload.Pos, fmt.Sprintf("table %s takes no entries: it is const, at %s", r.Overload.V, p.Tables[n].Const.Pos), "name another table, or remove its const")
	}
	if l := p.limitOf(r); l != nil && (l.Mask4.V == 0 || l.Mask6.V == 0) {
		d.refuse(r.Overload.Pos, fmt.Sprintf("overload of rule %s: its limit, at %s, has a mask of 0, so all addresses would go into the table at once", r.ID.V, l.Pos), "write a longer mask4 and mask6")
	}
}

// limitOf returns a rule's limit, or nil.
func (p *Policy) limitOf(r *Rule) *Limit {
	if r.OwnLimit != nil {
		return r.OwnLimit
	}
	if r.Limit.Written() {
		return p.limit(r.Limit.V)
	}
	return nil
}

// unasked lists the tables that take sources in and that no rule's from asks: whoever is in
// them goes on as before.
func (p *Policy) unasked() (all []Notice) {
	asked := map[string]bool{}
	p.eachRule(func(r *Rule) {
		for _, a := range r.From {
			asked[a.V.Table] = true
		}
	})
	p.eachRule(func(r *Rule) {
		if r.Overload.Written() && !asked[r.Overload.V] {
			all = append(all, Notice{Pos: r.Overload.Pos, Kind: Risky,
				Text: fmt.Sprintf("no rule asks table %s, so whom rule %s puts into it is not blocked: add a rule with action = \"block\" and from = \"<%s>\" before it", r.Overload.V, r.ID.V, r.Overload.V)})
		}
	})
	return all
}
