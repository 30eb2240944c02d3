package dataplane

import (
	"sync"

	"holdfast/dataplane/packet"
)

// crashesMax is how many crashes are kept, the latest.
const crashesMax = 64

// Crash is a panic of a worker that was contained.
type Crash struct {
	At     int64 // CLOCK_BOOTTIME ns
	Worker int
	Port   packet.PortID
	Own    bool   // the kernel of this node was about to send the packet by Port; else it came in there
	What   string // what the panic said
	Stack  []byte
	Frame  []byte // the packet as it was then, perhaps rewritten in part; empty: no packet was at hand alone
	Digest PacketDigest
}

// Crashes keeps the last panics of all workers for people to look at. The zero value is empty.
// Safe for concurrent use.
type Crashes struct {
	mu    sync.Mutex
	count uint64
	ring  []Crash
	rung  chan struct{}
}

// add keeps a crash, in place of the oldest where there is no room.
func (c *Crashes) add(one Crash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ring) < crashesMax {
		c.ring = append(c.ring, one)
	} else {
		c.ring[c.count%crashesMax] = one
	}
	c.count++
	select {
	case c.bellLocked() <- struct{}{}:
	default:
	}
}

// bellLocked returns the bell, made when it is first needed.
func (c *Crashes) bellLocked() chan struct{} {
	if c.rung == nil {
		c.rung = make(chan struct{}, 1)
	}
	return c.rung
}

// Bell is rung after a crash was kept, for who tells of them.
func (c *Crashes) Bell() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bellLocked()
}

// Since returns the crashes that are kept beyond the first n of all, oldest first, and how
// many there have been.
func (c *Crashes) Since(n uint64) (kept []Crash, count uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := max(n, c.count-uint64(len(c.ring))); k < c.count; k++ {
		kept = append(kept, c.ring[k%crashesMax])
	}
	return kept, c.count
}
