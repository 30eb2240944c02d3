package cluster

import (
	"cmp"
	"math"
	"slices"

	"holdfast/dataplane/gate"
)

// votes is what an election adds where votes decide (AloneWitness). A node forwards only
// while it has the votes of more than half of the nodes, its own among them, or of exactly half of
// them and the witness's. Two sets of that kind have a vote in common, and nobody gives a vote to
// two at a time: so no two nodes forward at once, whatever is cut. Losing the witness alone
// changes nothing, and a node that reaches neither witness nor enough peers stops by itself.
//
// The lease runs from the reading that was sent with the request that was granted, not
// from the one at hand: Ballot says why that is enough.
type votes struct {
	ballot *Ballot // this node's own

	asking   bool  // stands by, and asks for votes to be promoted by
	claims   bool  // the tick at hand has found that it should
	since    int64 // requests before this reading do not count: this role was not asked for then
	granted  []int64
	witness  int64 // as granted, which has the latest reading that each member has voted for
	cause    string
	evidence string
}

// never is the reading of a vote that was not given.
const never = int64(math.MinInt64 / 2)

func newVotes(members int, timing Timing) *votes {
	v := &votes{ballot: NewBallot(timing.Heartbeat), since: math.MaxInt64, witness: never}
	for range members {
		v.granted = append(v.granted, never)
	}
	return v
}

// Asks reports whether this node asks for votes, or for their renewal.
func (e *Election) Asks() bool {
	return e.votes != nil && (e.votes.asking || e.self.Role == gate.Active)
}

// Asked takes in a request for this node's vote, or that it is given back (hold 0), which came
// with the beat that Step has taken in last, and reports whether it is granted. hold is in ns.
func (e *Election) Asked(from uint16, hold, now int64) bool {
	v := e.votes
	i := slices.IndexFunc(e.members, func(m member) bool { return m.beat.Node == from })
	if v == nil || i < 0 {
		return false
	}
	if hold == 0 {
		v.ballot.Release(from)
		return false
	}
	if b := e.members[i].beat; v.asking && (b.Role == gate.Active || ahead(b, e.self)) {
		e.stopAsking()
	}
	return v.ballot.Ask(from, hold, now)
}

// Voted takes in that a node has granted the request that bore a reading of this node's clock.
func (e *Election) Voted(from uint16, reading, now int64) {
	if e.votes == nil {
		return
	}
	for i, m := range e.members {
		if m.beat.Node == from {
			e.count(&e.votes.granted[i], reading, now)
		}
	}
}

// WitnessVoted is Voted of the witness.
func (e *Election) WitnessVoted(reading, now int64) {
	if e.votes != nil {
		e.count(&e.votes.witness, reading, now)
	}
}

func (e *Election) count(vote *int64, reading, now int64) {
	v := e.votes
	if reading < v.since || reading > now {
		return
	}
	*vote = max(*vote, reading)
	if v.asking {
		e.elected(now)
	}
}

// Supported returns the reading of this node's clock from which on its lease may run: that
// of the oldest request among those whose votes it stands on. Without votes that is now.
func (e *Election) Supported(now int64) int64 {
	v := e.votes
	if v == nil {
		return now
	}
	if to, held := v.ballot.Holder(); !held || to != e.self.Node {
		return never
	}
	all := append([]int64{now}, v.granted...)
	slices.SortFunc(all[1:], func(a, b int64) int { return cmp.Compare(b, a) })
	nodes := len(all)
	support := all[nodes/2] // more than half
	if nodes%2 == 0 {
		support = max(support, min(all[nodes/2-1], v.witness))
	}
	return support
}

// claim promotes this node, or asks for the votes that it takes.
func (e *Election) claim(now int64, cause, evidence string) {
	v := e.votes
	if v == nil {
		e.promote(now, cause, evidence)
		return
	}
	v.claims, v.cause, v.evidence = true, cause, evidence
	if v.asking {
		e.elected(now)
		return
	}
	if v.ballot.Ask(e.self.Node, e.timing.DeadAfter, now) {
		v.ballot.Ask(e.self.Node, math.MaxInt64, now) // until it gives it back itself
		v.asking, v.since = true, now
		e.elected(now) // a node that is the only one
	}
}

// elected promotes a node that asks and has the votes.
func (e *Election) elected(now int64) {
	if e.Supported(now)+e.timing.Lease <= now {
		return
	}
	e.votes.asking = false
	e.promote(now, e.votes.cause, e.votes.evidence+"; by votes")
}

// stopAsking gives this node's own vote back.
func (e *Election) stopAsking() {
	v := e.votes
	if v == nil {
		return
	}
	v.asking, v.since = false, math.MaxInt64
	v.witness = never
	for i := range v.granted {
		v.granted[i] = never
	}
	v.ballot.Release(e.self.Node)
}

// unsupported ends the role of a node that has lost the votes it stands on. The lease has
// ended by itself then.
func (e *Election) unsupported(now int64) bool {
	if e.votes == nil || e.Supported(now)+e.timing.Lease > now {
		return false
	}
	e.demote(now, "alone", "neither enough peers nor the witness reached, and alone = \"witness\"")
	return true
}
