package fib

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"holdfast/dataplane/packet"
)

// Bounds of the queue between the workers and the watcher: a scan of an empty network
// asks for an address per packet.
const (
	requestSlots = 256
	requestReach = 8 // slots that a request may stand in
)

// requests is the set of neighbours that workers ask for. Equal requests are one. It
// never blocks for longer than the copying of its slots.
type requests struct {
	key  [2]uint64
	wake chan struct{} // one element: something is in the set
	shed atomic.Uint64 // requests that found no room

	mu    sync.Mutex
	used  [requestSlots]bool
	slots [requestSlots]neighborKey
	count int
}

func newRequests() *requests {
	return &requests{key: [2]uint64{rand.Uint64(), rand.Uint64()}, wake: make(chan struct{}, 1)}
}

// add puts a request into the set, or counts it as shed.
func (r *requests) add(k neighborKey) {
	high, low := bits.Mul64(binary.BigEndian.Uint64(k.addr[:8])^r.key[0], binary.BigEndian.Uint64(k.addr[8:])^r.key[1])
	slot := (high ^ low ^ uint64(k.port)) % requestSlots
	r.mu.Lock()
	for range requestReach {
		if !r.used[slot] {
			r.used[slot], r.slots[slot] = true, k
			r.count++
			first := r.count == 1
			r.mu.Unlock()
			if first {
				select {
				case r.wake <- struct{}{}:
				default: // it is awake already
				}
			}
			return
		}
		if r.slots[slot] == k {
			r.mu.Unlock()
			return
		}
		slot = (slot + 1) % requestSlots
	}
	r.mu.Unlock()
	r.shed.Add(1)
}

// take empties the set into a slice.
func (r *requests) take() []neighborKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]neighborKey, 0, r.count)
	for i, used := range r.used {
		if used {
			all = append(all, r.slots[i])
		}
	}
	r.used, r.count = [requestSlots]bool{}, 0
	return all
}

// Resolve asks for the MAC of a neighbour, as the hop Unresolved names it. It returns at
// once; the answer appears in the table, if there is one. The kernel is asked at most
// once a second for an address, and not while this node is mute. For the packet path.
func (w *Watcher) Resolve(port packet.PortID, addr packet.Addr) {
	w.requests.add(neighborKey{port, addr})
}
