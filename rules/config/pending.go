package config

import (
	"fmt"
	"slices"
)

// notices lists what `check` says of a policy that is right: what this version accepts
// without acting on it, and what is risky.
func (p *Policy) notices() []Notice {
	all := slices.Concat(p.pending(), p.undeclared(), p.unasked())
	if len(p.NAT) > 0 {
		all = append(all, warnings(p.Timeouts.Timers)...)
		for i := range p.Rules {
			all = append(all, warnings(p.Rules[i].Timers)...)
		}
	}
	slices.SortStableFunc(all, func(a, b Notice) int { return a.Pos.compare(b.Pos) })
	return all
}

// undeclared lists the tables that only rules name, which a slip may have made.
func (p *Policy) undeclared() (all []Notice) {
	told := map[string]bool{}
	p.eachRule(func(r *Rule) {
		for a := range r.tables {
			n, ok := p.TableNumber(a.V.Table)
			if !ok || p.Tables[n].Name.Written() || told[a.V.Table] {
				continue
			}
			told[a.V.Table] = true
			all = append(all, Notice{Pos: a.Pos, Kind: Risky,
				Text: fmt.Sprintf("table %s of rule %s has no [tables.%s]: it is empty until a command fills it", a.V.Table, r.ID.V, a.V.Table)})
		}
	})
	return all
}

// pending lists what the policy says and this version accepts without acting on it.
// A line leaves this file when the thing is built.
func (p *Policy) pending() []Notice {
	var all []Notice
	note := func(at Position, format string, args ...any) {
		all = append(all, Notice{Pos: at, Kind: Pending, Text: fmt.Sprintf(format, args...)})
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.Gateway.Written() {
			note(r.Gateway.Pos, "gateway of rule %s: connections go where [[routes]] and the kernel's routes send them", r.ID.V)
		}
		if r.Action.V == Match && len(r.Labels) > 0 {
			note(r.Labels[0].Pos, "label of match rule %s: a connection has the labels of the rule that decided", r.ID.V)
		}
	}
	return all
}
