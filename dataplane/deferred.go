package dataplane

import (
	"sync/atomic"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/xsk"
)

// The first packet of a connection whose rule says `sync = "defer"` leaves when a peer has
// the connection in its table, not before: then no failover can lose what its ends believe
// in (P3).
//
//	judge -> begun: journal, and ask for an acknowledgement    -> a place in the queue
//	      -> ready to leave: held with its place, not staged   -> rewritten, in its frame
//	end of turn: batch n leaves for the peers
//	reader of a peer: n is acknowledged -> wake
//	next turn: staged as if it had come now -> lease compared -> kick
//
// One peer's acknowledgement is enough. Without it the packet leaves after Config.DeferMax;
// at once where no peer is there to be asked, or no place is left: to lose the packet would
// be worse than what deferring saves from. Each of these is counted.
//
// What the same connection sends meanwhile (a UDP sender need not wait for an answer, and a
// SYN may be repeated) waits behind its first packet and leaves with it, in order. There
// are no answers yet, and no packets at other workers: a connection's direction has one
// queue.
//
// When the node loses its role what is held is dropped, as everything else that is staged;
// a packet whose connection was killed in the meantime is dropped too.

// Limits of the queue of one worker.
const (
	deferredMax  = 512 // connections, and frames
	deferredEach = 64  // frames of one connection: the pieces of a datagram of 64 KB, or a burst
	deferFilter  = 4096
)

// DeferMax is how long a first packet waits at most, where nothing else is said.
const DeferMax = 10 * time.Millisecond

// deferral is one worker's queue. The connections lie in the order of their batches, which
// is that of their times too: only the oldest is looked at.
type deferral struct {
	n     int    // connections that wait: what the path asks
	first uint64 // the oldest one is waits[first%deferredMax]
	waits [deferredMax]wait
	// filter counts them by index, so that a packet of another connection need not look
	// through them.
	filter [deferFilter]uint16

	frames int
	held   [deferredMax]held

	began, acknowledged, late, alone, full atomic.Uint64
}

// wait is a connection whose first packet waits.
type wait struct {
	incarnation conntrack.Incarnation // 0: it waits no more, for want of room
	batch       uint64                // of the journal, that tells of it
	until       int64                 // CLOCK_BOOTTIME ns
	index       uint32
	frames      int
}

// held is a frame that is ready to leave.
type held struct {
	wait uint64 // number of its connection's place
	out  *share
	desc xsk.Desc
}

// deferFirst lets the first packet of a connection wait, which the journal has just been
// told of. Its frames are handed to hold when they are ready.
func (w *Worker) deferFirst(r *conntrack.Result) {
	q, j := &w.deferral, w.config.Journal
	if !j.Heard() {
		count(&q.alone)
		return
	}
	if q.n == deferredMax {
		count(&q.full)
		return
	}
	batch := j.RequestAck()
	if q.n == 0 {
		j.Await(batch) // before it is sent
	}
	q.waits[(q.first+uint64(q.n))%deferredMax] = wait{
		incarnation: r.Incarnation, batch: batch, until: w.now + w.config.DeferMax.Nanoseconds(), index: r.Index,
	}
	q.filter[r.Index%deferFilter]++
	q.n++
	count(&q.began)
}

// waitOf returns the place of a connection, if it waits.
func (q *deferral) waitOf(index uint32, i conntrack.Incarnation) (number uint64, ok bool) {
	if q.filter[index%deferFilter] == 0 {
		return 0, false
	}
	for k := range uint64(q.n) {
		if v := &q.waits[(q.first+k)%deferredMax]; v.index == index && v.incarnation == i {
			return q.first + k, true
		}
	}
	return 0, false
}

// hold takes the frames that the packet at hand has just staged on a port, from staged[from]
// on, back and keeps them if its connection waits.
func (w *Worker) hold(out *share, from int) {
	q, r := &w.deferral, &w.result
	number, ok := q.waitOf(r.Index, r.Incarnation)
	if !ok {
		return
	}
	v, frames := &q.waits[number%deferredMax], out.staged[from:]
	if q.frames+len(frames) > deferredMax || v.frames+len(frames) > deferredEach {
		if v.frames == 0 { // it is the first: it goes, and nothing else need wait for it
			v.incarnation = 0
			count(&q.full)
			return
		}
		out.TxDrops.Add(drop.DeferFull, uint64(len(frames)))
		w.umem.Free(frames)
		out.staged = out.staged[:from]
		return
	}
	for _, d := range frames {
		q.held[q.frames] = held{wait: number, out: out, desc: d}
		q.frames++
	}
	v.frames += len(frames)
	out.staged = out.staged[:from]
}

// releaseDeferred stages what has waited long enough.
func (w *Worker) releaseDeferred() {
	q := &w.deferral
	if q.n == 0 || !w.active {
		return
	}
	before := q.first
	for j := w.config.Journal; ; {
		q.leave(j.Acknowledged(), w.now)
		if q.n == 0 {
			j.Await(0)
			break
		}
		oldest := q.waits[q.first%deferredMax].batch
		j.Await(oldest)
		if j.Acknowledged() < oldest {
			break
		}
	}
	if q.first != before {
		w.stageHeld()
	}
}

// leave gives up the places of those connections that need not wait any more.
func (q *deferral) leave(acked uint64, now int64) {
	for ; q.n > 0; q.n-- {
		v := &q.waits[q.first%deferredMax]
		switch {
		case v.incarnation == 0: // counted when it was let go
		case v.batch <= acked:
			count(&q.acknowledged)
		case v.until <= now:
			count(&q.late)
		default:
			return
		}
		q.filter[v.index%deferFilter]--
		q.first++
	}
}

// stageHeld stages the frames whose connections wait no more.
func (w *Worker) stageHeld() {
	q := &w.deferral
	kept := 0
	for k := range q.frames {
		h := &q.held[k]
		if h.wait >= q.first {
			q.held[kept] = *h
			kept++
			continue
		}
		// Its place is free but not taken yet: nothing was deferred in between.
		v := &q.waits[h.wait%deferredMax]
		if !w.snapshot.Table.Alive(v.index, v.incarnation) {
			h.out.TxDrops.Add(drop.DeferEnded, 1)
			w.umem.Free([]xsk.Desc{h.desc})
			continue
		}
		h.out.stage(h.desc)
	}
	q.frames = kept
}

// dropDeferred frees everything that is held: this node has fallen silent.
func (w *Worker) dropDeferred() {
	q := &w.deferral
	for k := range q.frames {
		h := &q.held[k]
		h.out.TxDrops.Add(drop.LeaseLapsed, 1)
		w.umem.Free([]xsk.Desc{h.desc})
	}
	for ; q.n > 0; q.n-- {
		q.filter[q.waits[q.first%deferredMax].index%deferFilter]--
		q.first++
	}
	q.frames = 0
	w.config.Journal.Await(0)
}

// sleep returns how long the worker may sleep: no longer than the oldest held packet waits.
func (w *Worker) sleep() time.Duration {
	q := &w.deferral
	if q.n == 0 {
		return idleMax
	}
	return min(idleMax, max(0, time.Duration(q.waits[q.first%deferredMax].until-w.now)))
}

// count adds one to a counter that the worker alone writes.
func count(c *atomic.Uint64) { c.Store(c.Load() + 1) }

// Deferrals counts what has become of a worker's deferred first packets.
type Deferrals struct {
	Waited       uint64 // had to wait
	Acknowledged uint64 // of them, left when a peer had the connection
	Late         uint64 // of them, left after DeferMax
	Alone        uint64 // left at once: no peer was there
	Full         uint64 // left at once: no place was free
}

// Deferrals returns the counts since the start. Safe from any goroutine.
func (w *Worker) Deferrals() Deferrals {
	q := &w.deferral
	return Deferrals{q.began.Load(), q.acknowledged.Load(), q.late.Load(), q.alone.Load(), q.full.Load()}
}
