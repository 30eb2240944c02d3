package digest

import (
	"math"
	"sync/atomic"

	"holdfast/dataplane/packet"
)

// Ledger notes which shards of a node's table were touched, and when. Its clock counts
// what peers have told: one tick a batch. Safe from any goroutine.
type Ledger struct {
	clock   atomic.Uint64
	all     atomic.Uint64 // when every shard was touched last
	bits    uint8
	touched []atomic.Uint64 // by shard of 2^bits
}

// NewLedger returns the ledger of a table of at most so many connections.
func NewLedger(capacity int) *Ledger {
	bits := BitsFor(capacity)
	return &Ledger{bits: bits, touched: make([]atomic.Uint64, 1<<bits)}
}

// Tick begins a batch, or another change, and returns its time.
func (l *Ledger) Tick() uint64 { return l.clock.Add(1) }

// Touch notes that a connection has changed at a time that Tick has returned.
func (l *Ledger) Touch(h *Hash, original *packet.Tuple, at uint64) {
	shard := &l.touched[Coarse(h.ShardOf(original), l.bits)]
	if shard.Load() < at {
		shard.Store(at) // two readers may cross: both times lie in the present
	}
}

// TouchAll notes a change that may concern any connection, such as a kill.
func (l *Ledger) TouchAll() { l.all.Store(l.Tick()) }

// Still reports whether nothing has touched a shard of 2^bits at or after a time. Where
// the ledger is coarser than that, what has touched a neighbour counts too.
func (l *Ledger) Still(bits uint8, shard uint32, since uint64) bool {
	if l.all.Load() >= since {
		return false
	}
	if bits > l.bits {
		bits, shard = l.bits, shard>>(bits-l.bits)
	}
	width := uint32(1) << (l.bits - bits)
	for i := shard * width; i < (shard+1)*width; i++ {
		if l.touched[i].Load() >= since {
			return false
		}
	}
	return true
}

// trailLength is how many batches of a lane a Trail remembers: at 20,000 a second, 400 ms.
// A round that reaches back further proves nothing.
const trailLength = 8192

// Trail notes when the batches of one peer's lanes were applied, by the ledger's clock.
// It belongs to the peer's reader.
type Trail struct {
	lanes []trailLane
}

// trailLeast is what a lane's memory begins with: most lanes of most nodes tell little.
const trailLeast = 64

type trailLane struct {
	last uint64   // the number of the last batch applied
	from uint64   // nothing is known of an earlier position: of what came behind it some was skipped
	at   []uint64 // trailLeast of them until the lane has told more, then trailLength
}

// Applied notes that batch number of a lane was applied at a time.
func (t *Trail) Applied(lane uint16, number, at uint64) {
	for int(lane) >= len(t.lanes) {
		t.lanes = append(t.lanes, trailLane{at: make([]uint64, trailLeast)})
	}
	l := &t.lanes[lane]
	if number >= uint64(len(l.at)) && len(l.at) < trailLength {
		// Until here every number is its own place, so nothing moves.
		l.at = append(l.at, make([]uint64, trailLength-len(l.at))...)
	}
	if number != l.last+1 {
		l.from = number
	}
	l.last = number
	l.at[number%uint64(len(l.at))] = at
}

// Skipped notes that what was before batch first of a lane, and not applied, never will be.
func (t *Trail) Skipped(lane uint16, first, at uint64) {
	if int(lane) >= len(t.lanes) || t.lanes[lane].last < first-1 {
		t.Applied(lane, first-1, at)
	}
}

// Forget forgets a life of the peer.
func (t *Trail) Forget() { t.lanes = t.lanes[:0] }

// After returns the first time at which a batch behind positions was applied, or the next
// one of the ledger's clock if there is none. behind says that some batch of positions
// itself was not applied yet; ok is false where the trail no longer reaches back.
func (t *Trail) After(l *Ledger, positions []uint64) (since uint64, behind, ok bool) {
	// Read before the lanes are: what is applied meanwhile is later.
	since = l.clock.Load() + 1
	first := uint64(math.MaxUint64)
	for i, position := range positions {
		if i >= len(t.lanes) {
			behind = behind || position > 0
			continue
		}
		lane := &t.lanes[i]
		switch {
		case lane.last < position:
			behind = true
		case lane.last == position:
		case position < lane.from, lane.last-position > trailLength:
			return 0, false, false
		default:
			first = min(first, lane.at[(position+1)%uint64(len(lane.at))])
		}
	}
	return min(since, first), behind, true
}
