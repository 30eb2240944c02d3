package dataplane

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"holdfast/conntrack"
	"holdfast/rules/limit"
	"holdfast/rules/table"
	"holdfast/sync/wire"
)

// A source that goes beyond the limit of a rule with an overload is put into a table at once,
// by the worker that sees the handshake complete. What else of its connections is to end is
// looked for by a goroutine of the node: a worker does not go through the connection table.
//
//	SYN                 let through, whatever the source has: it may be forged
//	SYN/ACK
//	ACK of it           the source is where it says, and has more than it may:
//	                      1. into the table       the next SYN meets the rules that ask it
//	                         and told             in the worker's batch, before the reset leaves
//	                      2. this one is reset    at both ends, as beyond every limit
//	                      3. the others           an order to the node, where the rule flushes
//
// Nothing else puts a source into a table: not a SYN, nor UDP, ICMP or SCTP, which anybody can
// forge a source of and be answered, nor a connection that was picked up in mid-stream, nor a
// handshake whose numbers were not judged (mode liberal or sloppy).

// flushesMax is how many orders wait: one source is one order, however often it comes.
const flushesMax = 4096

// Flush orders the end of what a source has.
type Flush struct {
	Table  *table.Table // which took it in: what that does not hold is left alone
	Source netip.Prefix // as its limit tells sources apart
	Rule   uint32       // of this rule only; 0: of all
}

// Overloads is what the workers of a node say of sources that went beyond a limit. Make it
// with NewOverloads; every method is safe from any goroutine.
type Overloads struct {
	taken  atomic.Uint64
	noRoom atomic.Uint64
	shed   atomic.Uint64
	ready  chan struct{}

	mu      sync.Mutex
	waiting map[Flush]struct{} // at most flushesMax
}

// NewOverloads returns one of which nothing has been said.
func NewOverloads() *Overloads {
	return &Overloads{ready: make(chan struct{}, 1), waiting: map[Flush]struct{}{}}
}

// Taken counts the sources that went into a table, or lived anew in one.
func (o *Overloads) Taken() uint64 { return o.taken.Load() }

// NoRoom counts those that found their table full, and go on.
func (o *Overloads) NoRoom() uint64 { return o.noRoom.Load() }

// Shed counts orders that found no room: those sources are in their table, and what they had
// lives on.
func (o *Overloads) Shed() uint64 { return o.shed.Load() }

// Ready is readable when orders wait.
func (o *Overloads) Ready() <-chan struct{} { return o.ready }

// Take returns the orders that wait, each once.
func (o *Overloads) Take() map[Flush]struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.waiting
	o.waiting = map[Flush]struct{}{}
	return all
}

// order leaves an order. The lock is held for a look at a map.
func (o *Overloads) order(f Flush) {
	o.mu.Lock()
	_, waits := o.waiting[f]
	full := len(o.waiting) >= flushesMax
	if !waits && !full {
		o.waiting[f] = struct{}{}
	}
	o.mu.Unlock()
	switch {
	case !waits && full:
		o.shed.Add(1)
	case !waits:
		select {
		case o.ready <- struct{}{}:
		default: // it has been told
		}
	}
}

// overload deals with the source of a connection whose handshake is complete and that is
// beyond its rule's limit.
func (w *Worker) overload(s *conntrack.State, v limit.Verdict) {
	if v == limit.NoRoom || s.Class.Mode != conntrack.ModeStrict || s.Flags&conntrack.PickedUp != 0 {
		return
	}
	says, source := w.snapshot.Limits.Overload(s.Rule, &s.Original.Src)
	if says.Table == "" {
		return
	}
	t, all := w.snapshot.Tables.ByName(says.Table), w.config.Overloads
	if t == nil {
		return // never: rules and tables are of one policy
	}
	switch t.AddPrefix(source, table.Include, w.now, table.Default, table.Cause{Kind: table.Overload, Rule: s.Rule}) {
	case table.Added, table.Refreshed:
		all.taken.Add(1)
		w.tellEntry(t, source)
	case table.Full:
		all.noRoom.Add(1)
		return
	case table.Excepted:
		return
	}
	switch says.Flush {
	case limit.FlushRule:
		all.order(Flush{Table: t, Source: source, Rule: s.Rule})
	case limit.FlushAll:
		all.order(Flush{Table: t, Source: source})
	}
}

// tellEntry tells the peers what now holds of an entry: whom this node blocks, the next one does.
func (w *Worker) tellEntry(t *table.Table, p netip.Prefix) {
	var c wire.TableChange
	if t.Tell(p, w.now, &c.Change) {
		w.config.Journal.TableChange(&c)
	}
}
