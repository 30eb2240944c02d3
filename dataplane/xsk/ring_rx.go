package xsk

// RxRing brings received frames. The kernel produces, we consume.
type RxRing struct {
	consumer
	slots []Desc
}

// Peek copies descriptors of received frames into batch and returns their count.
// Their slots stay ours until Release; their frames are the caller's.
func (r *RxRing) Peek(batch []Desc) int {
	n := r.peek(len(batch))
	get(batch[:n], r.slots, r.next)
	r.next += uint32(n)
	return n
}

// Release gives the slots of all peeked descriptors back to the kernel.
func (r *RxRing) Release() { r.release() }

// Waiting returns how many received frames were not peeked yet.
func (r *RxRing) Waiting() int { return r.waiting() }
