package conntrack

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"holdfast/dataplane/packet"
)

// The index of the table: 2048 shards, each a hash table of its own that grows alone.
//
// A hash is cut into three parts:
//
//	 63        53 52       45 44                                     0
//	+------------+-----------+----------------------------------------+
//	| shard (11) | tag (8)   | bucket (the low bits, as many as it takes) |
//	+------------+-----------+----------------------------------------+
const (
	shardBits   = 11
	shardsCount = 1 << shardBits
	tagShift    = 64 - shardBits - 8
)

// bucketSlots is how many tuples a bucket holds: with a tag for each and the count of
// those that found it full it makes 64 bytes, one cache line.
const bucketSlots = 12

// growAt is the mean number of tuples per bucket at which a shard doubles. At 10 of 12 one
// tuple in sixteen lies in a later bucket than its own (Poisson), at 9 one in thirty; 10
// keeps a translated IPv6 connection below 200 bytes in the worst moment, the doubling.
const growAt = 10

// A slot names one direction of one connection. Zero is empty.
//
//	 31    30                            0
//	+-----+-------------------------------+
//	| dir | index + 1                     |
//	+-----+-------------------------------+
type slot uint32

const slotReply slot = 1 << 31

func slotOf(dir Direction, index uint32) slot { return slot(dir)<<31 | slot(index+1) }

func (s slot) direction() Direction { return Direction(s >> 31) }
func (s slot) index() uint32        { return uint32(s&^slotReply) - 1 }

// bucket is one cache line of the index. Its words are read without a lock and written
// under the shard's. A tag stays behind when its slot is cleared.
//
//	0                       8           12            16                                  64
//	+-----------------------+-----------+-------------+-----------------------------------+
//	| tags of slots 0 to 7  | 8 to 11   | used, over  | slots                             |
//	+-----------------------+-----------+-------------+-----------------------------------+
type bucket struct {
	tags atomic.Uint64 // slot i in bits 8i
	// more: the tags of slots 8 to 11 in bits 0 to 31; in bits 32 to 43 which slots are
	// used; above, how many tuples belong here or before and lie behind: zero ends a
	// search, so a miss costs one line.
	more  atomic.Uint64
	slots [bucketSlots]atomic.Uint32
}

// Shifts of bucket.more.
const (
	usedShift     = 32
	overflowShift = usedShift + bucketSlots
)

// Every byte of a word.
const (
	bytesOne  = 0x0101010101010101
	bytesHigh = 0x8080808080808080
)

// sameBytes marks in the high bit of each byte of a word that it equals the tag. Above a
// byte that does, one that differs by one may be marked too: who looks finds out.
func sameBytes(word uint64, tag uint8) uint64 {
	x := word ^ bytesOne*uint64(tag)
	return (x - bytesOne) &^ x & bytesHigh
}

// overflow returns how many tuples that belong here or before lie behind.
func (b *bucket) overflow() uint32 { return uint32(b.more.Load() >> overflowShift) }

// candidate returns the first slot with the tag, or zero.
func (b *bucket) candidate(tag uint8) slot {
	for m := sameBytes(b.tags.Load(), tag); m != 0; m &= m - 1 {
		if s := b.slots[bits.TrailingZeros64(m)>>3].Load(); s != 0 {
			return slot(s)
		}
	}
	for m := sameBytes(b.more.Load(), tag) & 0xffffffff; m != 0; m &= m - 1 {
		if s := b.slots[8+bits.TrailingZeros64(m)>>3&3].Load(); s != 0 {
			return slot(s)
		}
	}
	return 0
}

// write puts a slot and its tag into place i. The caller holds the shard. The slot
// comes last: a tag alone names nothing.
func (b *bucket) write(i int, tag uint8, s slot) {
	more := b.more.Load() | 1<<(usedShift+i)
	if i < 8 {
		storeLong(&b.tags, b.tags.Load()&^(0xff<<(8*i))|uint64(tag)<<(8*i))
	} else {
		more = more&^(0xff<<(8*(i-8))) | uint64(tag)<<(8*(i-8))
	}
	storeLong(&b.more, more)
	storeWord(&b.slots[i], uint32(s))
}

// clear empties place i. The caller holds the shard.
func (b *bucket) clear(i uint32) {
	storeWord(&b.slots[i], 0)
	storeLong(&b.more, b.more.Load()&^(1<<(usedShift+i)))
}

// free returns an empty place, or bucketSlots. The caller holds the shard.
func (b *bucket) free() int {
	return bits.TrailingZeros32(^uint32(b.more.Load()>>usedShift) | 1<<bucketSlots)
}

// count adds to the number of tuples that lie behind. The caller holds the shard.
func (b *bucket) count(n int64) { storeLong(&b.more, b.more.Load()+uint64(n)<<overflowShift) }

// shard is a lock and what it guards of one part of the index; the entries whose original
// tuple has its home here are guarded by it too.
type shard struct {
	mu    sync.Mutex
	slots uint32 // used, both directions; under mu
	conns uint32 // entries at home here; under mu
	half  uint32 // those of them that are half-open; under mu
	_     [64 - 20]byte
}

// Levels. A shard at level k has 2^k buckets. Every level has its own address space,
// reserved once, and is used once: growing fills the next level and leaves the old one as
// it was, so a reader that raced sees old slots or zeros, never another shard's. When the
// last shard has left a level its memory goes back.
//
//	level 0      level 1            level 2
//	+-+-+--..-+  +---+---+--..---+  +-----+-----+--..-----+
//	|0|1| 2047|  | 0 | 1 |  2047 |  |  0  |  1  |   2047  |
//	+-+-+--..-+  +---+---+--..---+  +-----+-----+--..-----+
//
// Bucket b of shard s at level k: 2048*(2^k - 1) + s*2^k + b.

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

// shardOf and tagOf return two parts of a hash; the third is its low bits.
func shardOf(hash uint64) uint32 { return uint32(hash >> (64 - shardBits)) }
func tagOf(hash uint64) uint8    { return uint8(hash >> tagShift) }

// firstBucket returns the bucket where the search for a hash begins.
func (t *Table) firstBucket(hash uint64) uint64 {
	s := shardOf(hash)
	level := t.levels[s].Load()
	return levelStart(level) + uint64(s)<<level + hash&(1<<level-1)
}

// A cursor walks the slots that carry one tag. It is right without a lock in this sense:
// it may miss a slot that is being written or moved, and what it finds must be verified.
type cursor struct {
	marks [2]uint64 // of the bucket: slots with the tag that were not looked at yet
	first uint32    // bucket within the shard
	mask  uint32    // buckets of the shard - 1
	step  uint32    // buckets visited
	at    uint32    // slot within the bucket that next returned
	start uint64    // number of the shard's first bucket
	tag   uint8
}

// search starts a walk for a hash.
func (t *Table) search(hash uint64) cursor {
	s := shardOf(hash)
	level := t.levels[s].Load()
	c := cursor{tag: tagOf(hash), first: uint32(hash), mask: 1<<level - 1, start: levelStart(level) + uint64(s)<<level}
	c.enter(c.bucket(t))
	return c
}

// bucket returns the one that the walk is in.
func (c *cursor) bucket(t *Table) *bucket {
	return &t.index.all[c.start+uint64((c.first+c.step)&c.mask)]
}

// enter marks a bucket's slots with the tag.
func (c *cursor) enter(b *bucket) {
	c.marks = [2]uint64{sameBytes(b.tags.Load(), c.tag), sameBytes(b.more.Load(), c.tag) & 0xffffffff}
}

// next returns the next slot with the tag, or zero.
func (c *cursor) next(t *Table) slot {
	for {
		b := c.bucket(t)
		for half := range uint32(2) {
			for c.marks[half] != 0 {
				c.at = half<<3 + uint32(bits.TrailingZeros64(c.marks[half])>>3)
				c.marks[half] &= c.marks[half] - 1
				if s := slot(b.slots[c.at].Load()); s != 0 {
					return s
				}
			}
		}
		if b.overflow() == 0 || c.step == c.mask {
			return 0
		}
		c.step++
		c.enter(c.bucket(t))
	}
}

// absent reports that no slot carries a hash's tag, by one line alone: what is true of
// nearly every tuple that has no connection. It is right as a cursor is.
func (t *Table) absent(hash uint64) bool {
	b := &t.index.all[t.firstBucket(hash)]
	return b.candidate(tagOf(hash)) == 0 && b.overflow() == 0
}

// findLocked returns the slot of a tuple. The caller holds the shard of the hash: then a
// slot names an entry whose tuples do not change, because they were written before the
// slot was, and are released after it is cleared, both under this shard's lock.
func (t *Table) findLocked(hash uint64, tuple *packet.Tuple) slot {
	if t.absent(hash) {
		return 0
	}
	walk := t.search(hash)
	for s := walk.next(t); s != 0; s = walk.next(t) {
		if t.hasTuple(&t.conns.all[s.index()], s.index(), s.direction(), tuple) {
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
	s := shardOf(hash)
	level := t.levels[s].Load()
	t.put(t.index.all[levelStart(level)+uint64(s)<<level:][:1<<level], hash, slotOf(dir, index))
	t.shards[s].slots++
}

// put writes a slot into the first free place of its walk through the buckets of a shard.
func (t *Table) put(buckets []bucket, hash uint64, v slot) {
	mask := uint64(len(buckets) - 1)
	for step := uint64(0); step <= mask; step++ {
		b := &buckets[(hash+step)&mask]
		if i := b.free(); i < bucketSlots {
			b.write(i, tagOf(hash), v)
			return
		}
		b.count(1)
	}
	panic("conntrack: a shard without room was written")
}

// clearLocked removes the slot of one direction of an entry.
func (t *Table) clearLocked(hash uint64, dir Direction, index uint32) {
	want := slotOf(dir, index)
	walk := t.search(hash)
	for found := walk.next(t); found != want; found = walk.next(t) {
		if found == 0 {
			panic("conntrack: an entry without its slot")
		}
	}
	walk.bucket(t).clear(walk.at)
	for walk.step > 0 { // those before it lose one that lies behind
		walk.step--
		walk.bucket(t).count(-1)
	}
	t.shards[shardOf(hash)].slots--
}

// growBatch is how many buckets are moved at a time: their entries, whose tuples must be
// hashed anew, are touched first, so that the cache misses overlap.
const growBatch = 16

// growLocked doubles a shard (BenchmarkGrow). It holds the shard's lock, so every entry
// that a slot of it names stands still.
func (t *Table) growLocked(s uint32) {
	level := t.levels[s].Load()
	from := levelStart(level) + uint64(s)<<level
	to := levelStart(level+1) + uint64(s)<<(level+1)
	old, fresh := t.index.all[from:from+1<<level], t.index.all[to:to+2<<level]
	for at := 0; at < len(old); at += growBatch {
		batch := old[at:min(at+growBatch, len(old))]
		for i := range batch {
			for j := range batch[i].slots {
				if v := slot(batch[i].slots[j].Load()); v != 0 {
					t.conns.all[v.index()].link.Load()
				}
			}
		}
		for i := range batch {
			for j := range batch[i].slots {
				v := slot(batch[i].slots[j].Load())
				if v == 0 {
					continue
				}
				tuple := t.tupleOf(&t.conns.all[v.index()], v.index(), v.direction())
				t.put(fresh, t.secret.hash(&tuple), v)
			}
		}
	}
	t.levels[s].Store(level + 1)
	if t.left[level].Add(1) == shardsCount {
		t.deserted.Store(levelStart(level + 1)) // the levels empty in order, as each shard does
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
