package rules

import (
	"holdfast/rules/config"
	"holdfast/rules/limit"
)

// Limits returns a policy's limits on sources as package limit wants them: those that have a
// name first, in the order of their names, then those that one rule has for itself. So all
// nodes that run the policy agree on their numbers.
func Limits(p *config.Policy) (plan limit.Plan) {
	byName := map[string]limit.Number{}
	add := func(l *config.Limit) limit.Number {
		plan.Limits = append(plan.Limits, limit.Limit{
			Connections: l.Connections.V, Mask4: l.Mask4.V, Mask6: l.Mask6.V,
			Rate: limit.Rate{Count: l.Rate.V.Count, Per: l.Rate.V.Per.Nanoseconds()},
		})
		return limit.Number(len(plan.Limits))
	}
	for i := range p.Limits {
		byName[p.Limits[i].Name.V] = add(&p.Limits[i])
	}
	numbers := numbersOf(p.Rules)
	for i := range p.Rules {
		r := &p.Rules[i]
		n := byName[r.Limit.V]
		if r.OwnLimit != nil {
			n = add(r.OwnLimit)
		}
		if n != 0 {
			plan.Rules = append(plan.Rules, limit.Rule{
				Number: numbers[i], Limit: n,
				Overload: limit.Overload{Table: r.Overload.V, Flush: flushes[r.Flush.V]},
			})
		}
	}
	return plan
}

var flushes = [...]limit.Flush{config.FlushNone: limit.FlushNone, config.FlushRule: limit.FlushRule, config.FlushAll: limit.FlushAll}
