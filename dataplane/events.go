package dataplane

import (
	"math/bits"
	"sync/atomic"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// EventKind says what happened to a connection. The zero value is illegal.
type EventKind uint8

// The kinds.
const (
	EventUnset    EventKind = iota
	EventNew                // it began
	eventReopened           // it began anew in its own place: told as the end of one life and the beginning of another
	EventChange             // its TCP state or a flag changed
	EventEnd                // it ended
)

// Event is one thing that happened to one connection, as `watch` tells it: plain data.
type Event struct {
	Kind            EventKind
	Why             conntrack.EndReason // of EventEnd
	TCP             conntrack.TCPState  // StateNone where not TCP
	WasTCP          conntrack.TCPState  // of EventChange: before
	Flags           conntrack.Flags
	WasFlags        conntrack.Flags // of EventChange: before
	grown           uint8           // how much its sets and flags hold: they only grow
	Incarnation     conntrack.Incarnation
	Original, Reply packet.Tuple
	Class           conntrack.Class
	At              int64 // CLOCK_BOOTTIME ns
	stamp           uint64
}

// Stamp numbers the events of all producers, about in the order in which they happened.
func (e *Event) Stamp() uint64 { return e.stamp }

// before reports whether e happened before o, of the same tuple. Stamps do not tell: they
// are drawn after the connection's lock was released. But incarnations grow, and so does
// all that a change can show while one lives.
func (e *Event) before(o *Event) bool {
	if e.Incarnation != o.Incarnation {
		return e.Incarnation < o.Incarnation
	}
	if e.Kind != o.Kind {
		return e.Kind < o.Kind
	}
	return e.grown < o.grown
}

// fill takes over what a state says of a connection.
func (e *Event) fill(s *conntrack.State, now int64) {
	e.TCP, e.Flags, e.Class = s.TCP(), s.Flags, s.Class
	e.Incarnation, e.Original, e.Reply, e.At = s.Incarnation, s.Original, s.Reply, now
	e.grown = uint8(bits.OnesCount8(uint8(s.Dir[0].Seen)) + bits.OnesCount8(uint8(s.Dir[1].Seen)) + bits.OnesCount(uint(s.Flags)))
}

// eventsMax is how many events wait for the gatherer in one producer, a power of two: a
// worker makes about as many in the time between two gatherings under a SYN flood.
const eventsMax = 1 << 14

// eventRing is where one producer leaves events and the gatherer takes them.
type eventRing struct {
	stamps *atomic.Uint64 // of all rings of a gatherer
	put    atomic.Uint64  // events ever put; the producer's
	_      [48]byte       // or else each would write into the other's cache line
	taken  atomic.Uint64  // events ever taken; the gatherer's
	shed   atomic.Uint64  // events that found no room; the producer's
	events [eventsMax]Event
}

// next returns where the next event goes, nil where there is no room. It is published by
// publish.
func (r *eventRing) next(kind EventKind) *Event {
	at := r.put.Load()
	if at-r.taken.Load() == eventsMax {
		r.shed.Add(lives(kind))
		return nil
	}
	e := &r.events[at%eventsMax]
	e.Kind = kind
	return e
}

func (r *eventRing) publish(e *Event) {
	e.stamp = r.stamps.Add(1)
	r.put.Store(r.put.Load() + 1)
}

// lives is how many events one of a kind is told as.
func lives(kind EventKind) uint64 {
	if kind == eventReopened {
		return 2
	}
	return 1
}

// Recorder is where one producer, a worker or a kill, says what happens to connections.
// The zero value is ready; while nobody watches, a record is one atomic load.
//
// A producer is at work between Begin and Pause. What it has done to a connection is
// recorded before the Pause, so who sees one knows all that came before it.
type Recorder struct {
	ring  atomic.Pointer[eventRing] // nil: nobody watches
	phase atomic.Uint64             // odd: at work
}

// Begin says that the producer is at work.
func (r *Recorder) Begin() { r.phase.Store(r.phase.Load() + 1) }

// Pause ends what Begin began.
func (r *Recorder) Pause() { r.phase.Store(r.phase.Load() + 1) }

// Packet records what a packet has changed, if that can be seen: an update that the peers
// hear of need not be one.
func (r *Recorder) Packet(res *conntrack.Result, now int64) {
	ring := r.ring.Load()
	if ring == nil {
		return
	}
	kind := EventChange
	switch res.Change {
	case conntrack.ChangeNew:
		kind = EventNew
	case conntrack.ChangeReopened:
		kind = eventReopened
	case conntrack.ChangeUpdate:
		if res.TCP == res.WasTCP && res.Flags == res.WasFlags {
			return
		}
	default:
		return
	}
	if e := ring.next(kind); e != nil {
		e.fill(&res.State, now)
		e.Why, e.WasTCP, e.WasFlags = conntrack.EndUnset, res.WasTCP, res.WasFlags
		ring.publish(e)
	}
}

// End records the end of a connection.
func (r *Recorder) End(last *conntrack.State, why conntrack.EndReason, now int64) {
	ring := r.ring.Load()
	if ring == nil {
		return
	}
	if e := ring.next(EventEnd); e != nil {
		e.fill(last, now)
		e.Why, e.WasTCP, e.WasFlags = why, e.TCP, e.Flags
		ring.publish(e)
	}
}
