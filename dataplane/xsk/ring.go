package xsk

import "sync/atomic"

// A ring is an array of slots, a power of two, and two free-running 32-bit words in
// memory shared with the kernel (net/xdp/xsk_queue.h):
//
//	        consumer                 producer
//	           v                        v
//	  . . . . [x] [x] [x] [x] [x] [x]  .  .  .      slot = word & (size-1)
//
// producer - consumer slots are full; the words wrap and so does the subtraction. The
// producer writes slots, then its word (release); the consumer reads that word
// (acquire), then the slots, then writes its own word, which gives the slots back.
// Go's atomic loads and stores are sequentially consistent, which is more than the
// acquire and release that the kernel asks for, and the full barrier that has to stand
// between publishing descriptors and reading the need_wakeup flag.
//
// Each side keeps copies of both words and touches the shared ones once per batch: an
// atomic store costs a locked instruction.

// producer is our side of a ring that we fill and the kernel empties (fill, tx).
type producer struct {
	head  *uint32 // shared; written by us, read by the kernel
	tail  *uint32 // shared; written by the kernel
	flags *uint32 // shared; written by the kernel

	size      uint32
	next      uint32 // first slot not yet written
	published uint32 // what *head holds
	seen      uint32 // what *tail held when last read
}

// reserve returns how many of n slots may be written now, and reads the kernel's word
// only where the copy does not allow all n.
func (p *producer) reserve(n int) int {
	room := p.size - (p.next - p.seen)
	if uint32(n) > room {
		p.seen = atomic.LoadUint32(p.tail)
		room = p.size - (p.next - p.seen)
	}
	return min(n, int(room))
}

// submit publishes all written slots.
func (p *producer) submit() {
	if p.published != p.next {
		p.published = p.next
		atomic.StoreUint32(p.head, p.next)
	}
}

// staged returns how many slots are written and not published.
func (p *producer) staged() int { return int(p.next - p.published) }

// pending returns how many published slots the kernel has not given back.
func (p *producer) pending() int {
	p.seen = atomic.LoadUint32(p.tail)
	return int(p.published - p.seen)
}

// needWakeup reports whether the kernel waits for a system call before it looks at
// the ring (XDP_RING_NEED_WAKEUP).
func (p *producer) needWakeup() bool { return atomic.LoadUint32(p.flags)&ringNeedWakeup != 0 }

// consumer is our side of a ring that the kernel fills and we empty (rx, completion).
type consumer struct {
	head *uint32 // shared; written by the kernel
	tail *uint32 // shared; written by us, read by the kernel

	size     uint32
	next     uint32 // first slot not yet read
	released uint32 // what *tail holds
	seen     uint32 // what *head held when last read
}

// peek returns how many of n slots may be read now, and reads the kernel's word only
// where the copy does not allow all n.
func (c *consumer) peek(n int) int {
	full := c.seen - c.next
	if uint32(n) > full {
		c.seen = atomic.LoadUint32(c.head)
		full = c.seen - c.next
	}
	return min(n, int(full))
}

// release gives all slots that were read back to the kernel.
func (c *consumer) release() {
	if c.released != c.next {
		c.released = c.next
		atomic.StoreUint32(c.tail, c.next)
	}
}

// waiting returns how many slots the kernel has filled and we have not read.
func (c *consumer) waiting() int {
	c.seen = atomic.LoadUint32(c.head)
	return int(c.seen - c.next)
}

// put copies values into the slots from at on, around the end.
func put[T any](slots []T, at uint32, values []T) {
	start := int(at) & (len(slots) - 1)
	n := copy(slots[start:], values)
	copy(slots, values[n:])
}

// get copies slots from at on into values, around the end.
func get[T any](values, slots []T, at uint32) {
	start := int(at) & (len(slots) - 1)
	n := copy(values, slots[start:])
	copy(values[n:], slots)
}
