package conntrack

import (
	"sync"
	"sync/atomic"

	"holdfast/dataplane/packet"
)

// The index of the table: 1024 shards, each a hash table of its own that grows alone.
//
// A hash is cut into three parts:
//
//	 63        54 53                      31 30                           0
//	+------------+--------------------------+------------------------------+
//	| shard (10) | unused                   | tag (31)                     |
//	+------------+--------------------------+------------------------------+
//
// The low bits of the tag choose the bucket within the shard, so a slot carries all that
// growing needs and no entry is read for it.
const (
	shardBits   = 10
	shardsCount = 1 << shardBits
	tagMask     = 1<<31 - 1
)

// bucketSlots is how many tuples a bucket holds. With the count of those that found it
// full it makes 64 bytes: one cache line.
const bucketSlots = 7

// growAt is the mean number of tuples per bucket at which a shard doubles: at 5 of 7,
// one tuple in twenty lies in a later bucket than its own (Poisson), at 6 one in eight.
const growAt = 5

// A slot names one direction of one connection. Zero is empty.
//
//	 63                         33   32   31                            0
//	+-----------------------------+------+-------------------------------+
//	| tag (31)                    | dir  | index + 1 (32)                |
//	+-----------------------------+------+-------------------------------+
type slot uint64

// slotIndex masks the index + 1.
const slotIndex slot = 1<<32 - 1

func slotOf(tag uint32, dir Direction, index uint32) slot {
	return slot(uint64(tag)<<33 | uint64(dir)<<32 | uint64(index+1))
}

func (s slot) tag() uint32          { return uint32(s >> 33) }
func (s slot) direction() Direction { return Direction(s >> 32 & 1) }
func (s slot) index() uint32        { return uint32(s) - 1 }

// bucket is one cache line of the index. Slots are read without a lock and written under
// the shard's.
type bucket struct {
	slots [bucketSlots]atomic.Uint64
	// overflow counts the tuples that belong here or before and lie behind: zero ends a
	// search, so a miss costs one line.
	overflow atomic.Uint64
}

// shard is a lock and what it guards of one part of the index; the entries whose original
// tuple has its home here are guarded by it too.
type shard struct {
	mu    sync.Mutex
	slots uint32 // used, both directions; under mu
	conns uint32 // entries at home here; under mu
	_     [64 - 16]byte
}

// Levels. A shard at level k has 2^k buckets. Every level has its own address space,
// reserved once, and is used once: growing fills the next level and leaves the old one as
// it was, so a reader that raced sees old slots or zeros, never another shard's. When the
// last shard has left a level its memory goes back.
//
//	level 0      level 1            level 2
//	+-+-+--..-+  +---+---+--..---+  +-----+-----+--..-----+
//	|0|1| 1023|  | 0 | 1 |  1023 |  |  0  |  1  |   1023  |
//	+-+-+--..-+  +---+---+--..---+  +-----+-----+--..-----+
//
// Bucket b of shard s at level k: 1024*(2^k - 1) + s*2^k + b.

// levelStart returns the number of the first bucket of a level.
func levelStart(level uint32) uint64 { return shardsCount * (1<<level - 1) }

// levelsFor returns the highest level that a table of so many connections can need: two
// tuples each, spread over the shards with a margin for chance.
func levelsFor(capacity uint32) uint32 {
	perShard := uint64(capacity)*2/shardsCount + uint64(capacity)/shardsCount/4 + 64
	level := uint32(0)
	for growAt<<level < perShard {
		level++
	}
	return level
}

// split cuts a hash into shard and tag.
func split(hash uint64) (s, tag uint32) {
	return uint32(hash >> (64 - shardBits)), uint32(hash) & tagMask
}

// firstBucket returns the bucket where the search for a hash begins.
func (t *Table) firstBucket(hash uint64) uint64 {
	s, tag := split(hash)
	level := t.levels[s].Load()
	return levelStart(level) + uint64(s)<<level + uint64(tag&(1<<level-1))
}

// A cursor walks the slots that carry one tag. It is right without a lock in this sense:
// it may miss a slot that is being written or moved, and what it finds must be verified.
type cursor struct {
	tag   uint32
	mask  uint32 // buckets of the shard - 1
	step  uint32 // buckets visited
	at    uint32 // slot within the bucket
	start uint64 // number of the shard's first bucket
}

// search starts a walk for a hash.
func (t *Table) search(hash uint64) cursor {
	s, tag := split(hash)
	level := t.levels[s].Load()
	return cursor{tag: tag, mask: 1<<level - 1, start: levelStart(level) + uint64(s)<<level}
}

// bucket returns the one that the walk is in.
func (c *cursor) bucket(t *Table) *bucket {
	return &t.index.all[c.start+uint64((c.tag+c.step)&c.mask)]
}

// next returns the next slot with the tag, or zero.
func (c *cursor) next(t *Table) slot {
	want := slotOf(c.tag, Original, 0) &^ slotIndex
	for {
		b := c.bucket(t)
		for c.at < bucketSlots {
			s := slot(b.slots[c.at].Load())
			c.at++
			if (s^want)>>33 == 0 && s&slotIndex != 0 {
				return s
			}
		}
		if b.overflow.Load() == 0 || c.step == c.mask {
			return 0
		}
		c.step++
		c.at = 0
	}
}

// findLocked returns the slot of a tuple. The caller holds the shard of the hash: then a
// slot names an entry whose tuples do not change, because they were written before the
// slot was, and are released after it is cleared, both under this shard's lock.
func (t *Table) findLocked(hash uint64, tuple *packet.Tuple) slot {
	walk := t.search(hash)
	for s := walk.next(t); s != 0; s = walk.next(t) {
		if sameTuple(&t.conns.all[s.index()].tuple[s.direction()], tuple) {
			return s
		}
	}
	return 0
}

// roomLocked makes room for n more slots in a shard, and reports whether there is.
func (t *Table) roomLocked(s uint32, n uint32) bool {
	level := t.levels[s].Load()
	for t.shards[s].slots+n > growAt<<level && level < t.levelMax {
		t.growLocked(s)
		level++
	}
	return t.shards[s].slots+n <= bucketSlots<<level
}

// placeLocked publishes a slot. The caller has made room.
func (t *Table) placeLocked(hash uint64, dir Direction, index uint32) {
	s, tag := split(hash)
	t.put(t.search(hash), slotOf(tag, dir, index))
	t.shards[s].slots++
}

// put writes a slot into the first free place of its walk.
func (t *Table) put(walk cursor, v slot) {
	for {
		b := walk.bucket(t)
		for i := range b.slots {
			if b.slots[i].Load() == 0 {
				b.slots[i].Store(uint64(v))
				return
			}
		}
		b.overflow.Store(b.overflow.Load() + 1)
		if walk.step == walk.mask {
			panic("conntrack: a shard without room was written")
		}
		walk.step++
	}
}

// clearLocked removes the slot of one direction of an entry.
func (t *Table) clearLocked(hash uint64, dir Direction, index uint32) {
	s, tag := split(hash)
	want := slotOf(tag, dir, index)
	walk := t.search(hash)
	for found := walk.next(t); found != want; found = walk.next(t) {
		if found == 0 {
			panic("conntrack: an entry without its slot")
		}
	}
	walk.bucket(t).slots[walk.at-1].Store(0)
	for walk.step > 0 { // those before it lose one that lies behind
		walk.step--
		b := walk.bucket(t)
		b.overflow.Store(b.overflow.Load() - 1)
	}
	t.shards[s].slots--
}

// growLocked doubles a shard (BenchmarkGrow). Old bucket b goes to the new buckets b and
// b + 2^level, so this is one pass over old and new memory.
func (t *Table) growLocked(s uint32) {
	level := t.levels[s].Load()
	from := levelStart(level) + uint64(s)<<level
	to := levelStart(level+1) + uint64(s)<<(level+1)
	old, fresh := t.index.all[from:from+1<<level], t.index.all[to:to+2<<level]
	for i := range old {
		for j := range old[i].slots {
			if v := slot(old[i].slots[j].Load()); v != 0 {
				putFresh(fresh, v)
			}
		}
	}
	t.levels[s].Store(level + 1)
	if t.left[level].Add(1) == shardsCount {
		t.deserted.Store(levelStart(level + 1)) // the levels empty in order, as each shard does
	}
}

// putFresh is put for the buckets of a shard's next level, which nobody else sees yet.
func putFresh(fresh []bucket, v slot) {
	mask := uint32(len(fresh) - 1)
	for at := v.tag() & mask; ; at = (at + 1) & mask {
		words := fresh[at].plain()
		for i := range bucketSlots {
			if words[i] == 0 {
				words[i] = uint64(v)
				return
			}
		}
		words[bucketSlots]++
	}
}

// reclaimStep is how many buckets are given back at once: 2 MiB, a huge page.
const reclaimStep = 2 << 20 / 64

// reclaim gives back the memory of levels that every shard has left, a little at a time.
// It is called without a lock, after an insert; almost always it finds nothing to do.
func (t *Table) reclaim() {
	from, to := t.retired.Load(), t.deserted.Load()
	if from == to {
		return
	}
	to = min(to, from+reclaimStep)
	if t.retired.CompareAndSwap(from, to) {
		t.index.discard(from, to)
	}
}
