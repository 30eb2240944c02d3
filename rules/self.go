package rules

import (
	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

// Rules and the node itself. What opens a way through the node does not open the node, and
// what closes one does not cut the node off. So a rule speaks of the node where it names it
// by "self", an address, a prefix or a range, and not only by "any" or by what it takes out:
//
//	to the node     pass                 if `to` names it
//	                block and reject     always: what is shut out is shut out of the node too
//	by the node     pass, block, reject  if `from` names it
//	                match                always
//
// The node is no logical port (packet.Self), so a rule that is to say nothing of it names
// all of those in place of none.
const everyPort = ^portSet(0)

// name makes a rule silent about the node where neither its blueprint nor the place of its
// section names it.
func (r *rule) name(blueprint *config.Rule) {
	from, to := names(blueprint.From), names(blueprint.To)
	for _, w := range blueprint.Within {
		from, to = from || names(w.Asks.From), to || names(w.Asks.To)
	}
	if r.in == 0 && blueprint.Action.V != config.Match && !from {
		r.in = everyPort
	}
	if r.out == 0 && blueprint.Action.V == config.Pass && !to {
		r.out = everyPort
	}
}

// names reports whether a list says of some address that it is meant.
func names(list []config.Value[config.Address]) bool {
	for _, a := range list {
		if a.V.Kind != config.AddressAny && a.V.Sense != config.Exclude {
			return true
		}
	}
	return false
}

// unnamed returns what the configuration lacks where a rule differs from a packet: what is
// silent about the node would speak of it if it named it.
func (r *rule) unnamed(f Field) Field {
	switch {
	case f == FieldIn && r.in == everyPort:
		return FieldFrom
	case f == FieldOut && r.out == everyPort:
		return FieldTo
	}
	return f
}

// unspoken is the verdict on a packet of which no rule speaks. What the node itself begins
// goes out; to the node itself only an echo request is let in (L8); everything else gets
// the policy's default. It is logged as the policy says for that, else as match rules have said.
func (s *Set) unspoken(q *query, log config.Log) Verdict {
	v := Verdict{Action: s.otherwise, Rule: uint32(len(s.rules))}
	v.Log = log
	if s.logSpoken {
		v.Log = s.log
	}
	if q.in == packet.Self || q.out == packet.Self && q.tuple.IsEchoRequest() {
		v.Action = Pass
	}
	return v
}

// Answer returns how the sender of a packet that a verdict rejects is told.
func (s *Set) Answer(v *Verdict) config.Answer {
	if s.Default(v) {
		return s.answer
	}
	return s.says[v.Rule].answer
}

// Default reports whether a verdict is that of no rule.
func (s *Set) Default(v *Verdict) bool { return int(v.Rule) >= len(s.rules) }
