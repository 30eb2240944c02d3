package dataplane

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/dataplane/xsk"
)

// A packet that made a worker panic must not do so twice, on any node. What is kept of it is
// its length and a digest, and it is dropped before it is decoded. While nothing is kept that
// costs a burst one load; otherwise a packet one bit test, and those as long as a kept one a
// digest.
//
// The digest is of all that makes the packet what it is: not of the MAC addresses, which differ
// from node to node, nor of what differs between two of a sender's attempts and by the way that
// they came: identification, TTL and header checksum of IPv4, flow label and hop limit of IPv6.
// It needs no key: nobody can make another packet of the same digest, so nobody can have
// another's packets dropped.

// QuarantineFor is how long a packet is remembered.
const QuarantineFor = 10 * time.Minute

// quarantineMax is how many packets are remembered, the latest.
const quarantineMax = 64

// A worker that panics at SpreeOf different packets within SpreeWithin is wrong by itself,
// and not poisoned by one packet: another node should serve.
const (
	SpreeOf     = 3
	SpreeWithin = 10 * time.Second
)

// digestStart is where the digest begins: behind the MAC addresses.
const digestStart = 12

// PacketDigest names a packet: the first half of SHA-256 of what makes it what it is.
type PacketDigest [16]byte

// digestOf returns the digest of a frame, which need not be a sound packet.
func digestOf(frame []byte) PacketDigest {
	var b [xsk.FrameSize]byte
	n := copy(b[:], frame[min(digestStart, len(frame)):])
	const header = 14 - digestStart // of IP, behind the EtherType
	switch {
	case b[0] == 0x08 && b[1] == 0x00:
		clear(b[header+4 : header+6])
		b[header+8] = 0
		clear(b[header+10 : header+12])
	case b[0] == 0x86 && b[1] == 0xdd:
		b[header+1] &= 0xf0
		clear(b[header+2 : header+4])
		b[header+7] = 0
	}
	sum := sha256.Sum256(b[:n])
	return PacketDigest(sum[:16])
}

// Poison is what is remembered of one packet that made a worker panic.
type Poison struct {
	Digest PacketDigest
	Length int   // of the frame, in bytes
	Until  int64 // CLOCK_BOOTTIME ns
}

// Quarantine is what all workers of a node remember, and what its peers have told. The zero
// value is empty. Safe for concurrent use.
type Quarantine struct {
	ward  atomic.Pointer[ward] // nil: empty
	mu    sync.Mutex           // guards what follows, and who writes ward
	spree [SpreeOf]int64       // when this node's own workers last panicked at a packet that was new
}

// ward is what a worker looks at: it never changes.
type ward struct {
	lengths [(1 << 16) / 64]uint64 // of the packets, one bit each
	poisons []Poison
}

// Add remembers a packet that a peer tells of.
func (q *Quarantine) Add(p Poison, now int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addLocked(p, now)
}

// commit remembers a packet that made a worker of this node panic.
func (q *Quarantine) commit(p Poison, now int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.addLocked(p, now) {
		copy(q.spree[1:], q.spree[:])
		q.spree[0] = now
	}
}

// addLocked replaces the ward and reports whether the packet is new in it.
func (q *Quarantine) addLocked(p Poison, now int64) (fresh bool) {
	next, fresh := &ward{}, true
	if before := q.ward.Load(); before != nil {
		for _, old := range before.poisons {
			switch {
			case old.Digest == p.Digest:
				fresh = false
				p.Until = max(p.Until, old.Until)
			case old.Until > now:
				next.poisons = append(next.poisons, old)
			}
		}
	}
	next.poisons = append(next.poisons, p)
	if over := len(next.poisons) - quarantineMax; over > 0 {
		next.poisons = next.poisons[over:]
	}
	for i := range next.poisons {
		n := uint16(next.poisons[i].Length)
		next.lengths[n/64] |= 1 << (n % 64)
	}
	q.ward.Store(next)
	return fresh
}

// Spree reports whether this node's workers have panicked at SpreeOf different packets within
// SpreeWithin before now.
func (q *Quarantine) Spree(now int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	oldest := q.spree[SpreeOf-1]
	return oldest != 0 && now-oldest <= int64(SpreeWithin)
}

// Poisons returns what is remembered at a time.
func (q *Quarantine) Poisons(now int64) (all []Poison) {
	if w := q.ward.Load(); w != nil {
		for _, p := range w.poisons {
			if p.Until > now {
				all = append(all, p)
			}
		}
	}
	return all
}

// holds reports whether a frame is one of the ward's.
func (w *ward) holds(frame []byte, now int64) bool {
	n := uint16(len(frame))
	if w.lengths[n/64]&(1<<(n%64)) == 0 {
		return false
	}
	digest := digestOf(frame)
	for i := range w.poisons {
		if p := &w.poisons[i]; p.Digest == digest && p.Until > now {
			return true
		}
	}
	return false
}
