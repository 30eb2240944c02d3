package journal

import (
	"sync/atomic"

	"holdfast/sync/wire"
)

// acknowledgement is what a lane's owner and the peers' readers have in common of acknowledgements:
// two numbers, so that neither ever waits for the other.
//
//	owner   awaited = n, then looks at acked        a batch that is acknowledged between the
//	reader  acked = m, then looks at awaited        two stores is seen by one of them at least
type acknowledgement struct {
	acked   atomic.Uint64 // the last batch that some peer has applied
	awaited atomic.Uint64 // the batch that the owner sleeps for; 0: none
	wake    func()        // nil: nobody sleeps
}

// RequestAck makes the open batch ask the peers for an acknowledgement at once, and returns
// its number: what was appended before it lies in that batch or an earlier one.
func (j *Journal) RequestAck() (batch uint64) {
	if !j.asked || j.count == 0 {
		j.room(wire.AckRequestMax)
		var q wire.AckRequest
		j.open = q.Append(j.open)
		j.count++
		j.asked = true
	}
	return j.sent.Load() + 1
}

// Heard reports whether there is a peer that can be expected to acknowledge.
func (j *Journal) Heard() bool { return j.outlet.heard() }

// OnAcknowledged sets what wakes the lane's owner. Before any peer is heard.
func (j *Journal) OnAcknowledged(wake func()) { j.ack.wake = wake }

// Await has the owner woken once when a batch is acknowledged; 0: it need not be. The owner
// looks at Acknowledged after it, because the acknowledgement may have come before.
func (j *Journal) Await(batch uint64) { j.ack.awaited.Store(batch) }

// Acknowledged returns the last batch of the lane that a peer has applied: one of them, k of
// n with k = 1. With its predecessors, as far as its table has room. Safe from any goroutine.
func (j *Journal) Acknowledged() uint64 { return j.ack.acked.Load() }

// Acknowledge tells that a peer has applied all batches up to one. Safe from any goroutine.
func (j *Journal) Acknowledge(batch uint64) {
	if batch > j.sent.Load() {
		return // nobody can have what was not sent
	}
	q := &j.ack
	for {
		was := q.acked.Load()
		if batch <= was {
			return
		}
		if q.acked.CompareAndSwap(was, batch) {
			break
		}
	}
	if n := q.awaited.Load(); n != 0 && n <= batch && q.wake != nil && q.awaited.CompareAndSwap(n, 0) {
		q.wake()
	}
}
