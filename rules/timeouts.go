package rules

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

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

// Former is the sets of timeouts of the Set that a new one will follow. Connections carry
// numbers of sets, so what exists before and after keeps its number.
type Former struct {
	Sets []*conntrack.Timeouts          // by number, as Set.Timeouts has them
	Live [conntrack.TimeoutSetsMax]bool // which have connections
}

// seatTimeouts gives every set of timeouts that the policy has a number: the policy's own 0,
// those that the former Set has too the number they have there, and others the next that is
// free. What the former Set alone has stays where it is as long as there is room, and goes
// last where connections have it. Without a former Set the numbers follow the order of the
// policy, so all nodes that have started with it agree on them.
func (s *Set) seatTimeouts(p *config.Policy, base *conntrack.Timeouts, former *Former) {
	wanted := []*conntrack.Timeouts{base}
	in := func(list []*conntrack.Timeouts, t *conntrack.Timeouts) bool {
		return slices.ContainsFunc(list, func(o *conntrack.Timeouts) bool { return o != nil && *o == *t })
	}
	for i := range p.Rules {
		if len(p.Rules[i].Timers) == 0 {
			continue
		}
		t := *base
		// A fault is told where the rule is added, and so is a set too many.
		if faults := override(&t, p.Rules[i].Timers); faults == nil && !in(wanted, &t) && len(wanted) < conntrack.TimeoutSetsMax {
			wanted = append(wanted, &t)
		}
	}
	var seats [conntrack.TimeoutSetsMax]*conntrack.Timeouts
	seats[0] = base
	var spare, idle, last []int // seats that may be taken: of nobody, of a set without connections, of one with
	for i := 1; i < len(seats); i++ {
		switch {
		case i >= len(former.Sets):
			spare = append(spare, i)
		case in(wanted, former.Sets[i]) && !in(seats[:], former.Sets[i]):
			seats[i] = former.Sets[i]
		case former.Live[i]:
			last = append(last, i)
		default:
			idle = append(idle, i)
		}
	}
	spare = slices.Concat(spare, idle, last)
	for _, t := range wanted {
		if !in(seats[:], t) {
			seats[spare[0]], spare = t, spare[1:] // there are as many seats as wanted sets, at least
		}
	}
	for i := range former.Sets {
		if seats[i] == nil {
			seats[i] = former.Sets[i]
		}
	}
	end := len(seats)
	for seats[end-1] == nil {
		end--
	}
	for i := range seats[:end] {
		if seats[i] == nil {
			seats[i] = base
		}
	}
	s.timeouts = slices.Clone(seats[:end])
}

// TimeoutsHash returns a number by which nodes see whether their numbers of timeouts mean the
// same: these follow the Sets before, which need not be the same on a node that was restarted.
func (s *Set) TimeoutsHash() uint64 {
	h := xxhash.New()
	for _, t := range s.timeouts {
		fmt.Fprintf(h, "%v\n", *t)
	}
	return h.Sum64()
}

// setOf returns the number of the set of timeouts that a rule brings.
func (s *Set) setOf(r *config.Rule) (uint8, config.Errors) {
	t := *s.timeouts[0]
	if faults := override(&t, r.Timers); faults != nil {
		return 0, faults
	}
	i := slices.IndexFunc(s.timeouts, func(o *conntrack.Timeouts) bool { return *o == t })
	if i < 0 {
		return 0, config.Errors{{
			Pos:  r.Timers[0].Idle.Pos,
			What: fmt.Sprintf("rule %q has timeouts that no rule before it has, and %d different ones are in use", r.ID.V, conntrack.TimeoutSetsMax-1),
			Mend: "give it those of another rule, or set them for all in [timeouts]",
		}}
	}
	return uint8(i), nil
}
