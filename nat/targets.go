package nat

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"holdfast/dataplane/packet"
)

// targets is the addresses of one family among which a translation picks. It is safe for
// concurrent use; what it picks by hash every node picks alike.
type targets struct {
	pick  Pick
	spans []span
	total uint64 // weight of all addresses together
	turn  atomic.Uint64
}

// span is addresses that follow one another, each with the same weight.
type span struct {
	first  packet.Addr
	count  uint64
	weight uint64 // of each; 1 unless weighted
}

// spanMax bounds the addresses of a target, so that sums of weights fit 64 bits.
const spanMax = 1 << 32

// add takes a target of the family in.
func (s *targets) add(t Target) error {
	if !t.Last.IsValid() {
		t.Last = t.First
	}
	first, last := packet.AddrFrom(t.First), packet.AddrFrom(t.Last)
	fh, fl := binary.BigEndian.Uint64(first[:8]), binary.BigEndian.Uint64(first[8:])
	lh, ll := binary.BigEndian.Uint64(last[:8]), binary.BigEndian.Uint64(last[8:])
	count, borrow := bits.Sub64(ll, fl, 0)
	high, under := bits.Sub64(lh, fh, borrow)
	if under != 0 || t.First.Is4() != t.Last.Is4() {
		return fmt.Errorf("target %v-%v ends before it begins", t.First, t.Last)
	}
	if high != 0 || count >= spanMax {
		return fmt.Errorf("target %v-%v has more than 2^32 addresses", t.First, t.Last)
	}
	for _, a := range [...]packet.Addr{first, last} {
		if n := a.Netip(); !n.IsGlobalUnicast() {
			return fmt.Errorf("%v cannot be a target: give a unicast address that is not link-local", n)
		}
	}
	one := span{first, count + 1, 1}
	if s.pick == Weighted {
		if one.weight = max(1, uint64(t.Weight)); one.weight > 1000 {
			return fmt.Errorf("target %v has weight %d: give 1 to 1000", t.First, t.Weight)
		}
	}
	s.spans = append(s.spans, one)
	s.total += one.count * one.weight
	return nil
}

// of picks for a connection with this tuple. There is at least one address.
func (s *targets) of(t *packet.Tuple) packet.Addr {
	if s.total == 1 {
		return s.spans[0].first
	}
	switch s.pick {
	case RoundRobin:
		return s.at((s.turn.Add(1) - 1) % s.total)
	case Random:
		return s.at(share64(mix(s.turn.Add(0x9e3779b97f4a7c15)), s.total))
	case Hash:
		return s.at(share64(hashEnds(t), s.total))
	}
	return s.at(share64(xxhash.Sum64(t.Src[:]), s.total))
}

// at returns the address that holds place n of the weights laid end to end.
func (s *targets) at(n uint64) packet.Addr {
	for i := range s.spans {
		p := &s.spans[i]
		if all := p.count * p.weight; n >= all {
			n -= all
			continue
		}
		a := p.first
		low, carry := bits.Add64(binary.BigEndian.Uint64(a[8:]), n/p.weight, 0)
		binary.BigEndian.PutUint64(a[8:], low)
		binary.BigEndian.PutUint64(a[:8], binary.BigEndian.Uint64(a[:8])+carry)
		return a
	}
	panic("nat: a place beyond the targets")
}

// share64 maps a hash to a number below n, evenly.
func share64(hash, n uint64) uint64 {
	high, _ := bits.Mul64(hash, n)
	return high
}

// hashEnds hashes both ends of a tuple, the same on every node.
func hashEnds(t *packet.Tuple) uint64 {
	var b [36]byte
	copy(b[:], t.Src[:])
	copy(b[16:], t.Dst[:])
	binary.BigEndian.PutUint16(b[32:], t.SrcPort)
	binary.BigEndian.PutUint16(b[34:], t.DstPort)
	return xxhash.Sum64(b[:])
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
