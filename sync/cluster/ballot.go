package cluster

import (
	"math"

	"holdfast/internal/mutant"
)

// Ballot is one vote on who may forward, and whom it is given to: every node has one, and
// so has the witness. A vote binds its giver for as long as was asked for, from the arrival of
// the request on; the asker counts from before it sent it. So as long as anybody may forward by
// this vote, nobody else gets it, whatever becomes of the way between them.
//
// Who was just started does not know what it has promised before, so it promises nothing
// for as long as a promise may last. Not safe for concurrent use.
type Ballot struct {
	step int64 // what one look at the clock counts at most, ns

	started, looked int64 // readings of the clock; 0: none yet
	passed          int64 // time that has passed since the first look, as far as it counts, ns
	given           bool
	to              uint16
	until           int64 // of passed
}

// NewBallot returns a vote that nobody has. It is to be looked at (Look) at least once in
// step, ns: of a longer time no more counts, so neither a clock that leaps ahead nor a machine
// that stands still ends a promise early.
func NewBallot(step int64) *Ballot { return &Ballot{step: step} }

// Look lets time pass.
func (b *Ballot) Look(now int64) {
	if b.started == 0 {
		b.started, b.looked = now, now
	}
	if gap := now - b.looked; gap > 0 {
		b.passed += min(gap, b.step)
		b.looked = now
	}
}

// Ask gives the vote to a node for hold, in ns, and reports whether it has it now. It binds
// nobody for longer than the last request says.
func (b *Ballot) Ask(from uint16, hold, now int64) bool {
	b.Look(now)
	if !b.free(from, hold) {
		return false
	}
	b.given, b.to, b.until = true, from, b.passed+hold
	if hold == math.MaxInt64 {
		b.until = hold
	}
	return true
}

// free reports whether a node could have the vote.
func (b *Ballot) free(from uint16, hold int64) bool {
	if mutant.VoteGivenTwice {
		return true
	}
	if b.given && b.to == from {
		return true
	}
	return (!b.given || b.passed >= b.until) && (hold == math.MaxInt64 || b.passed >= hold)
}

// Release gives the vote back, where a node has it.
func (b *Ballot) Release(from uint16) {
	if b.to == from {
		b.given = false
	}
}

// Holder returns who has the vote, and whether anybody has.
func (b *Ballot) Holder() (node uint16, held bool) { return b.to, b.given && b.passed < b.until }
