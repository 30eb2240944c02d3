package conntrack

import "unsafe"

// plain returns the words of a bucket without their atomic methods, the overflow count
// last. A rehash writes its new buckets this way: a store of atomic.Uint64 is a locked
// instruction, and there are 20,000 per shard at ten million connections.
//
// Why this is sound: atomic.Uint64 is one uint64 in memory, and a bucket eight of them (a
// test compares the sizes). Only the buckets of a level that is not published yet are
// written so; nobody else reads them until the level is stored atomically, which orders
// these writes before all reads.
func (b *bucket) plain() *[bucketSlots + 1]uint64 {
	return (*[bucketSlots + 1]uint64)(unsafe.Pointer(b))
}
