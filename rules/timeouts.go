package rules

import (
	"fmt"
	"slices"

	"holdfast/conntrack"
	"holdfast/rules/config"
)

// profiles are the table's profiles by the words of the configuration.
var profiles = [...]conntrack.Profile{
	config.ProfileNormal:       conntrack.ProfileNormal,
	config.ProfileAggressive:   conntrack.ProfileAggressive,
	config.ProfileConservative: conntrack.ProfileConservative,
	config.ProfileHighLatency:  conntrack.ProfileHighLatency,
}

// Timeouts returns the policy's timeouts: its profile, with what it sets put over it. That
// holds for every connection whose rule has none of its own.
func Timeouts(p *config.Policy) (*conntrack.Timeouts, error) {
	t := profiles[p.Timeouts.Profile.V].Timeouts()
	if faults := override(t, p.Timeouts.Timers); faults != nil {
		return nil, faults
	}
	return t, nil
}

// Adaptive returns how the policy shortens timeouts while the table fills.
func Adaptive(p *config.Policy) conntrack.Adaptive {
	a := p.Timeouts.Adaptive
	return conntrack.Adaptive{Start: uint32(a.Start.V) * 10, End: uint32(a.End.V) * 10}
}

// override puts timers over a table. Those for all connections come first in the list, so
// what is said of translated ones wins.
func override(t *conntrack.Timeouts, timers []config.Timer) config.Errors {
	for _, set := range timers {
		timer, ok := conntrack.ParseTimer(set.Name)
		if !ok {
			return config.Errors{{Pos: set.Idle.Pos, What: "no timer " + set.Name, Mend: "remove it"}}
		}
		t.Translated[timer] = set.Idle.V
		if set.Scope == config.AllConnections {
			t.Plain[timer] = set.Idle.V
		}
	}
	return nil
}

// setOf returns the number of the set of timeouts that a rule brings, which is that of an
// equal one where there is one. Numbers follow the order of the policy, so all nodes that
// run it agree on them.
func (s *Set) setOf(r *config.Rule) (uint8, config.Errors) {
	t := *s.timeouts[0]
	if faults := override(&t, r.Timers); faults != nil {
		return 0, faults
	}
	if i := slices.IndexFunc(s.timeouts, func(o *conntrack.Timeouts) bool { return *o == t }); i >= 0 {
		return uint8(i), nil
	}
	if len(s.timeouts) == conntrack.TimeoutSetsMax {
		return 0, config.Errors{{
			Pos:  r.Timers[0].Idle.Pos,
			What: fmt.Sprintf("rule %q has timeouts that no rule before it has, and %d different ones are in use", r.ID.V, conntrack.TimeoutSetsMax-1),
			Mend: "give it those of another rule, or set them for all in [timeouts]",
		}}
	}
	s.timeouts = append(s.timeouts, &t)
	return uint8(len(s.timeouts) - 1), nil
}
