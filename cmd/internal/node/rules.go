package node

import (
	"cmp"
	"slices"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/rules"
)

// Rules implements api.Daemon: the rules in force, and behind the default those that are
// gone and have connections.
func (d *daemon) Rules() (api.Rules, error) {
	hits := d.ruleHits()
	live := map[uint32]int{}
	d.table.Classes(func(c conntrack.Class, n int) { live[c.Rule] += n })
	g := d.generation()
	list := api.Rules{File: g.policy.File, Hash: hash(g.hash), Generation: g.number, Rules: []api.Rule{}}
	add := func(r *rules.Rule, gone bool) {
		list.Rules = append(list.Rules, api.Rule{
			ID: r.ID, Action: r.Action.String(), Position: r.Pos.String(), Labels: append([]string{}, r.Labels...),
			Packets: hits[r.Number], Connections: live[r.Number], Gone: gone,
		})
	}
	listed := g.snapshot.Rules.Rules()
	for i := range listed {
		add(&listed[i], false)
	}
	var gone []rules.Rule
	for number, r := range g.gone {
		if live[number] > 0 {
			gone = append(gone, r)
		}
	}
	slices.SortFunc(gone, func(a, b rules.Rule) int { return cmp.Compare(a.ID, b.ID) })
	for i := range gone {
		add(&gone[i], true)
	}
	return list, nil
}

// policyStatus is the policy in force as status shows it.
func (d *daemon) policyStatus() api.Policy {
	g := d.generation()
	return api.Policy{
		File: g.policy.File, Hash: hash(g.hash), Rules: d.set().Len(), Generation: g.number, Since: g.since,
		Confirm: d.reloading.confirmation(),
	}
}
