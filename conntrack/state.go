package conntrack

import (
	"math/bits"

	"holdfast/dataplane/packet"
)

// Seen is the set of what a direction of a TCP connection has done. It only grows while
// an incarnation lives; the name of the connection's state follows from the two sets.
type Seen uint8

// The elements of a Seen. "Acknowledged" means by the peer.
const (
	SeenSYN      Seen = 1 << iota // sent a SYN, with or without ACK
	SeenSYNAcked                  // its SYN was acknowledged
	SeenFIN                       // sent a FIN
	SeenFINAcked                  // its FIN was acknowledged
	SeenRST                       // sent a reset that the peer believes
	SeenScale                     // its SYN offered window scaling
	SeenSACK                      // its SYN permitted selective acknowledgement

	seenKnown = SeenSYN | SeenSYNAcked | SeenFIN | SeenFINAcked | SeenRST | SeenScale | SeenSACK
)

// DirState is the exported form of one direction.
//
// Positions are sequence numbers that do not wrap: the low 32 bits are the number on the
// wire, and the high word counts its wraps, starting at 1 with the incarnation's first
// packet of that direction. Zero is "not known".
//
//	first SYN has seq 0xfffffff0, and 32 bytes follow:  End = 0x0000_0002_0000_0011
type DirState struct {
	Seen   Seen
	Scale  uint8  // with SeenScale; at most 14
	MaxWin uint32 // rounded up to a power of two, at least 64 KiB
	End    uint64 // exact before the handshake is complete and from FIN on, otherwise ahead
	MaxEnd uint64 // ahead, as End is
	MaxAck uint64 // in the peer's numbers; behind
}

// State is the exported form of a connection: what is replicated and what two nodes
// compare. It is a join (Merge): states of one connection, merged in any order and any
// number of times, give the same.
//
// In an established connection edges are exported on a grid, End one to two cells ahead
// of the wire and MaxAck up to one behind it, so that a state stays true while the
// connection moves on. The cell is 1 MiB or the largest window, whichever is larger,
// rounded up to a power of two:
//
//	     cell n-1          cell n           cell n+1         cell n+2
//	------------------|--------*-------|----------------|----------------
//	                  ^        ^                        ^
//	     exported MaxAck       the wire                 exported End
//
// Every exported value is a function of the entry alone, so an update is due exactly when
// a packet changes one of them, and nothing need be kept about what was exported.
type State struct {
	Index       uint32 // the sender's index: names the connection on the sender's streams; not part of the join
	Incarnation Incarnation
	Original    packet.Tuple
	Reply       packet.Tuple
	Flags       Flags
	Dir         [2]DirState // TCP only, otherwise zero
	Rule        uint32
	Ingress     packet.PortID
	Egress      packet.PortID
	Sync        SyncMode
	Idle        uint32 // ms since the last packet, when exported
}

// Merge makes s the join of s and o, which must be states of one connection, that is
// have one original tuple. A greater incarnation wins as a whole; within one, sets unite
// and edges take the maximum. It is commutative, associative and idempotent, but for
// Index, which stays the receiver's.
func (s *State) Merge(o *State) {
	switch {
	case s.Incarnation > o.Incarnation:
		return
	case s.Incarnation < o.Incarnation:
		index := s.Index
		*s = *o
		s.Index = index
		return
	}
	s.Flags |= o.Flags
	for d := range s.Dir {
		s.Dir[d].merge(&o.Dir[d])
	}
	s.Idle = min(s.Idle, o.Idle)
	// One incarnation has one rule, one pair of ports and one mode, given at its birth.
	s.Rule = max(s.Rule, o.Rule)
	s.Ingress, s.Egress = max(s.Ingress, o.Ingress), max(s.Egress, o.Egress)
	s.Sync = max(s.Sync, o.Sync)
}

// merge joins two states of one direction. An End known from a FIN is exact and beats
// one that is ahead; among equals the maximum holds.
func (s *DirState) merge(o *DirState) {
	sFIN, oFIN := s.Seen&SeenFIN, o.Seen&SeenFIN
	if oFIN > sFIN || oFIN == sFIN && o.End > s.End {
		s.End = o.End
	}
	s.Seen |= o.Seen
	s.Scale = max(s.Scale, o.Scale)
	s.MaxWin = max(s.MaxWin, o.MaxWin)
	s.MaxEnd = max(s.MaxEnd, o.MaxEnd)
	s.MaxAck = max(s.MaxAck, o.MaxAck)
}

// TCP returns the name of the TCP state, StateNone for other protocols.
func (s *State) TCP() TCPState { return stateOf(s.Dir[Original].Seen, s.Dir[Reply].Seen) }

// Limits of the grid, as powers of two. Above 256 MiB a cell would leave no room in
// comparisons modulo 2^32: slack (two cells) and a window of 1 GiB stay below 2^31.
const (
	cellMin   = 20
	cellMax   = 28
	windowMin = 16 // exported windows start at 64 KiB, so that slow start exports nothing
)

// cellOf returns the exponent of the grid for two windows.
func cellOf(a, b uint32) uint8 {
	return uint8(min(max(bits.Len32(max(a, b, 1)-1), cellMin), cellMax))
}

// slack returns how far edges of a direction may be from the wire because they were
// imported: two cells, or nothing.
func (c *Conn) slack(d Direction) uint32 {
	if !c.ahead.has(d) {
		return 0
	}
	return 2 << cellOf(c.edge[Original].maxWin, c.edge[Reply].maxWin)
}

// opened reports whether both ends have completed the handshake.
func opened(original, reply Seen) bool { return original&reply&SeenSYNAcked != 0 }

// rounds reports whether End of direction d is exported ahead.
func rounds(sets *[2]Seen, d Direction) bool {
	return opened(sets[Original], sets[Reply]) && sets[d]&SeenFIN == 0
}

// unwrap returns the position of the sequence number n that is nearest to near.
func unwrap(near uint64, n uint32) uint64 {
	return near + uint64(int64(int32(n-uint32(near))))
}

// shape is what of an entry determines its exported form and can be changed by a packet.
type shape struct {
	end            [2]uint64
	maxAck, maxWin [2]uint32
	sets           [2]Seen
	ahead          directions
	flags          Flags
}

// shape copies it from an entry. The caller holds the home lock.
func (c *Conn) shape() shape {
	o, r := &c.edge[Original], &c.edge[Reply]
	return shape{
		end: [2]uint64{o.end, r.end}, maxAck: [2]uint32{o.maxAck, r.maxAck}, maxWin: [2]uint32{o.maxWin, r.maxWin},
		sets: c.sets, ahead: c.ahead, flags: c.flags,
	}
}

// same reports whether two shapes are equal.
func (s *shape) same(o *shape) bool {
	return s.end == o.end && s.maxAck == o.maxAck && s.maxWin == o.maxWin &&
		s.sets == o.sets && s.ahead == o.ahead && s.flags == o.flags
}

// due reports whether a packet that changed an entry from one shape to another changed
// its exported form.
func due(from, to *shape) bool {
	if from.same(to) {
		return false // most packets that carry no data
	}
	return from.flags != to.flags || from.dirs() != to.dirs()
}

// dirs returns the exported form of both directions, but for the scale.
func (s *shape) dirs() (dirs [2]DirState) {
	cell := cellOf(s.maxWin[Original], s.maxWin[Reply])
	open := opened(s.sets[Original], s.sets[Reply])
	for d := Original; d <= Reply; d++ {
		dir, peer := &dirs[d], d^1
		dir.Seen = s.sets[d]
		if s.maxWin[peer] != 0 {
			dir.MaxAck = unwrap(s.end[peer], s.maxAck[d])
			if open {
				dir.MaxAck = dir.MaxAck >> cell << cell
			}
		}
		if s.maxWin[d] == 0 {
			continue
		}
		dir.MaxWin = exportedWindow(s.maxWin[d])
		dir.End = s.end[d]
		if !s.ahead.has(d) && rounds(&s.sets, d) {
			dir.End = (dir.End>>cell + 2) << cell
		}
		// The peer never allowed more than its window beyond what was sent.
		dir.MaxEnd = dir.End + uint64(max(exportedWindow(s.maxWin[peer]), 1<<windowMin))
	}
	return dirs
}

// exportedWindow rounds a window up.
func exportedWindow(w uint32) uint32 {
	if w == 0 {
		return 0
	}
	return 1 << max(bits.Len32(w-1), windowMin)
}

// export fills s with the exported form of an entry. The caller holds the home lock.
func (c *Conn) export(s *State, index uint32, ms uint32) {
	*s = State{
		Index: index, Incarnation: c.incarnation, Original: c.tuple[Original], Reply: c.tuple[Reply],
		Flags: c.flags, Rule: c.rule, Ingress: c.port[Original], Egress: c.port[Reply], Sync: c.sync,
		Idle: c.idle(ms),
	}
	if c.proto() == packet.TCP {
		now := c.shape()
		s.Dir = now.dirs()
		s.Dir[Original].Scale, s.Dir[Reply].Scale = c.scale[Original], c.scale[Reply]
	}
}
