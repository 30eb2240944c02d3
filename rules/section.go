package rules

import "holdfast/rules/config"

// place is where a section stands: what that asks of the packets of its rules. They ask it
// themselves, each, so that the classifier need not know of sections.
type place struct {
	wants rule
	outer uint32 // into Set.places, and one more; 0: the section stands in no other
}

// reaches reports whether a packet comes to a place.
func (s *Set) reaches(at uint32, q *query) bool {
	for ; at != 0; at = s.places[at-1].outer {
		if s.differs(&s.places[at-1].wants, q) != FieldNone {
			return false
		}
	}
	return true
}

// placeKey tells places apart: rules that refuse judge conditions on a packet that is gone
// otherwise than those that admit, see Facts.
type placeKey struct {
	asks    *config.Rule
	refuses bool
}

// compiler is what compiling the rules of a policy shares.
type compiler struct {
	*Set
	policy *config.Policy
	self   []span
	tags   map[string]tagNumber
	places map[placeKey]uint32
}

// placeOf returns the place of a rule, 0 where it stands in no section.
func (c *compiler) placeOf(r *config.Rule) (at uint32) {
	refuses := r.Action.V == config.Block || r.Action.V == config.Reject
	for _, w := range r.Within {
		key := placeKey{w.Asks, refuses}
		if c.places[key] == 0 {
			asks := *w.Asks
			asks.Action.V = config.Pass
			if refuses {
				asks.Action.V = config.Block
			}
			wants := c.wants(&asks, 0)
			c.Set.places = append(c.Set.places, place{wants, at})
			c.places[key] = uint32(len(c.Set.places))
		}
		at = c.places[key]
	}
	return at
}

// wants compiles what a rule asks.
func (c *compiler) wants(r *config.Rule, within uint32) rule {
	wants := rule{
		in: portsOf(c.policy, r.In), out: portsOf(c.policy, r.Out), protos: protosOf(r.Protos),
		fromPorts: c.addPortRanges(r.FromPorts), toPorts: c.addDestinations(r),
		conditions: c.addConditions(r, c.tags, within),
	}
	var a asks
	wants.from, a[source] = c.addAddresses(c.policy, r.From, c.self)
	wants.to, a[destination] = c.addAddresses(c.policy, r.To, c.self)
	if !a[source].empty() || !a[destination].empty() {
		c.asks = append(c.asks, a)
		wants.asks = uint32(len(c.asks))
	}
	return wants
}
