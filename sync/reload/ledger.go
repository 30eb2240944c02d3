package reload

import (
	"fmt"

	"holdfast/sync/wire"
)

// PreparedFor is how long a node holds a policy that it has prepared and not put in force, in ns.
const PreparedFor = int64(60e9)

// Ledger is what a node knows of generations: which it keeps, tries and has prepared, and so
// what it may be asked for next. Who carries the step out tells the ledger when it is done.
type Ledger struct {
	Kept     wire.Generation // confirmed
	Trial    wire.Generation // in force until confirmed; zero: none
	prepared wire.Generation // ready, without effect; zero: none
	until    int64           // that prepared is held, ns
	seen     uint64          // the highest number that this node knows of
}

// Ruling says whether a step is to be carried out. The zero value is illegal.
type Ruling uint8

// The rulings.
const (
	Do      Ruling = 1 + iota
	Already        // it is done, or something later is
)

// Next returns the number of a new generation.
func (l *Ledger) Next() uint64 {
	return max(l.seen, l.Kept.Number, l.Trial.Number, l.prepared.Number) + 1
}

// Heard notes that somebody knows a number.
func (l *Ledger) Heard(number uint64) { l.seen = max(l.seen, number) }

// Prepared returns what is prepared at now, zero where nothing is.
func (l *Ledger) Prepared(now int64) wire.Generation {
	if now >= l.until {
		l.prepared = wire.Generation{}
	}
	return l.prepared
}

// May rules on a step for a generation at now (ns). The error says why it is refused.
func (l *Ledger) May(step wire.Step, g wire.Generation, now int64) (Ruling, error) {
	l.Heard(g.Number)
	switch prepared := l.Prepared(now); {
	case g == l.Kept && step != wire.StepRevert:
		return Already, nil
	case step == wire.StepRevert:
		if g == l.Trial || g == prepared {
			return Do, nil
		}
		return Already, nil
	case g == l.Trial && step == wire.StepConfirm:
		return Do, nil
	case g == l.Trial:
		return Already, nil
	case step == wire.StepConfirm && g.Number < l.Kept.Number:
		return Already, nil
	case step == wire.StepConfirm:
		return 0, fmt.Errorf("generation %d is not on trial: it has gone back, or never was in force", g.Number)
	case g == prepared && step == wire.StepCommit:
		return Do, nil
	case g == prepared:
		return Already, nil
	case step == wire.StepCommit:
		return 0, fmt.Errorf("generation %d was not prepared", g.Number)
	case l.Trial.Number != 0:
		return 0, fmt.Errorf("generation %d waits to be confirmed: run `holdfast confirm`, or let it go back", l.Trial.Number)
	case g.Number <= l.Kept.Number:
		return 0, fmt.Errorf("generation %d is not newer than generation %d here: reload again", g.Number, l.Kept.Number)
	}
	return Do, nil
}

// Done notes that a step was carried out at now (ns).
func (l *Ledger) Done(step wire.Step, g wire.Generation, now int64) {
	switch step {
	case wire.StepPrepare:
		l.prepared, l.until = g, now+PreparedFor
		return
	case wire.StepCommit:
		l.Trial = g
	case wire.StepConfirm:
		l.Kept, l.Trial = g, wire.Generation{}
	case wire.StepRevert:
		l.Trial = wire.Generation{}
	}
	l.prepared = wire.Generation{}
}

// Need says what a node does that hears of a peer's kept generation.
type Need uint8

// The needs.
const (
	NeedNothing Need = iota
	NeedConfirm      // that of the trial: somebody has confirmed it
	NeedFetch        // it is newer
)

// Needs compares a peer's kept generation with this node's at now (ns). The numbers alone
// order them: nodes that have one number for two policies were told different things, and
// only people know which is right.
func (l *Ledger) Needs(peer wire.Generation, now int64) Need {
	l.Heard(peer.Number)
	switch {
	case peer.Number <= l.Kept.Number:
		return NeedNothing
	case peer == l.Trial:
		return NeedConfirm
	case peer.Number < l.Trial.Number || l.Prepared(now).Number != 0:
		return NeedNothing // what is under way comes first
	}
	return NeedFetch
}
