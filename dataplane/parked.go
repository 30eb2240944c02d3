package dataplane

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/xsk"
)

// Limits of the parking: frames of one worker that wait until a neighbour is known.
const (
	parkedMax   = 256
	parkedNanos = int64(1e9) // how long one waits: the kernel's first ARP probe takes up to 1 s
)

// parking holds packets whose next hop has no MAC yet, oldest first. They take the whole
// path again when the routes' table has changed: nothing about them is remembered.
type parking struct {
	n          int
	in         [parkedMax]*share
	desc       [parkedMax]xsk.Desc
	since      [parkedMax]int64
	generation uint64 // of the routes when they were last tried
}

// park keeps the frame of a packet for later, or drops it where there is no room.
func (w *Worker) park(b *burst, i int) fate {
	q := &w.parked
	if q.n == parkedMax {
		return dropped(drop.NeighborUnresolved)
	}
	q.in[q.n], q.desc[q.n], q.since[q.n] = b.in, b.desc[i], w.now
	if b.parkedSince != 0 {
		q.since[q.n] = b.parkedSince
	}
	q.n++
	return passed
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
		if w.now-since[k] >= parkedNanos {
			in[k].ReceiveDrops.Add(drop.NeighborUnresolved, 1)
			w.umem.Free(old[k : k+1])
			continue
		}
		b := &w.burst
		b.in, b.n, b.desc[0], b.parkedSince = in[k], 1, d, since[k]
		w.forward(b)
		b.parkedSince = 0
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
