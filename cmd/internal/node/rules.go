package node

import (
	"cmp"
	"fmt"
	"slices"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/rules"
)

// Rules implements api.Daemon: the rules in force, and behind the default those that are
// gone and have connections.
func (d *daemon) Rules() (api.Rules, error) {
	hits, logged := d.ruleHits(), d.packetLog.counts().Rules
	live := map[uint32]int{}
	d.table.Classes(func(c conntrack.Class, n int) { live[c.Rule] += n })
	g := d.generation()
	list := api.Rules{File: g.policy.File, Hash: hash(g.hash), Generation: g.version.Number, Rules: []api.Rule{}}
	add := func(r *rules.Rule, gone bool) {
		list.Rules = append(list.Rules, api.Rule{
			ID: r.ID, Action: r.Action.String(), Position: r.Pos.String(), Labels: append([]string{}, r.Labels...),
			Packets: hits[r.Number], Connections: live[r.Number], Gone: gone,
			Logged: logged[r.Number].Logged, Suppressed: logged[r.Number].Suppressed,
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
		File: g.policy.File, Hash: hash(g.hash), Rules: d.set().Len(), Generation: g.version.Number, Since: g.since,
		Confirm: d.reloading.confirmation(),
	}
}

// otherPolicy says why a peer has another policy in force than this node, and what to do.
func otherPolicy(own *api.Policy, p *api.Peer) string {
	what := fmt.Sprintf("peer %s runs another policy (generation %d, %s): ", p.Name, p.Generation, p.Policy)
	switch {
	case p.Trial != 0 || own.Confirm != nil:
		return what + "one of the two has one on trial, which is confirmed or goes back"
	case p.Generation < own.Generation:
		return what + "it takes the newer one from here; if it does not, `holdfast status` there says why"
	case p.Generation > own.Generation:
		return what + "this node takes it, if nothing else is said here"
	}
	return what + "the same generation means two things; `holdfast reload` on the node that has the right one settles it"
}

// policyTroubles says what is wrong with the policy of this node.
func (d *daemon) policyTroubles() (all []string) {
	if c := d.reloading.cannot.Load(); c != nil && c.version.Number > d.generation().version.Number {
		all = append(all, fmt.Sprintf("generation %d of %s cannot be put in force here: %s", c.version.Number, c.from, c.why))
	}
	if !d.reloading.TryLock() {
		return all
	}
	defer d.reloading.Unlock()
	if d.reloading.stale != "" {
		all = append(all, d.reloading.stale)
	}
	return all
}
