package dataplane

import (
	"cmp"
	"slices"
	"sync/atomic"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// heldMax bounds how many events are held back while a producer does not pause.
const heldMax = 1 << 17

// Gatherer takes the events of all producers and puts those of each connection into the
// order in which they happened, whichever worker saw them. One goroutine uses it.
//
// An event is delivered in the round after the one that found it, when every producer has
// paused in between: by then all that came before it has been recorded.
//
//	worker 1   Begin ... insert ............. record new ... Pause
//	worker 2        Begin ... change, record ... Pause
//	round           |                      |                       |
//	                cut below the change   not paused: wait        new, then change
type Gatherer struct {
	producers []*Recorder
	rings     []*eventRing
	phases    []uint64 // of the producers when the cut was made
	stamps    atomic.Uint64
	cut       uint64 // events up to here may be delivered once all have paused
	shed      uint64 // events of producers that are told of as shed
	held      []Event
	last      map[packet.Tuple]int // scratch of order
	chain     []int                // scratch of order
	out       []Event
}

// NewGatherer begins to gather the events of the producers: what they do from now on is
// recorded. A producer has one gatherer.
func NewGatherer(producers []*Recorder) *Gatherer {
	g := &Gatherer{producers: producers, phases: make([]uint64, len(producers)), last: map[packet.Tuple]int{}}
	for _, p := range producers {
		ring := &eventRing{stamps: &g.stamps}
		g.rings = append(g.rings, ring)
		p.ring.Store(ring)
	}
	g.mark()
	return g
}

// Stop ends the recording.
func (g *Gatherer) Stop() {
	for _, p := range g.producers {
		p.ring.Store(nil)
	}
}

// Stamp returns the number of the event that was recorded last.
func (g *Gatherer) Stamp() uint64 { return g.stamps.Load() }

// mark makes the cut: the stamp first, then where the producers are.
func (g *Gatherer) mark() {
	g.cut = g.stamps.Load()
	for i, p := range g.producers {
		g.phases[i] = p.phase.Load()
	}
}

// paused reports whether every producer has paused since the cut.
func (g *Gatherer) paused() bool {
	for i, p := range g.producers {
		if g.phases[i]&1 != 0 && p.phase.Load() == g.phases[i] {
			return false
		}
	}
	return true
}

// Gather returns the events that can be told now, those of each connection in order, and
// how many more were shed since the last call because a ring was full. The slice is good
// until the next call.
func (g *Gatherer) Gather() (events []Event, shed uint64) {
	paused := g.paused()
	for _, r := range g.rings {
		from, to := r.taken.Load(), r.put.Load()
		for ; from < to; from++ {
			g.held = append(g.held, r.events[from%eventsMax])
		}
		r.taken.Store(to)
		shed += r.shed.Load()
	}
	shed, g.shed = shed-g.shed, shed
	if !paused && len(g.held) < heldMax {
		return nil, shed
	}
	n := g.order()
	g.out = g.out[:0]
	for i := range g.held[:n] {
		g.out = appendLives(g.out, &g.held[i])
	}
	g.held = g.held[:copy(g.held, g.held[n:])]
	g.mark()
	return g.out, shed
}

// order sorts what is held by stamp and, in the places of each tuple's events, by what
// came first. It returns how many, from the first on, lie below the cut.
func (g *Gatherer) order() (n int) {
	slices.SortFunc(g.held, func(a, b Event) int { return cmp.Compare(a.stamp, b.stamp) })
	n, _ = slices.BinarySearchFunc(g.held, g.cut+1, func(e Event, stamp uint64) int { return cmp.Compare(e.stamp, stamp) })
	clear(g.last)
	g.chain = g.chain[:0]
	for i := range g.held {
		previous, ok := g.last[g.held[i].Original]
		if !ok {
			previous = -1
		}
		g.last[g.held[i].Original] = i
		g.chain = append(g.chain, previous)
		for k := i; g.chain[k] >= 0 && g.held[k].before(&g.held[g.chain[k]]); k = g.chain[k] {
			p := g.chain[k]
			g.held[k], g.held[p] = g.held[p], g.held[k]
		}
	}
	return n
}

// appendLives appends an event, or the two that a connection that was opened again makes.
func appendLives(to []Event, e *Event) []Event {
	if e.Kind != eventReopened {
		return append(to, *e)
	}
	end, begin := *e, *e
	end.Kind, end.Why, end.TCP, end.Flags, end.Incarnation = EventEnd, conntrack.EndReplaced, e.WasTCP, e.WasFlags, 0
	begin.Kind = EventNew
	return append(to, end, begin)
}
