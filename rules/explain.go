package rules

import (
	"holdfast/dataplane/packet"
	"holdfast/rules/table"
)

// Step is one rule that was asked, and where the packet first differs from it:
// FieldNone where the rule matches.
type Step struct {
	Rule    uint32
	Differs Field
	Silent  bool  // it does not speak of the node itself, which it would have to name there
	Place   int   // of FieldSection: which of the sections that it stands in, from 1, the outermost first
	Asked   Field // of FieldSection: where the packet differs from what that place asks
	Tag     uint8 // what match rules had set so far, see Set.Tag
}

// Explain returns Match's verdict and every rule that was asked on the way, the one that
// decided last.
func (s *Set) Explain(t *packet.Tuple, in, out packet.PortID, facts *Facts, tables *table.Tables) (Verdict, []Step) {
	q := queryOf(t, in, out, facts)
	q.answers = &answers{tables: tables}
	var v Verdict
	s.match(&q, &v)
	q.tag = 0
	var steps []Step
	state := s.unsaid()
	for i := range s.rules[:min(int(v.Rule)+1, len(s.rules))] {
		differs := s.differs(&s.rules[i], &q)
		step := Step{Rule: uint32(i), Differs: s.rules[i].unnamed(differs), Tag: q.tag}
		step.Silent = step.Differs != differs
		if differs == FieldSection {
			step.Place, step.Asked = s.unreached(s.conditions[s.rules[i].conditions-1].within, &q)
		}
		steps = append(steps, step)
		if differs == FieldNone {
			state.inherit(&s.says[i])
			q.tag = state.Tag
		}
	}
	return v, steps
}

// unreached returns the innermost of the places around a rule that a packet does not come to,
// counted from the outermost, from 1, and where it differs from what that asks.
func (s *Set) unreached(at uint32, q *query) (place int, asked Field) {
	for ; at != 0; at = s.places[at-1].outer {
		if place++; asked == FieldNone {
			if asked = s.differs(&s.places[at-1].wants, q); asked != FieldNone {
				place = 0
			}
		}
	}
	return place + 1, asked
}
