package dataplane

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
	"holdfast/sync/wire"
)

// A packet that makes a worker panic costs itself, and nothing else: the burst goes on behind
// it, its digest is dropped from then on (quarantine.go), the peers learn that digest with the
// journal's next batch, which leaves before any frame does, and the packet with the stack is
// kept for people to look at (crash.go).
//
//	panic -> recover -> digest to the quarantine and the journal -> frames that nobody
//	         holds any more are freed -> the burst goes on behind the packet
//
// It costs a burst one deferred call. What a half-finished insertion had taken (an entry that
// was not published yet, a port) stays taken: once for each different packet, and none twice.
//
// A panic under a lock of the table cannot be contained: what the lock guards may be torn, and
// everybody would wait for it. Then the journal is sent, so that the peers know the packet
// before they serve, and the panic goes on and ends the process.

// stage says where on the path a burst is, for whoever has to go on after a panic.
type stage uint8

const (
	stageDecode stage = iota
	stageLookup
	stageJudge
	stageDone
)

// rememberCrashes gives a worker what containment needs, where its Config does not.
func (w *Worker) rememberCrashes() {
	if w.config.Quarantine == nil {
		w.config.Quarantine = &Quarantine{}
	}
	if w.config.Crashes == nil {
		w.config.Crashes = &Crashes{}
	}
}

// contain, deferred, ends a panic in along: the packet at hand is put away, and the burst can
// go on behind it.
func (w *Worker) contain(b *burst) {
	what := recover()
	if what == nil {
		return
	}
	crash := Crash{At: w.now, Worker: w.config.ID, Port: b.in.ID, Own: b.origin == fromNode, What: fmt.Sprint(what), Stack: debug.Stack()}
	if b.stage == stageLookup {
		// No packet is at hand alone: the burst is lost.
		for i := range b.n {
			b.fate[i] = dropped(drop.WorkerPanic)
		}
		b.at = b.n
	} else {
		w.putAway(b, &crash)
		b.at++
	}
	w.config.Crashes.add(crash)
	if shard, left := w.leftLocked(); left {
		w.config.Journal.Flush()
		panic(fmt.Sprintf("holdfast: shard %d of the table was left locked by a panic: %v\n%s", shard, what, crash.Stack))
	}
	w.freeStrays(b)
}

// putAway drops the packet at hand and remembers it, here and at the peers. Up to its last
// stage the path reads a frame and does not write: what is remembered is what came in.
func (w *Worker) putAway(b *burst, crash *Crash) {
	d := b.desc[b.at]
	frame := w.umem.Bytes(d)
	b.fate[b.at] = fate{why: drop.WorkerPanic, kept: w.keeps(d)}
	b.parsed[b.at].Kind = packet.KindUnset
	crash.Frame, crash.Digest = slices.Clone(frame), digestOf(frame)
	w.config.Quarantine.commit(Poison{crash.Digest, len(frame), w.now + int64(QuarantineFor)}, w.now)
	w.config.Journal.Poison(&wire.Poison{Digest: crash.Digest, Length: uint16(len(frame)), Remaining: uint32(QuarantineFor.Milliseconds())})
}

// holdings returns the frames that this worker has on their way through it or waiting in it,
// but for those of the burst that takes the path.
func (w *Worker) holdings() (all []xsk.Desc) {
	for _, s := range w.shares {
		all = append(append(all, s.staged...), s.arrived...)
	}
	all = append(append(all, w.parked.desc[:w.parked.n]...), w.retrying...)
	for i := range w.deferral.frames {
		all = append(all, w.deferral.held[i].desc)
	}
	return all
}

// keeps reports whether a frame of the burst is held elsewhere already.
func (w *Worker) keeps(d xsk.Desc) bool {
	return slices.ContainsFunc(w.holdings(), func(one xsk.Desc) bool { return xsk.SameFrame(one, d) })
}

// freeStrays frees the frames that the packet put away had taken for answers or pieces and
// not brought anywhere.
func (w *Worker) freeStrays(b *burst) {
	w.umem.FreeStrays(append(w.holdings(), b.desc[:b.n]...))
}

// lockPatience is how long a lock of the table may be held by somebody who is alive. The
// longest hold is less than a millisecond of CPU time; the rest is for a machine that is busy.
const lockPatience = int64(200e6)

// leftLocked returns a shard of the table that nobody will unlock.
func (w *Worker) leftLocked() (shard uint32, left bool) {
	until := gate.Now() + lockPatience
	for {
		next, done := w.snapshot.Table.Unlocked(shard)
		switch {
		case done:
			return 0, false
		case next != shard:
			shard, until = next, gate.Now()+lockPatience
		case gate.Now() > until:
			return shard, true
		}
		runtime.Gosched()
	}
}
