package fragment

import (
	"math"
	"sync"
	"sync/atomic"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// The memory of a Tracker. A piece takes whole cells, so that a flood of tiny ones holds
// little and a full one wastes little.
const (
	cellSize     = 512 // bytes
	cellsOfPiece = (pieceMax + cellSize - 1) / cellSize
	pieceMax     = 4096 // bytes of a frame: no UMEM frame is longer

	// PiecesMax is how many pieces a datagram may have (K5): one of 65,535 bytes takes 45
	// over Ethernet, 54 over the least MTU of IPv6, 119 at 576 bytes.
	PiecesMax = 128
)

// limits bound a tracker's memory.
type limits struct {
	cells int
	names int // datagrams at once, those caught with an overlap included
	share int // cells of one source. More than a datagram can take: 65,535 bytes, and the rest of 128 cells
}

// production takes 2.75 MiB of cells and about 1 MiB for what is known about them.
var production = limits{cells: 5632, names: 4096, share: 5632 / 8}

// How long a datagram may wait (K2), in ns from its first piece. RFC 8200 section 4.5 has
// 60 s; 30 s for IPv4 as in Linux (net.ipv4.ipfrag_time).
const (
	wait4 = int64(30e9)
	wait6 = int64(60e9)
)

// key names a datagram (RFC 791 section 3.2, RFC 8200 section 4.5), and the port, so that
// pieces with a false source, which come in elsewhere, do not meet the true ones.
type key struct {
	src, dst packet.Addr
	id       uint32
	proto    packet.Proto // zero in IPv6, where the first piece alone counts
	port     packet.PortID
}

// none is no index, of an entry or a cell.
const none = -1

// state is what an entry is. They lie in lists by it.
type state uint8

const (
	unused     state = iota
	collecting       // pieces wait
	poisoned         // caught with an overlap: later pieces drop
	states
)

// entry is one datagram.
type entry struct {
	key         key
	born        int64 // ns, of its first piece
	first, last int32 // pieces by offset: their first cells
	got         int32 // bytes of all pieces
	end         int32 // of the datagram; 0: the last piece has not come
	older       int32 // in the list of its state and family; a free one's next
	newer       int32
	source      int32 // its holding, while it collects
	elder       int32 // in the list of its source
	younger     int32
	headers     uint16 // bytes of the first piece before its data
	cells       int16
	pieces      int16
	state       state
	family      uint8 // 0: IPv4, 1: IPv6
	ttl         uint8 // the lowest of its pieces
	class       uint8 // of its first piece, if that has come
	seen        ecnSet
	df          bool // IPv4: a piece had it
}

// piece lies at the number of its first cell.
type piece struct {
	next       int32 // by offset
	start, end int32 // bytes of the datagram; its data are the last of the chain of cells
	length     int32 // of the chain in bytes: the first piece has its headers in front
}

// list is a list of entries, oldest first.
type list struct{ oldest, newest int32 }

// holding is what one source has waiting.
type holding struct {
	source  packet.Addr
	entries list  // those collecting; of a free one, oldest is the next free one
	cells   int32 // that they hold
}

// Tracker collects. Make one with New; it is safe for concurrent use.
type Tracker struct {
	Identities Identities

	limits limits
	due    atomic.Int64 // when the next datagram dies, at the earliest; ns

	mu       sync.Mutex         // guards all below
	names    index[key]         // of entries
	sources  index[packet.Addr] // of holdings
	holdings []holding          // as many as entries: each has one source
	freeHold int32
	lists    [states][2]list // by state and family; in each the oldest dies first
	entries  []entry
	free     int32 // entries, chained by older
	data     []byte
	chain    []int32 // of a cell: the next of its piece, or the next free one
	pieces   []piece
	freeCell int32
	cellsGot int
}

// New makes a tracker, with all the memory that it will ever have.
func New() *Tracker { return newTracker(production) }

func newTracker(l limits) *Tracker {
	t := &Tracker{
		limits: l, names: newIndex[key](l.names), sources: newIndex[packet.Addr](l.names), holdings: make([]holding, l.names),
		entries: make([]entry, l.names), data: make([]byte, l.cells*cellSize),
		chain: make([]int32, l.cells), pieces: make([]piece, l.cells),
	}
	t.Identities.init()
	for i := range t.entries {
		t.entries[i].older = int32(i) + 1
		t.holdings[i].entries.oldest = int32(i) + 1
	}
	t.entries[l.names-1].older = none
	t.holdings[l.names-1].entries.oldest = none
	for i := range t.chain {
		t.chain[i] = int32(i) + 1
	}
	t.chain[l.cells-1] = none
	for s := range t.lists {
		t.lists[s] = [2]list{{none, none}, {none, none}}
	}
	t.due.Store(math.MaxInt64)
	return t
}

// Add takes a piece that packet.Decode refused with drop.Fragment, as it came in by a
// port. It copies what it keeps. Where the piece completes its datagram, d becomes that.
func (t *Tracker) Add(port packet.PortID, frame []byte, p *packet.Parsed, now int64, d *Datagram, r *Result) {
	r.reset()
	q, why := packet.PieceOf(frame, p)
	if why == drop.Pass && int(p.End) > pieceMax {
		why = drop.FragmentInvalid
	}
	if why != drop.Pass {
		r.Outcome, r.Why = Refused, why
		return
	}
	k := key{src: p.Tuple.Src, dst: p.Tuple.Dst, id: q.ID, port: port}
	if p.Version == 4 {
		k.proto = p.Tuple.Proto
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.names.find(&k)
	if i != none && t.dies(i) <= now {
		t.expireLocked(i, r)
		i = none
	}
	if i == none {
		i = t.beginLocked(&k, p, now, r)
	}
	t.addLocked(i, frame, p, &q, now, r)
	if e := &t.entries[i]; r.Outcome == Kept && e.end != 0 && e.got == e.end {
		t.wholeLocked(i, d, r)
	}
}

// Sweep gives up what has waited too long: a few datagrams, so that a turn stays short.
// Where none is due that is one load.
func (t *Tracker) Sweep(now int64, r *Result) {
	r.reset()
	if t.due.Load() > now {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.lists {
		for f := range t.lists[s] {
			for len(r.Dead) < deadMax && len(r.Late) == 0 {
				i := t.lists[s][f].oldest
				if i == none || t.dies(i) > now {
					break
				}
				t.expireLocked(i, r)
			}
		}
	}
	t.setDueLocked()
}

// Waiting returns how many datagrams wait for pieces, and how many bytes they hold.
func (t *Tracker) Waiting() (datagrams, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.entries {
		if e.state == collecting {
			datagrams++
		}
	}
	return datagrams, t.cellsGot * cellSize
}

// dies returns when an entry's time is up.
func (t *Tracker) dies(i int32) int64 {
	if t.entries[i].family == 0 {
		return t.entries[i].born + wait4
	}
	return t.entries[i].born + wait6
}

// setDueLocked finds out when the next datagram dies. Between two sweeps it is enough to
// know a time that is not too late: beginLocked sees to that.
func (t *Tracker) setDueLocked() {
	due := int64(math.MaxInt64)
	for s := range t.lists {
		for f := range t.lists[s] {
			if i := t.lists[s][f].oldest; i != none {
				due = min(due, t.dies(i))
			}
		}
	}
	t.due.Store(due)
}

// expireLocked gives up an entry whose time is up.
func (t *Tracker) expireLocked(i int32, r *Result) {
	if e := &t.entries[i]; e.family == 1 && e.first != none && t.pieces[e.first].start == 0 {
		r.Late, r.LatePort = t.copyLocked(r.late[:], e.first, 0), e.key.port
	}
	t.killLocked(i, drop.FragmentTimeout, r)
}

// killLocked gives up a datagram and forgets its name.
func (t *Tracker) killLocked(i int32, why drop.Reason, r *Result) {
	t.emptyLocked(i, why, r)
	t.forgetLocked(i)
}
