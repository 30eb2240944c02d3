package rules

import (
	"holdfast/dataplane/packet"
	"holdfast/rules/config"
	"holdfast/rules/table"
)

// Tables returns a policy's tables as package table wants them. Their places are the numbers
// by which the Set of the same policy asks them.
func Tables(p *config.Policy) []table.Plan {
	plans := make([]table.Plan, len(p.Tables))
	for i := range p.Tables {
		t := &p.Tables[i]
		plan := table.Plan{Name: t.Name.V, Lifetime: t.Timeout.V.Nanoseconds(), Max: t.Max.V, Const: t.Const.V}
		for _, a := range t.Addresses {
			for _, prefix := range config.Prefixes(a.V.First, a.V.Last) {
				plan.Written = append(plan.Written, table.WrittenEntry{Prefix: prefix, Sense: senses[a.V.Sense], Pos: a.Pos})
			}
		}
		plans[i] = plan
	}
	return plans
}

var senses = [...]table.Sense{config.Include: table.Include, config.Exclude: table.Exclude}

// end is one of a packet's addresses.
type end uint8

const (
	source end = iota
	destination
	ends
)

// asks is what a rule's from and to leave to tables, by end.
type asks [ends]asked

// asked is what a list of addresses leaves to tables. What does not change stays spans.
type asked struct {
	in      []uint8 // tables whose addresses the list includes; none: its spans have been asked already
	with    []span  // of a list with such tables: what it includes besides
	without []span  // and what it excludes
	out     []uint8 // tables whose addresses the list excludes
}

func (a *asked) empty() bool { return len(a.in) == 0 && len(a.out) == 0 }

// holds reports whether a list holds a packet's address.
func (a *asked) holds(q *query, e end) bool {
	for _, t := range a.out {
		if q.answers.hold(t, e, q) {
			return false
		}
	}
	if len(a.in) == 0 {
		return true
	}
	n := q.src
	if e == destination {
		n = q.dst
	}
	if holdsAddress(a.with, n) {
		return true
	}
	if holdsAddress(a.without, n) {
		return false
	}
	for _, t := range a.in {
		if q.answers.hold(t, e, q) {
			return true
		}
	}
	return false
}

// differs returns the end in which a packet is not what the rule wants.
func (a *asks) differs(q *query) Field {
	if !a[destination].holds(q, destination) {
		return FieldTo
	}
	if !a[source].holds(q, source) {
		return FieldFrom
	}
	return FieldNone
}

// answers is what the tables have said of a packet. Each is asked once at most for an end, so
// all rules see the same table, whatever is added to it meanwhile.
type answers struct {
	tables      *table.Tables
	asked, held [ends][table.Max / 64]uint64
}

func (a *answers) hold(number uint8, e end, q *query) bool {
	word, bit := number/64, uint64(1)<<(number%64)
	if a.asked[e][word]&bit == 0 {
		a.asked[e][word] |= bit
		address := &q.tuple.Src
		if e == destination {
			address = &q.tuple.Dst
		}
		if a.tables.At(int(number)).Holds(address) {
			a.held[e][word] |= bit
		}
	}
	return a.held[e][word]&bit != 0
}

// Count counts a packet on which a rule has decided with the entries of tables that the rule
// includes and that hold it. It does not allocate.
func (s *Set) Count(rule uint32, t *packet.Tuple, tables *table.Tables, now int64) {
	if int(rule) >= len(s.rules) || s.rules[rule].asks == 0 {
		return
	}
	a := &s.asks[s.rules[rule].asks-1]
	for _, number := range a[source].in {
		tables.At(int(number)).Count(&t.Src, now)
	}
	for _, number := range a[destination].in {
		tables.At(int(number)).Count(&t.Dst, now)
	}
}
