package node

import (
	"cmp"
	"slices"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/dataplane"
	"holdfast/dataplane/gate"
	"holdfast/rules"
	"holdfast/rules/config"
)

// reckoning says which connections a reload ends: on_change of their rules does.
//
//	keep       none
//	kill       those of a rule that has gone, or means something else
//	rematch    those of any rule that says so, if some rule has changed, that the new rules
//	           would not admit: perhaps a rule before theirs is what has changed
//
// A rule that is there goes by what it says now, one that has gone by what it said; where
// it says nothing, by the policy in force from now on. A connection without a rule, such as
// one that a mapping let in, ends only where a rule speaks against it.
type reckoning struct {
	next    *dataplane.Snapshot
	policy  config.OnChange            // of rules that say nothing
	says    map[uint32]config.OnChange // of rules that say something, or did when they were there
	changed map[uint32]bool            // rules that have gone or mean something else
	any     bool                       // something about rules has changed
}

func newReckoning(old, next *generation, changes []config.Change) *reckoning {
	r := &reckoning{
		next: next.snapshot, policy: next.policy.Defaults.OnChange.V,
		says: map[uint32]config.OnChange{}, changed: map[uint32]bool{},
	}
	numbers := map[string]uint32{}
	for _, g := range []*generation{old, next} { // what is said now stands over what was
		for i := range g.policy.Rules {
			one := &g.policy.Rules[i]
			number := g.snapshot.Rules.Rules()[i].Number
			numbers[one.ID.V] = number
			if one.OnChange.Written() {
				r.says[number] = one.OnChange.V
			} else {
				delete(r.says, number)
			}
		}
	}
	for _, c := range changes {
		r.any = r.any || c.What != config.Reworded && (c.Kind == "rule" || c.Kind == "table")
		if c.Kind == "rule" && (c.What == config.Changed || c.What == config.Removed) {
			r.changed[numbers[c.Name]] = true
		}
	}
	return r
}

func (r *reckoning) of(rule uint32) config.OnChange {
	if said, ok := r.says[rule]; ok {
		return said
	}
	return r.policy
}

// kills reports whether all connections of a class end.
func (r *reckoning) kills(c *conntrack.Class) bool {
	return r.changed[c.Rule] && r.of(c.Rule) == config.OnChangeKill
}

// killed returns the rules of which all connections end. The table remembers it.
func (r *reckoning) killed() map[uint32]bool {
	all := map[uint32]bool{}
	for number := range r.changed {
		if r.of(number) == config.OnChangeKill {
			all[number] = true
		}
	}
	return all
}

// concerns reports whether connections of a class may end.
func (r *reckoning) concerns(c *conntrack.Class) bool {
	return r.kills(c) || r.any && r.of(c.Rule) == config.OnChangeRematch
}

// ends reports whether a connection of such a class does.
func (r *reckoning) ends(v *conntrack.View) bool {
	if r.kills(&v.Class) {
		return true
	}
	tuple := conntrack.Judged(&v.Original, &v.Reply)
	verdict := r.next.Rules.Match(&tuple, v.Ingress, v.Egress, nil, r.next.Tables)
	if v.Rule == 0 && r.next.Rules.Default(&verdict) {
		return false
	}
	return verdict.Action != rules.Pass
}

// idle reports whether no connection at all can end.
func (r *reckoning) idle(d *daemon) bool {
	idle := true
	d.table.Classes(func(c conntrack.Class, _ int) { idle = idle && !r.concerns(&c) })
	return idle
}

// count counts the connections that would end, by rule; most first.
func (r *reckoning) count(d *daemon) []api.Ends {
	all := []api.Ends{}
	if r.idle(d) {
		return all
	}
	sum := map[string]int{}
	now := gate.Now()
	var v conntrack.View
	for i := range d.table.High() {
		if d.table.View(i, now, &v) && r.concerns(&v.Class) && r.ends(&v) {
			sum[d.ruleName(v.Rule)]++
		}
	}
	for id, n := range sum {
		all = append(all, api.Ends{Rule: id, Connections: n})
	}
	slices.SortFunc(all, func(a, b api.Ends) int {
		return cmp.Or(cmp.Compare(b.Connections, a.Connections), cmp.Compare(a.Rule, b.Rule))
	})
	return all
}

// carryOut ends them and returns how many: whole classes by a store each, and others one by
// one, in steps beside the packets. Every node ends the classes by itself, at its own reload;
// of the others the active node tells.
func (r *reckoning) carryOut(d *daemon) int {
	if r.idle(d) || !d.killing.begin() {
		return 0
	}
	defer d.killing.running.Done()
	d.killing.Lock()
	defer d.killing.Unlock()
	k := &kill{d: d, before: d.table.Latest(), manner: dataplane.Silent, why: conntrack.EndKilled}
	k.choose = func() conntrack.Choice { return conntrack.Choice{Class: r.concerns, Conn: r.ends} }
	if killed := r.killed(); len(killed) > 0 {
		k.classes = d.table.Kill(func(c *conntrack.Class) bool { return killed[c.Rule] }, k.before)
	}
	if d.lease.Held(gate.Now()) {
		k.tell = len(d.links) > 0
		k.mark()
	}
	k.reap()
	return k.count()
}
