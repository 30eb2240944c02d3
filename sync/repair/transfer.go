package repair

import (
	"sync"
	"sync/atomic"

	"holdfast/conntrack"
	"holdfast/sync/digest"
	"holdfast/sync/journal"
	"holdfast/sync/wire"
)

// Credit is how many batches of a transfer may be on their way without an
// acknowledgement: 1.4 MB, well within the receiver's socket buffer.
const Credit = 1024

// Transfer tells one peer the connections of some shards, whole. Ask is safe from any
// goroutine; the rest belongs to the one that steps it.
type Transfer struct {
	table  *conntrack.Table
	lane   *journal.Journal
	credit uint64

	mu     sync.Mutex
	next   *request // asked for, not begun
	forget bool

	running *request
	at      uint32 // the entry to look at next
	cut     conntrack.Incarnation
	hash    digest.Hash
	state   conntrack.State
	told    atomic.Uint64
	done    uint32 // the last request that was answered to its end
}

// request is a wire.TransferRequest, kept.
type request struct {
	id     uint32
	shards shardSet
}

// NewTransfer returns a transfer of a table to the one peer that lane sends to. The lane must
// keep more batches for resending than credit lets be on their way.
func NewTransfer(table *conntrack.Table, lane *journal.Journal, credit uint64) *Transfer {
	return &Transfer{table: table, lane: lane, credit: credit}
}

// Ask takes in what the peer asks for. It takes the place of what was asked before.
func (t *Transfer) Ask(m *wire.TransferRequest) {
	q := &request{id: m.ID, shards: newShardSet(m.Bits, m.Shards)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next == nil || q.id >= t.next.id {
		t.next = q
	}
}

// Forget ends what is under way: the peer that asked has begun a new life.
func (t *Transfer) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next, t.forget = nil, true
}

// take begins what was asked for last, unless it runs already: requests are repeated.
func (t *Transfer) take() {
	t.mu.Lock()
	q, forget := t.next, t.forget
	t.next, t.forget = nil, false
	t.mu.Unlock()
	if forget {
		t.running, t.done = nil, 0
	}
	switch {
	case q == nil:
	case q.id == t.done || t.running != nil && t.running.id == q.id:
		// Told again, because the first word of it seemed lost.
	default:
		t.running, t.at = q, 0
		// Whoever is in the table now began up to it; Latest makes it a border.
		t.cut = t.table.Latest()
	}
}

// Running reports whether there is something to tell.
func (t *Transfer) Running() bool {
	t.take()
	return t.running != nil
}

// Told returns how many connections all transfers have told.
func (t *Transfer) Told() uint64 { return t.told.Load() }

// Step looks at up to count entries more, at now (CLOCK_BOOTTIME ns), as long as credit
// lasts: acked is the last batch of the lane that the peer has. whole says that this node
// forwards and is complete itself. It reports whether it could do something.
func (t *Transfer) Step(count int, now int64, acked uint64, whole bool) (moved bool) {
	if !t.Running() {
		return false
	}
	high := t.table.High()
	for ; count > 0 && t.at < high; count-- {
		if t.lane.Sent()-min(acked, t.lane.Sent()) >= t.credit {
			t.lane.Send() // what waits there would never be acknowledged
			return moved
		}
		moved = true
		if t.table.Export(t.at, now, &t.state) && t.running.shards.has(t.hash.ShardOf(&t.state.Original)) {
			t.lane.Insert(&t.state)
			t.told.Add(1)
		}
		t.at++
	}
	if t.at >= high {
		t.lane.TransferEnd(&wire.TransferEnd{ID: t.running.id, Cut: t.cut, Whole: whole})
		t.lane.Flush()
		t.running, t.done = nil, t.running.id
		return true
	}
	return moved
}
