package config

import (
	"fmt"
	"slices"
)

// notices lists what `check` says of a policy that is right: what this version accepts
// without acting on it, and what is risky.
func (p *Policy) notices() []Notice {
	all := p.pending()
	if len(p.NAT) > 0 {
		all = append(all, warnings(p.Timeouts.Timers)...)
		for i := range p.Rules {
			all = append(all, warnings(p.Rules[i].Timers)...)
		}
	}
	slices.SortStableFunc(all, func(a, b Notice) int { return a.Pos.compare(b.Pos) })
	return all
}

// pending lists what the policy says and this version accepts without acting on it.
// A line leaves this file when the thing is built.
func (p *Policy) pending() []Notice {
	var all []Notice
	note := func(at Position, format string, args ...any) {
		all = append(all, Notice{Pos: at, Kind: Pending, Text: fmt.Sprintf(format, args...)})
	}
	for _, g := range p.Gateways {
		note(g.Name.Pos, "the health of gateway %s: its default route stands whether it answers or not", g.Name.V)
	}
	for _, t := range p.Tables {
		note(t.Name.Pos, "table %s: it is always empty", t.Name.V)
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		for _, a := range slices.Concat(r.From, r.To) {
			if a.V.Kind == AddressTable {
				note(a.Pos, "table %s in rule %s: it is always empty", a.V.Table, r.ID.V)
			}
		}
		if r.Gateway.Written() {
			note(r.Gateway.Pos, "gateway of rule %s: connections go where [[routes]] and the kernel's routes send them", r.ID.V)
		}
		if r.Sync.V == SyncDefer {
			note(r.Sync.Pos, `sync = "defer" of rule %s: async holds`, r.ID.V)
		}
	}
	return all
}
