package journal

import (
	"sync"
	"sync/atomic"

	"holdfast/conntrack"
	"holdfast/internal/mutant"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// BatchMax is the longest plaintext of a batch in bytes: sealed, over UDP and IPv6, it
// fits a link of 1,500 bytes (1500 - 40 - 8 - seal.Overhead = 1420).
const BatchMax = 1400

// backlogBatches is how many batches a lane keeps for resending: 5.7 MB. At 20,000
// batches per second, some 300,000 new connections, that is 200 ms of a lost link.
const backlogBatches = 4096

// Journal is one lane of this node's stream. Make it with New.
type Journal struct {
	lane   uint16
	outlet *Outlet

	open  []byte // the open batch, header included; room for one message past BatchMax
	count int    // messages in it
	merge coalescer
	spill [max(wire.InsertMax, wire.UpdateMax)]byte // scratch of fit

	together int      // how many batches wait for each other at most
	closed   int      // batches that have a number and have not left: the last so many
	leaving  [][]byte // scratch of Send: what they hold
	sealed   []byte   // and what is made of them

	sent  atomic.Uint64 // number of the last batch that is closed
	asked bool          // the open batch asks for an acknowledgement
	ack   acknowledgement

	mu      sync.Mutex // guards the backlog
	backlog []entry
}

// entry is one kept batch: number n lies in backlog[n % len(backlog)].
type entry struct {
	number uint64
	body   []byte
}

// New returns the journal of a lane that sends through outlet.
func New(lane uint16, outlet *Outlet) *Journal { return NewKeeping(backlogBatches, lane, outlet) }

// arenaLeast is how large a backlog must be, in batches, to have its memory at once. A small one
// takes it as it is filled: the simulator starts thousands of nodes that say little.
const arenaLeast = 1024

// NewKeeping is New with a backlog of another size, in batches.
func NewKeeping(batches uint64, lane uint16, outlet *Outlet) *Journal {
	// Those that wait are read in the backlog, so it must not come round to them.
	together := int(max(1, min(runMax, batches/2)))
	j := &Journal{
		lane: lane, outlet: outlet, together: together,
		open:    make([]byte, 0, BatchMax+len(Journal{}.spill)),
		leaving: make([][]byte, 0, together),
		sealed:  make([]byte, 0, together*(BatchMax+seal.Overhead)),
		backlog: make([]entry, batches),
	}
	if batches < arenaLeast {
		return j
	}
	arena := make([]byte, batches*BatchMax)
	for i := range j.backlog {
		j.backlog[i].body = arena[i*BatchMax : i*BatchMax : (i+1)*BatchMax]
	}
	return j
}

// Lane returns the lane's number.
func (j *Journal) Lane() uint16 { return j.lane }

// Insert tells the peers of a connection, whole.
func (j *Journal) Insert(s *conntrack.State) {
	if s.Sync == conntrack.SyncNone {
		return
	}
	j.room(0)
	start := len(j.open)
	j.open = wire.AppendInsert(j.open, s)
	j.fit(start)
}

// Update tells the peers how a connection that they know has changed. Of several updates
// of one connection in one batch only the last stays.
func (j *Journal) Update(s *conntrack.State) {
	if s.Sync == conntrack.SyncNone {
		return
	}
	if at, ok := j.merge.find(s.Index, s.Incarnation); ok && j.count > 0 {
		// All updates of one connection have the same length, so this one takes its place.
		if !mutant.FirstUpdateStays {
			wire.AppendUpdate(j.open[:at], s)
		}
		return
	}
	j.room(0)
	start := len(j.open)
	j.open = wire.AppendUpdate(j.open, s)
	j.merge.remember(s.Index, s.Incarnation, j.fit(start))
}

// Delete tells the peers that a connection has ended.
func (j *Journal) Delete(s *conntrack.State, why conntrack.EndReason) {
	if s.Sync == conntrack.SyncNone {
		return
	}
	j.room(wire.DeleteMax)
	j.open = wire.AppendDelete(j.open, &wire.Delete{Index: s.Index, Incarnation: uint32(s.Incarnation), Why: why})
	j.count++
}

// Kill tells the peers of a kill, whose selector must be valid (wire.ValidSelector).
func (j *Journal) Kill(k *wire.Kill) {
	j.room(wire.KillMax)
	j.open = k.Append(j.open)
	j.count++
}

// Neighbor tells the peers the MAC of a neighbour, so that a promoted node sends its
// first frame without asking.
func (j *Journal) Neighbor(n *wire.Neighbor) {
	j.room(wire.NeighborMax)
	j.open = n.Append(j.open)
	j.count++
}

// Poison tells the peers of a packet that made a worker panic.
func (j *Journal) Poison(p *wire.Poison) {
	j.room(wire.PoisonMax)
	j.open = p.Append(j.open)
	j.count++
}

// TableChange tells the peers of a change to a table, whose name must be valid
// (wire.ValidTableName).
func (j *Journal) TableChange(c *wire.TableChange) {
	j.room(wire.TableChangeMax)
	j.open = c.Append(j.open)
	j.count++
}

// TransferEnd ends what a peer has asked for to be told by this lane.
func (j *Journal) TransferEnd(e *wire.TransferEnd) {
	j.room(wire.TransferEndMax)
	j.open = e.Append(j.open)
	j.count++
}

// room makes sure that size more bytes fit the open batch.
func (j *Journal) room(size int) {
	if len(j.open)+size > BatchMax {
		j.close()
	}
	if len(j.open) == 0 {
		j.open = wire.AppendStreamHeader(j.open, j.lane, j.sent.Load()+1)
	}
}

// fit counts the message that was appended at start, and returns where it lies now: one that
// is too long for what was left of the batch begins the next one.
func (j *Journal) fit(start int) (at int) {
	if len(j.open) > BatchMax {
		n := copy(j.spill[:], j.open[start:])
		j.open = j.open[:start]
		j.close()
		j.room(n)
		start = len(j.open)
		j.open = append(j.open, j.spill[:n]...)
	}
	j.count++
	return start
}

// close numbers the open batch and keeps it. It leaves with the next Flush, or before that
// where enough wait.
func (j *Journal) close() {
	number := j.sent.Load() + 1
	j.mu.Lock()
	e := &j.backlog[number%uint64(len(j.backlog))]
	e.number, e.body = number, append(e.body[:0], j.open...)
	j.mu.Unlock()
	j.sent.Store(number)
	j.open, j.count, j.asked = j.open[:0], 0, false
	j.merge.reset()
	if j.closed++; j.closed == j.together {
		j.Send()
	}
}

// Flush closes the open batch and hands it to the peers, with those that wait. The worker
// calls it at the end of every turn, before it kicks.
func (j *Journal) Flush() {
	if j.count > 0 {
		j.close()
	}
	j.Send()
}

// Send hands the closed batches to the peers; what is open stays.
func (j *Journal) Send() {
	if j.closed == 0 {
		return
	}
	last := j.sent.Load()
	j.leaving = j.leaving[:0]
	for n := last - uint64(j.closed) + 1; n <= last; n++ {
		// Without the lock: this goroutine is the only one that writes them.
		j.leaving = append(j.leaving, j.backlog[n%uint64(len(j.backlog))].body)
	}
	j.closed = 0
	j.outlet.send(seal.Lane(j.lane), j.sealed, j.leaving)
}

// Sent returns the number of the last batch that is closed. Safe from any goroutine.
func (j *Journal) Sent() uint64 { return j.sent.Load() }

// Oldest returns the number of the oldest batch that is still kept; 1 before the first.
func (j *Journal) Oldest() uint64 {
	sent := j.sent.Load()
	kept := uint64(len(j.backlog))
	if sent < kept {
		return 1
	}
	return sent - kept + 2 // the one after it may be overwritten right now
}

// Batch appends a copy of batch number to dst, if it is still kept. Safe from any goroutine.
func (j *Journal) Batch(number uint64, dst []byte) ([]byte, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := &j.backlog[number%uint64(len(j.backlog))]
	if number == 0 || e.number != number {
		return dst, false
	}
	return append(dst, e.body...), true
}
