package xsk

// FillRing hands frames to the kernel to receive into. We produce, the kernel consumes.
type FillRing struct {
	producer
	slots []uint64
}

// Reserve returns how many of n frames fit now.
func (r *FillRing) Reserve(n int) int { return r.reserve(n) }

// Put writes the frames' addresses behind those already written. The caller has
// reserved the room.
func (r *FillRing) Put(frames []uint64) {
	put(r.slots, r.next, frames)
	r.next += uint32(len(frames))
}

// Submit publishes what Put wrote.
func (r *FillRing) Submit() { r.submit() }

// Pending returns how many frames the kernel has not taken off the ring.
func (r *FillRing) Pending() int { return r.pending() }

// NeedWakeup reports whether the driver sleeps until it is woken to take frames.
func (r *FillRing) NeedWakeup() bool { return r.needWakeup() }
