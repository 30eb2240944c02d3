package gateway

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"holdfast/dataplane/packet"
)

// Stick says which connections go by one gateway together.
type Stick uint8

// The kinds of stickiness. The zero value is the default.
const (
	StickSource            Stick = iota // all of one source: servers that know a client by its address keep knowing it
	StickConnection                     // each by itself: the evenest share
	StickSourceDestination              // all of one source to one destination
)

// String returns the word of the configuration.
func (s Stick) String() string {
	switch s {
	case StickSource:
		return "source"
	case StickConnection:
		return "connection"
	case StickSourceDestination:
		return "source-destination"
	}
	return fmt.Sprintf("stick-%d", uint8(s))
}

// Bounds of a group.
const (
	MembersMax = 64
	WeightMax  = 1000
)

// Member is a gateway of a group with its share.
type Member struct {
	Gateway Number
	Weight  uint32 // 1 to WeightMax
}

// Group is what connections may choose from. Make it with NewGroup.
type Group struct {
	stick Stick
	side  [2]side // by family
}

// side is a group's gateways of one family.
type side struct {
	members []Member
	total   uint64 // of all weights
}

// NewGroup makes a group of gateways of set. Errors name the member by its position,
// counted from 1.
func NewGroup(set *Set, members []Member, stick Stick) (*Group, error) {
	if len(members) == 0 || len(members) > MembersMax {
		return nil, fmt.Errorf("%d gateways in a group: it needs 1 to %d", len(members), MembersMax)
	}
	g := &Group{stick: stick}
	for i, m := range members {
		if set.Port(m.Gateway) == packet.NoPort {
			return nil, fmt.Errorf("member %d: there is no gateway %d", i+1, m.Gateway)
		}
		if m.Weight == 0 || m.Weight > WeightMax {
			return nil, fmt.Errorf("member %d: weight %d: it is 1 to %d", i+1, m.Weight, WeightMax)
		}
		s := &g.side[family(&set.all[m.Gateway-1].Addr)]
		s.members = append(s.members, m)
		s.total += uint64(m.Weight)
	}
	return g, nil
}

// Serves reports whether the group has a gateway for a destination's family.
func (g *Group) Serves(dst *packet.Addr) bool { return g.side[family(dst)].total != 0 }

// Choose returns the gateway of a connection that begins with tuple t, None where the
// group has none of its family. Where all are down it chooses as if all were up: a dead
// gateway is not worse than none, and the last one is never taken away.
func (g *Group) Choose(t *packet.Tuple, down Down) Number {
	s := &g.side[family(&t.Dst)]
	if s.total == 0 {
		return None
	}
	if len(s.members) == 1 {
		return s.members[0].Gateway
	}
	h := g.hash(t)
	first := s.at(h, 0, s.total)
	i, tried, left := first, uint64(0), s.total
	for down.Has(s.members[i].Gateway) {
		tried |= 1 << i
		if left -= uint64(s.members[i].Weight); left == 0 {
			return s.members[first].Gateway
		}
		h = again(h)
		i = s.at(h, tried, left)
	}
	return s.members[i].Gateway
}

// at returns the member in whose piece of the whole a hash falls; those in tried have no
// piece, and left is the weight of the others.
func (s *side) at(h, tried, left uint64) int {
	place, _ := bits.Mul64(h, left) // h as a fraction of 2^64, times the weight
	for i := range s.members {
		if tried>>i&1 != 0 {
			continue
		}
		w := uint64(s.members[i].Weight)
		if place < w {
			return i
		}
		place -= w
	}
	return 0 // cannot be: place is less than left
}

// hash is the xxHash64 of what sticks together.
//
//	 0         16        32      34      36    37
//	+---------+---------+-------+-------+-----+
//	| Src     | Dst     |SrcPort|DstPort|Proto|
//	+---------+---------+-------+-------+-----+
//	| source  |
//	| source-destination|
//	| connection                              |
func (g *Group) hash(t *packet.Tuple) uint64 {
	var b [37]byte
	copy(b[:16], t.Src[:])
	switch g.stick {
	case StickSource:
		return xxhash.Sum64(b[:16])
	case StickSourceDestination:
		copy(b[16:32], t.Dst[:])
		return xxhash.Sum64(b[:32])
	}
	copy(b[16:32], t.Dst[:])
	binary.BigEndian.PutUint16(b[32:], t.SrcPort)
	binary.BigEndian.PutUint16(b[34:], t.DstPort)
	b[36] = uint8(t.Proto)
	return xxhash.Sum64(b[:])
}

// again gives the next throw of a hash: the finalizer of splitmix64 (Vigna, 2015), which
// is a bijection, so nothing of the first is lost.
func again(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
