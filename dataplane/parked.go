package dataplane

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// Limits of the parking: frames of one worker that wait until a neighbour is known.
const (
	parkedMax = 512
	// parkedNanos is how long one waits: as long as the kernel asks, three times with a
	// second between (mcast_solicit and retrans_time_ms, arp(7)). The sender is told of an
	// unreachable host after that, and no sooner, because it may give up by that word.
	parkedNanos = int64(3e9)
	parkedEach  = 64 // of one neighbour, so that one that is gone leaves room for others
)

// parking holds packets whose next hop has no MAC yet, oldest first. They take the whole
// path again when the routes' table has changed: nothing about them is remembered.
type parking struct {
	n          int
	in         [parkedMax]*share
	desc       [parkedMax]xsk.Desc
	since      [parkedMax]int64
	via        [parkedMax]packet.Addr // the neighbour
	generation uint64                 // of the routes when they were last tried
}

// park keeps the frame of a packet for later, or drops it where there is no room.
func (w *Worker) park(b *burst, i int, via *packet.Addr) fate {
	q := &w.parked
	if b.whole != nil {
		return w.parkWhole(b, i, via)
	}
	if q.n == parkedMax || q.waiting(via) >= parkedEach {
		return dropped(drop.NeighborUnresolved)
	}
	q.put(b, b.desc[i], w.now, via)
	w.logLater(b, i)
	return passed
}

// put keeps a frame of a burst; there is room.
func (q *parking) put(b *burst, d xsk.Desc, now int64, via *packet.Addr) {
	q.in[q.n], q.desc[q.n], q.since[q.n], q.via[q.n] = b.in, d, now, *via
	if b.parkedSince != 0 {
		q.since[q.n] = b.parkedSince
	}
	q.n++
}

// waiting counts the packets that wait for a neighbour.
func (q *parking) waiting(via *packet.Addr) (n int) {
	for k := range q.n {
		if q.via[k] == *via {
			n++
		}
	}
	return n
}

// retryParked takes parked packets through the path again when the routes have changed,
// and drops those that have waited too long.
func (w *Worker) retryParked() {
	q := &w.parked
	if q.n == 0 || !w.active {
		return
	}
	generation := w.snapshot.Routes.Generation()
	changed := generation != q.generation
	q.generation = generation
	if !changed && w.now-q.since[0] < parkedNanos {
		return
	}
	old := w.parkedBefore[:q.n]
	copy(old, q.desc[:q.n])
	in, since := q.in, q.since
	q.n = 0
	for k, d := range old {
		b := &w.burst
		b.in, b.n, b.desc[0], b.parkedSince, w.retrying = in[k], 1, d, since[k], old[k+1:]
		if w.now-since[k] >= parkedNanos {
			w.giveUp(b)
		} else {
			w.forward(b)
		}
		b.parkedSince = 0
	}
}

// giveUp drops a packet that has waited too long, alone in its burst, and tells its sender
// that the neighbour does not answer (L2).
func (w *Worker) giveUp(b *burst) {
	b.start()
	w.refuseParked(b)
	w.bury(b)
}

// refuseParked decides the fate of such a packet.
func (w *Worker) refuseParked(b *burst) {
	defer w.contain(b)
	w.decode(b) // it was decoded when it came in: nothing has changed since
	b.at = 0
	if b.fate[0].why == drop.Pass {
		w.refuseUnreachable(b, 0, packet.UnreachableHost)
		b.fate[0] = dropped(drop.NeighborUnresolved)
	}
	if b.fate[0].why == drop.Fragment {
		b.fate[0] = dropped(drop.NeighborUnresolved) // of a datagram: nobody is told (RFC 1122 section 3.2.2)
	}
}

// dropParked frees everything parked: this node has fallen silent.
func (w *Worker) dropParked() {
	q := &w.parked
	for k := range q.n {
		q.in[k].ReceiveDrops.Add(drop.Mute, 1)
	}
	w.umem.Free(q.desc[:q.n])
	q.n = 0
}
