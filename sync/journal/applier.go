package journal

import (
	"math"
	"sync/atomic"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/internal/mutant"
	"holdfast/nat"
	"holdfast/rules/limit"
	"holdfast/rules/table"
	"holdfast/sync/wire"
)

// Applier brings a peer's messages into the table and the port maps. It belongs to the
// peer's reader; Refused and Conflicts are safe from any goroutine.
//
// What a message says is believed as little as what a packet says: the table validates
// every state, and a bad one is dropped and counted.
type Applier struct {
	table    *conntrack.Table
	pool     *nat.Pool
	shared   *Shared // where better states are told
	neighbor func(*wire.Neighbor)
	poison   func(*wire.Poison)     // nil: nobody remembers packets
	kill     func(*wire.Kill) bool  // nil: no kill is carried out
	limits   func() *limit.Table    // counts connections for the rules' limits: those of the policy in force
	settle   func(*conntrack.State) // nil: numbers of timeouts mean the same here and there
	deleted  uint32                 // connections that Deletes of killed ones have ended since the last KillTold
	observer Observer
	ended    func(*wire.TransferEnd)  // nil: nobody asked
	changed  func(*table.Change) bool // nil: no table changes
	ackAsked bool

	ours    []meaning // by the sender's index
	limbo   limbo
	ahead   ahead
	late    uint32 // ms that the batch at hand has waited
	applied conntrack.Applied
	state   conntrack.State
	frame   wire.Frame
	update  wire.Update
	change  conntrack.Update
	wanted  []want
	over    []wire.Ended // to be said to the peer

	refused   atomic.Uint64 // messages that could not be applied
	conflicts atomic.Uint64 // external ports that belong to another endpoint here
	dead      atomic.Uint64 // messages of connections that a kill had ended before
}

// NewApplier returns an applier of one peer. neighbor takes the MACs that the peer
// tells; it must not keep what it is given.
func NewApplier(table *conntrack.Table, pool *nat.Pool, shared *Shared, neighbor func(*wire.Neighbor)) *Applier {
	return &Applier{
		table: table, pool: pool, shared: shared, neighbor: neighbor, observer: blind{},
		limits: func() *limit.Table { return nil },
	}
}

// Observer hears what an Applier does to the table.
type Observer interface {
	// Touches is called before a connection is changed, or may be.
	Touches(original *packet.Tuple)
	// Named is called when the peer has spoken of the connection that is ours at index.
	Named(index uint32)
}

type blind struct{}

func (blind) Touches(*packet.Tuple) {}
func (blind) Named(uint32)          {}

// Observe sets who hears of what is applied. Before anything is applied.
func (a *Applier) Observe(o Observer) { a.observer = o }

// OnPoison sets who hears of packets that made a worker of the peer panic. Before anything is
// applied.
func (a *Applier) OnPoison(remember func(*wire.Poison)) { a.poison = remember }

// OnTransferEnd sets who hears of the end of a transfer, in its place among what the lane
// tells. Before anything is applied.
func (a *Applier) OnTransferEnd(ended func(*wire.TransferEnd)) { a.ended = ended }

// OnKill sets what carries out the kills that the peer tells of, and answers them: it says
// whether it understood, must not keep what it is given, and must not take longer than the
// peer's other messages can wait. Before anything is applied.
func (a *Applier) OnKill(kill func(*wire.Kill) bool) { a.kill = kill }

// OnTableChange sets what takes in the changes to tables that the peer tells of, and reports
// whether they made sense. Before anything is applied.
func (a *Applier) OnTableChange(changed func(*table.Change) bool) { a.changed = changed }

// CountIn sets where connections count for the limits of their rules: it is asked each time,
// because a reload may change it. Before anything is applied.
func (a *Applier) CountIn(limits func() *limit.Table) { a.limits = limits }

// SettleTimeouts sets what gives a connection the number of its timeouts that it has here, where it
// has another there. Before anything is applied.
func (a *Applier) SettleTimeouts(settle func(*conntrack.State)) { a.settle = settle }

// Deleted returns how many connections the peer has ended by Deletes as killed since it
// was asked last. To be called by what OnKill has set.
func (a *Applier) Deleted() uint32 {
	n := a.deleted
	a.deleted = 0
	return n
}

// Dead counts messages of connections that began before a kill that they fall under: a
// kill outruns what other lanes tell, so they are no fault.
func (a *Applier) Dead() uint64 { return a.dead.Load() }

// Refused counts messages that could not be applied.
func (a *Applier) Refused() uint64 { return a.refused.Load() }

// Conflicts counts connections whose external port belongs to another endpoint here.
func (a *Applier) Conflicts() uint64 { return a.conflicts.Load() }

// Forget drops what the sender's indices mean: it has begun a new life.
func (a *Applier) Forget() {
	clear(a.ours)
	a.limbo = limbo{}
	a.wanted = a.wanted[:0]
	a.over = a.over[:0]
}

// Apply applies the messages of one batch, in order, at now (CLOCK_BOOTTIME ns).
func (a *Applier) Apply(body []byte, now int64) { a.ApplyLate(body, now, 0) }

// ApplyLate applies a batch that had waited for so many ns, for its turn or to be sent again. A
// connection has been idle for that much longer than the batch says, so that it ends
// here when it ends there.
func (a *Applier) ApplyLate(body []byte, now, late int64) {
	a.late = uint32(min(max(late, 0), lateMax) / 1e6)
	a.ahead.look(body, a)
	frames := wire.Frames{Rest: body}
	for frames.Next(&a.frame) {
		if !a.message(&a.frame, now) {
			a.refused.Add(1)
		}
	}
	if frames.Err() != nil {
		a.refused.Add(1)
	}
}

// AckAsked reports whether what was applied since it was called last asks for an
// acknowledgement at once.
func (a *Applier) AckAsked() bool {
	asked := a.ackAsked
	a.ackAsked = false
	return asked
}

// message applies one message and reports whether it could be.
func (a *Applier) message(f *wire.Frame, now int64) bool {
	switch f.Type {
	case wire.TypeInsert:
		if !a.ahead.insert(f, &a.state) {
			return false
		}
		if a.state.Idle <= math.MaxUint32-a.late { // what is above is not valid either way
			a.state.Idle += a.late
		}
		return a.begin(now)
	case wire.TypeUpdate:
		return wire.DecodeUpdate(f, &a.update) == nil && a.merge(now)
	case wire.TypeDelete:
		var d wire.Delete
		return wire.DecodeDelete(f, &d) == nil && a.remove(&d, now)
	case wire.TypeKill:
		var k wire.Kill
		return k.Decode(f) == nil && a.kill != nil && a.kill(&k)
	case wire.TypeNeighbor:
		var n wire.Neighbor
		if n.Decode(f) != nil {
			return false
		}
		a.neighbor(&n)
	case wire.TypePoison:
		var p wire.Poison
		if p.Decode(f) != nil {
			return false
		}
		if a.poison != nil {
			a.poison(&p)
		}
	case wire.TypeTableChange:
		var c wire.TableChange
		return c.Decode(f) == nil && (a.changed == nil || a.changed(&c.Change))
	case wire.TypeTransferEnd:
		var e wire.TransferEnd
		if e.Decode(f) != nil || a.ended == nil {
			return false
		}
		a.ended(&e)
	case wire.TypeAckRequest:
		var q wire.AckRequest
		if q.Decode(f) != nil {
			return false
		}
		a.ackAsked = true
	}
	return true // also a type of a later version: skipped
}

// begin applies a whole state. One whose delete came by another lane, and was faster, begins
// and ends at once: so the life before it ends too, and nothing older comes back.
func (a *Applier) begin(now int64) bool {
	over := wire.Delete{Index: a.state.Index, Incarnation: uint32(a.state.Incarnation), Why: conntrack.EndReplaced}
	// Asked first: where the index means another connection by now, this one is to wait for
	// the delete that has come.
	ended := a.limbo.isOver(naming{over.Index, over.Incarnation}, now)
	done := a.insert(now)
	a.told(over.Index, over.Incarnation, now)
	if ended {
		a.dead.Add(1)
		a.remove(&over, now)
	}
	return done
}

// insert applies a whole state: into the table, and its port is taken at once.
func (a *Applier) insert(now int64) bool {
	if a.settle != nil && a.state.Timeouts != 0 { // 0 is the policy's own
		a.settle(&a.state)
	}
	a.observer.Touches(&a.state.Original)
	outcome := a.table.Apply(&a.state, now, &a.applied)
	a.bury()
	switch outcome {
	case conntrack.AppliedNew:
		if _, ok := a.pool.Take(a.state.Original, a.state.Reply); !ok {
			a.conflicts.Add(1)
			var last conntrack.State
			if !a.table.Forget(a.applied.Index, a.state.Incarnation, now, &last) {
				a.enter(&a.state, now) // it has ended by itself, and that has uncounted it
			}
			return false
		}
		a.enter(&a.state, now)
	case conntrack.AppliedMerged:
		a.completed(now)
	case conntrack.AppliedReopened:
		a.leave(&a.applied.Ours)
		a.enter(&a.state, now)
	case conntrack.Stale:
		if a.applied.Ours.Incarnation > a.state.Incarnation {
			// A later life has its tuple: nothing more is wanted of it. Asked for again it
			// would be told again, and again, until its sender hears of that life.
			a.settled(a.state.Index, uint32(a.state.Incarnation))
		}
		a.completed(now)
		a.shared.Insert(&a.applied.Ours)
	case conntrack.AppliedDead:
		a.dead.Add(1)
		a.refuse()
		return true
	default:
		return false
	}
	a.observer.Named(a.applied.Index)
	return a.remember(a.applied.Index, outcome, now)
}

// Restore takes over a connection that this node has known in a life before, as insert does
// one of a peer's, and reports whether it could.
func (a *Applier) Restore(s *conntrack.State, now int64) bool {
	a.state = *s
	a.state.Index = 0 // of that life
	return a.insert(now)
}

// bury gives back what connections held that had to go for a greater incarnation.
func (a *Applier) bury() {
	for i := range a.applied.Ended {
		s := &a.applied.Ended[i].State
		a.pool.Release(a.pool.BindingOf(s.Original, s.Reply))
		a.leave(s)
	}
}

// enter counts a connection that a peer tells of for the limit of its rule, so that a
// promotion finds the counts where they were. The limit refuses nothing here: the peer has
// asked it.
func (a *Applier) enter(s *conntrack.State, now int64) {
	if s.Complete() {
		a.limits().Enter(s.Rule, &s.Original.Src, now)
	}
}

// completed counts the connection that was joined last where that completed it.
func (a *Applier) completed(now int64) {
	if s := &a.applied.Ours; a.applied.Completed {
		a.limits().Enter(s.Rule, &s.Original.Src, now)
	}
}

// leave uncounts one that has ended.
func (a *Applier) leave(s *conntrack.State) {
	if s.Complete() {
		a.limits().Leave(s.Rule, &s.Original.Src)
	}
}

// meaning is which of our entries a sender's index means.
type meaning struct {
	life uint32 // the low half of the incarnation
	ours uint32 // our index + 1, 0: unknown
}

// remember notes which of our entries a sender's index means.
func (a *Applier) remember(ours uint32, outcome conntrack.ApplyOutcome, now int64) bool {
	theirs := a.state.Index
	if int64(theirs) >= int64(a.table.Capacity()) {
		return false // a table larger than ours, or nonsense
	}
	if int(theirs) >= len(a.ours) {
		a.ours = append(a.ours, make([]meaning, int(theirs)+1-len(a.ours))...)
	}
	m := &a.ours[theirs]
	life := uint32(a.state.Incarnation)
	if outcome == conntrack.Stale {
		life = uint32(a.applied.Ours.Incarnation) // what the sender will know it by
	}
	if m.ours != 0 && m.ours != ours+1 && m.life != life && !mutant.IndexReusedBlindly {
		// The sender uses the index again, and the end of the connection before comes by
		// another lane.
		if a.later(m, now) { // this is the one before
			a.limbo.wait(naming{theirs, life}, ours+1, now)
			return true
		}
		a.limbo.wait(naming{theirs, m.life}, m.ours, now)
	}
	*m = meaning{life, ours + 1}
	return true
}

// later reports whether a meaning is of a connection that began after the one in a.state, so
// that it has the index now.
func (a *Applier) later(m *meaning, now int64) bool {
	var s conntrack.State
	return a.table.Export(m.ours-1, now, &s) && uint32(s.Incarnation) == m.life && s.Incarnation > a.state.Incarnation
}

// known returns our index of a sender's.
func (a *Applier) known(theirs uint32) (ours uint32, ok bool) {
	if int64(theirs) >= int64(len(a.ours)) || a.ours[theirs].ours == 0 {
		return 0, false
	}
	return a.ours[theirs].ours - 1, true
}

// meant returns our index of the connection that a delete names, and what is known of it is
// forgotten.
func (a *Applier) meant(d *wire.Delete, now int64) (ours uint32, ok bool) {
	if int64(d.Index) < int64(len(a.ours)) {
		if m := &a.ours[d.Index]; m.ours != 0 && (m.life == d.Incarnation || mutant.DeleteOfAnyLife) {
			ours = m.ours - 1
			*m = meaning{}
			return ours, true
		}
	}
	return a.limbo.end(naming{d.Index, d.Incarnation}, now)
}

// merge applies an update to the connection that its sender's index means here, or asks
// for the whole of one that is not known.
func (a *Applier) merge(now int64) bool {
	ours, ok := a.known(a.update.Index)
	if !ok || !a.table.Export(ours, now, &a.state) || !a.update.Onto(&a.state, &a.change) {
		a.request(now)
		return true
	}
	a.observer.Touches(&a.state.Original)
	a.observer.Named(ours)
	a.change.Idle = a.late // the sender has just seen a packet of it
	switch a.table.Merge(ours, &a.change, now, &a.applied) {
	case conntrack.AppliedMerged:
		a.completed(now)
	case conntrack.Unknown: // it ended here between the two calls
		a.request(now)
	case conntrack.Stale:
		a.completed(now)
		a.shared.Insert(&a.applied.Ours)
	case conntrack.AppliedDead:
		a.dead.Add(1)
	default:
		return false
	}
	return true
}

// remove ends the connection that a delete names. One that is not known here has ended
// already, or its insert is still on its way by another lane: both are well.
func (a *Applier) remove(d *wire.Delete, now int64) bool {
	a.settled(d.Index, d.Incarnation)
	ours, ok := a.meant(d, now)
	if !ok || !a.table.Export(ours, now, &a.state) || uint32(a.state.Incarnation) != d.Incarnation && !mutant.DeleteOfAnyLife {
		return true
	}
	a.observer.Touches(&a.state.Original)
	var last conntrack.State
	if a.table.Remove(ours, a.state.Incarnation, now, &last) {
		a.pool.Release(a.pool.BindingOf(last.Original, last.Reply))
		a.leave(&last)
		if d.Why == conntrack.EndKilled {
			a.deleted++
		}
	}
	return true
}

// Discard takes out a connection that the peer no longer has, at our index. It may come
// back: what the peer tells later holds. Safe from any goroutine.
func (a *Applier) Discard(index uint32, i conntrack.Incarnation, now int64) {
	var last conntrack.State
	if a.table.Forget(index, i, now, &last) {
		a.pool.Release(a.pool.BindingOf(last.Original, last.Reply))
		a.leave(&last)
	}
}

// Answer tells a peer of a connection of ours that it asked for, whole.
func (a *Applier) Answer(q *wire.UpdateRequest, now int64) {
	if a.table.Export(q.Index, now, &a.state) && uint32(a.state.Incarnation) == q.Incarnation {
		a.shared.Insert(&a.state)
	}
}
