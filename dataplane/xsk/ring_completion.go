package xsk

// CompletionRing brings back frames that were transmitted, or dropped on the way. The
// kernel produces, we consume.
type CompletionRing struct {
	consumer
	slots []uint64
}

// Peek copies addresses of completed frames into batch and returns their count. Their
// slots stay ours until Release; their frames are the caller's.
func (r *CompletionRing) Peek(batch []uint64) int {
	n := r.peek(len(batch))
	get(batch[:n], r.slots, r.next)
	r.next += uint32(n)
	return n
}

// Release gives the slots of all peeked addresses back to the kernel.
func (r *CompletionRing) Release() { r.release() }

// Waiting returns how many completed frames were not peeked yet.
func (r *CompletionRing) Waiting() int { return r.waiting() }
