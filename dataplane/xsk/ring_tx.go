package xsk

// TxRing takes frames to transmit. We produce, the kernel consumes.
type TxRing struct {
	producer
	slots []Desc
}

// Reserve returns how many of n descriptors fit now.
func (r *TxRing) Reserve(n int) int { return r.reserve(n) }

// Put writes descriptors behind those already written: the kernel cannot see them
// before Submit. The caller has reserved the room.
func (r *TxRing) Put(batch []Desc) {
	put(r.slots, r.next, batch)
	r.next += uint32(len(batch))
}

// Submit publishes what Put wrote: from here on it may leave.
func (r *TxRing) Submit() { r.submit() }

// Staged returns how many descriptors are written and not published.
func (r *TxRing) Staged() int { return r.staged() }

// Pending returns how many published descriptors the kernel has not taken.
func (r *TxRing) Pending() int { return r.pending() }

// NeedWakeup reports whether the kernel waits for a system call. Always so in copy mode.
func (r *TxRing) NeedWakeup() bool { return r.needWakeup() }
