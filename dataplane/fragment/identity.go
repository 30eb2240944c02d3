package fragment

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"

	"holdfast/dataplane/packet"
)

// Identities gives datagrams fresh identifications (K7). Hosts behind one address choose
// theirs independently, so behind a translation two could agree, and the receiver would
// make one datagram of pieces of both.
//
// A counter that all workers share goes through a secret permutation: none comes again
// before 2^16 datagrams (2^32 in IPv6), and nobody outside can foretell them or count
// traffic by them (RFC 7739). The counter is chosen by both addresses out of many, so that
// the traffic of others does not use up a pair's numbers.
//
// Make it with init; it is safe for concurrent use.
type Identities struct {
	keys     [4]uint32
	counters [identityCounters]atomic.Uint32
}

const identityCounters = 1024

func (n *Identities) init() {
	for i := range n.keys {
		n.keys[i] = rand.Uint32()
	}
	for i := range n.counters {
		n.counters[i].Store(rand.Uint32())
	}
}

// Next returns an identification for a datagram from src to dst, of 16 bits for IPv4.
func (n *Identities) Next(src, dst *packet.Addr) uint32 {
	h := n.keys[0]
	for i := range src {
		h = (h ^ uint32(src[i]) ^ uint32(dst[i])<<8) * 0x01000193
	}
	count := n.counters[(h^h>>16)%identityCounters].Add(1)
	if src.Is4() {
		return n.permute(count&0xffff, 8)
	}
	return n.permute(count, 16)
}

// permute is a Feistel network over numbers of two halves of so many bits: whatever round
// function it has, no two numbers go to the same.
//
//	(left, right) -> (right, left ^ f(right)), four times
func (n *Identities) permute(v uint32, half uint) uint32 {
	mask := uint32(1)<<half - 1
	left, right := v>>half, v&mask
	for _, key := range n.keys {
		f := bits.RotateLeft32((right^key)*0x9e3779b1, 15) * 0x85ebca77
		left, right = right, left^(f>>16&mask)
	}
	return left<<half | right
}
