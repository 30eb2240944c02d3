package conntrack

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"holdfast/dataplane/packet"
)

// CapacityMax is the largest capacity of a table: an index must fit 31 bits.
const CapacityMax = 1<<31 - 2

// Config is what a table is made from.
type Config struct {
	Capacity uint32    // connections, 1 to CapacityMax; only address space is taken at once
	Node     uint16    // this node's number, unique in the cluster: part of every Incarnation
	Counter  uint64    // where incarnations start; must exceed what this node gave in earlier runs, 48 bits
	Secret   Secret    // of the hash; random where zero
	Timeouts *Timeouts // DefaultTimeouts where nil
}

// Table holds the connections. Make it with New. All methods but Close may be called by
// any goroutine at any time; see the package comment for the locks.
type Table struct {
	conns    arena[Conn]
	six      arena[six]         // beside conns: IPv6
	twice    arena[packet.Addr] // beside conns: IPv6, both ends translated
	index    arena[bucket]
	classes  arena[class]
	tallies  arena[tally]
	tombs    arena[tombs] // by shard
	regimes  regimes
	secret   Secret
	node     uint16
	capacity uint32
	levelMax uint32

	// levels are the sizes of the shards: 8 KiB that every lookup reads, apart from what
	// is written often.
	levels [shardsCount]atomic.Uint32
	shards [shardsCount]shard

	left     [32]atomic.Uint32 // how many shards have left each level
	deserted atomic.Uint64     // buckets below it are in use by no shard
	retired  atomic.Uint64     // buckets below it have given back their memory

	ready      uint64 // entries below it have memory; Prefault's own
	readyLevel uint32 // levels up to it have memory; Prefault's own

	kills     kills
	classHigh atomic.Uint32 // classes at and above it were never entered

	evictAt   atomic.Uint32 // where the next search for a victim begins
	barren    atomic.Uint32 // entries looked at since the last victim
	evictRest atomic.Int64  // ns: no search before

	// What every insert writes, each on a line of its own.
	_       [64]byte
	high    atomic.Uint32 // entries below it have been used
	_       [60]byte
	free    atomic.Uint64 // head of the free list: uses<<32 | index + 1
	_       [56]byte
	counter atomic.Uint64 // of the last incarnation given or heard of
}

// New makes an empty table. Errors say which field of cfg cannot be.
func New(cfg Config) (*Table, error) {
	if cfg.Capacity == 0 || cfg.Capacity > CapacityMax {
		return nil, fmt.Errorf("conntrack: capacity %d: must lie between 1 and %d connections", cfg.Capacity, CapacityMax)
	}
	if cfg.Counter >= 1<<47 {
		return nil, fmt.Errorf("conntrack: counter %d: must lie below 2^47", cfg.Counter)
	}
	if cfg.Timeouts == nil {
		cfg.Timeouts = DefaultTimeouts()
	}
	if cfg.Secret == (Secret{}) {
		cfg.Secret = newSecret()
	}
	t := &Table{
		secret: cfg.Secret, node: cfg.Node,
		capacity: cfg.Capacity, levelMax: levelsFor(cfg.Capacity),
	}
	t.counter.Store(cfg.Counter)
	if err := t.regimes.begin(cfg.Timeouts); err != nil {
		return nil, err
	}
	if err := t.reserve(); err != nil {
		return nil, errors.Join(fmt.Errorf("conntrack: a table of %d connections: %w", cfg.Capacity, err), t.Close())
	}
	return t, nil
}

// reserve takes the address space of everything.
func (t *Table) reserve() (err error) {
	count := uint64(t.capacity)
	if t.conns, err = reserve[Conn](count); err != nil {
		return err
	}
	if t.six, err = reserve[six](count); err != nil {
		return err
	}
	if t.twice, err = reserve[packet.Addr](count); err != nil {
		return err
	}
	if t.index, err = reserve[bucket](levelStart(t.levelMax + 1)); err != nil {
		return err
	}
	if t.classes, err = reserve[class](classesMax); err != nil {
		return err
	}
	if t.tallies, err = reserve[tally](classesMax); err != nil {
		return err
	}
	t.tombs, err = reserve[tombs](shardsCount)
	return err
}

// Close gives the memory back. No other method may be called from its start on.
func (t *Table) Close() error {
	if err := errors.Join(t.conns.release(), t.six.release(), t.twice.release(), t.index.release(),
		t.classes.release(), t.tallies.release(), t.tombs.release()); err != nil {
		return fmt.Errorf("conntrack: unmapping the table: %w", err)
	}
	return nil
}

// SetTimeouts puts other timeouts in force from now on, CLOCK_BOOTTIME in ns: sets[0] is
// the default, the others those that Class.Timeouts numbers, at most TimeoutSetsMax in all.
// A connection that no packet has refreshed since keeps the longest limit that has held
// since its last refresh (E10); see regimes. Nothing changes where it returns an error.
func (t *Table) SetTimeouts(sets []*Timeouts, a Adaptive, now int64) error {
	return t.regimes.change(sets, a, now)
}

// Capacity returns how many connections the table can hold.
func (t *Table) Capacity() int { return int(t.capacity) }

// Node returns the number of this node, which is in the incarnations that it gives.
func (t *Table) Node() uint16 { return t.node }

// High returns the bound of the dense array: every connection's index is below it. It
// never falls; a removed connection's index is used again first.
func (t *Table) High() uint32 { return t.high.Load() }

// Len returns how many connections there are: the sum over the shards, so it cannot drift.
func (t *Table) Len() int {
	n := 0
	for s := range uint32(shardsCount) {
		t.lock(s)
		n += int(t.shards[s].conns)
		t.unlock(s)
	}
	return n
}

// lock takes one shard.
func (t *Table) lock(s uint32) {
	noteLock(t, s)
	t.shards[s].mu.Lock()
}

// unlock releases one shard.
func (t *Table) unlock(s uint32) {
	noteUnlock(t, s)
	t.shards[s].mu.Unlock()
}

// Unlocked looks from shard on for one that is locked at this moment, and returns it; done
// where there is none up to the last. It is how a panic that left a lock behind is told from
// one that did not.
func (t *Table) Unlocked(shard uint32) (locked uint32, done bool) {
	for ; shard < shardsCount; shard++ {
		if !t.shards[shard].mu.TryLock() {
			return shard, false
		}
		t.shards[shard].mu.Unlock()
	}
	return 0, true
}

// lockTwo takes the shards a and b, which may be one, in ascending order. Nobody takes
// two in another way, and nobody a third.
func (t *Table) lockTwo(a, b uint32) {
	t.lock(min(a, b))
	if a != b {
		t.lock(max(a, b))
	}
}

// unlockTwo releases what lockTwo took.
func (t *Table) unlockTwo(a, b uint32) {
	t.unlock(a)
	if a != b {
		t.unlock(b)
	}
}

// lockLive locks an entry's home if the entry is live, and returns the home. It holds no
// lock where it returns false.
func (t *Table) lockLive(c *Conn) (home uint32, live bool) {
	link := c.link.Load()
	if link&linkLive == 0 {
		return 0, false
	}
	home = link &^ linkLive
	t.lock(home)
	if c.link.Load() != link {
		t.unlock(home)
		return 0, false
	}
	return home, true
}

// entry returns an entry by index, or nil beyond the array.
func (t *Table) entry(index uint32) *Conn {
	if index >= t.high.Load() {
		return nil
	}
	return &t.conns.all[index]
}

// take returns a free entry, cleared, that nobody else can find. Used ones come first,
// so the array stays dense.
func (t *Table) take() (index uint32, ok bool) {
	for {
		head := t.free.Load()
		if uint32(head) == 0 {
			break
		}
		// The link may already be another's by the time it is read; then the count in
		// the head has moved on and the exchange fails.
		next := t.conns.all[uint32(head)-1].link.Load()
		if t.free.CompareAndSwap(head, head>>32<<32+1<<32|uint64(next)) {
			index = uint32(head) - 1
			storeWord(&t.conns.all[index].link, 0)
			t.conns.all[index].clear()
			return index, true
		}
	}
	for {
		high := t.high.Load()
		if high == t.capacity {
			return 0, false
		}
		if t.high.CompareAndSwap(high, high+1) {
			return high, true // never used: still zero
		}
	}
}

// give returns an entry that is in no index to the free list.
func (t *Table) give(index uint32) {
	var one chain
	one.add(t, index)
	t.giveChain(one)
}

// chain is entries that are in no index, linked as the free list is. The zero value is empty.
type chain struct{ first, last uint32 } // index + 1

// add puts an entry in front.
func (c *chain) add(t *Table, index uint32) {
	storeWord(&t.conns.all[index].link, c.first)
	if c.first = index + 1; c.last == 0 {
		c.last = c.first
	}
}

// giveChain returns all of them to the free list at once.
func (t *Table) giveChain(c chain) {
	if c.last == 0 {
		return
	}
	last := &t.conns.all[c.last-1]
	for {
		head := t.free.Load()
		storeWord(&last.link, uint32(head))
		if t.free.CompareAndSwap(head, head>>32<<32+1<<32|uint64(c.first)) {
			return
		}
	}
}

// nextIncarnation names a life that begins now.
func (t *Table) nextIncarnation() Incarnation {
	return Incarnation(t.counter.Add(1)<<16 | uint64(t.node))
}

// heard keeps the counter above that of a remote incarnation.
func (t *Table) heard(i Incarnation) {
	for remote := uint64(i >> 16); ; {
		mine := t.counter.Load()
		if mine >= remote || t.counter.CompareAndSwap(mine, remote) {
			return
		}
	}
}

// milliseconds cuts a time of CLOCK_BOOTTIME, in ns, to the resolution of the stamps.
func milliseconds(now int64) uint32 { return uint32(now / int64(time.Millisecond)) }

// seconds does the same for ages.
func seconds(now int64) uint32 { return uint32(now / int64(time.Second)) }

// Hit is where a lookup believes a packet's connection to be. It is a hint until Track
// has verified it; Track corrects it.
type Hit struct {
	Hash      uint64 // of the packet's tuple, under the table's secret
	Index     uint32 // valid if Found
	Found     bool
	Direction Direction // valid if Found
}

// lookupBatch is how many lookups are in flight at once.
const lookupBatch = 64

// Lookup fills hits[i] for keys[i]. len(hits) must be at least len(keys). It works in
// stages over up to 64 keys, so that the cache misses of a stage overlap: all hashes,
// then the bucket of each, then the entry of each. A key that is not KindIP is not found.
//
// It takes no lock and verifies nothing: another tuple with the same tag may be found,
// one time in a hundred, and one that is just being moved may not. Track, and Insert, find
// out.
func (t *Table) Lookup(keys []packet.Parsed, hits []Hit) {
	for len(keys) > lookupBatch {
		t.lookup(keys[:lookupBatch], hits)
		keys, hits = keys[lookupBatch:], hits[lookupBatch:]
	}
	t.lookup(keys, hits)
}

// lookup is Lookup for up to lookupBatch keys. The loops that touch do nothing else: so
// short, that the processor has a dozen misses in flight before it must wait.
func (t *Table) lookup(keys []packet.Parsed, hits []Hit) {
	hits = hits[:len(keys)]
	var where [lookupBatch]uint64 // buckets, then entries
	for i := range keys {         // 1. hash
		hits[i] = Hit{}
		if keys[i].Kind == packet.KindIP {
			h := t.secret.hash(&keys[i].Tuple)
			hits[i].Hash = h
			where[i] = t.firstBucket(h)
		}
	}
	for _, b := range where[:len(keys)] { // 2. touch the buckets
		t.index.all[b].tags.Load()
	}
	for i := range keys { // 3. read the buckets
		b := &t.index.all[where[i]]
		where[i] = 0
		if keys[i].Kind != packet.KindIP {
			continue
		}
		s := b.candidate(tagOf(hits[i].Hash))
		if s == 0 && b.overflow() != 0 {
			walk := t.search(hits[i].Hash)
			s = walk.next(t)
		}
		if s != 0 {
			hits[i].Index, hits[i].Found, hits[i].Direction = s.index(), true, s.direction()
			where[i] = uint64(s.index())
		}
	}
	for i, c := range where[:len(keys)] { // 4. touch the entries
		touch(&t.conns.all[c])
		if keys[i].Version == 6 {
			touchSix(&t.six.all[c])
		}
	}
}
