package conntrack

import (
	"math/bits"

	"holdfast/dataplane/packet"
	"holdfast/internal/mutant"
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

	seenStateBits = 5 // those that the name of the state follows from

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
	Dir         [2]DirState // TCP; of SCTP Seen and MaxAck, see association.go; otherwise zero
	Class
	Offset uint32 // with Proxied: the cookie; with Spliced as well what is added to the server's numbers (proxied.go)
	Idle   uint32 // ms since the last packet, when exported
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
	if sOf, oOf := s.Flags&(Proxied|Spliced), o.Flags&(Proxied|Spliced); oOf > sOf || oOf == sOf && o.Offset > s.Offset {
		s.Offset = o.Offset // an Offset that joins two ends beats a cookie
	}
	s.Flags |= o.Flags
	for d := range s.Dir {
		s.Dir[d].merge(&o.Dir[d])
	}
	s.Idle = min(s.Idle, o.Idle)
	// One incarnation has one class, given at its birth: any order that is total will do.
	if o.Class.key() > s.Class.key() {
		s.Class = o.Class
	}
}

// merge joins two states of one direction. An End known from a FIN is exact and beats
// one that is ahead; among equals the maximum holds.
func (s *DirState) merge(o *DirState) {
	sFIN, oFIN := s.Seen&SeenFIN, o.Seen&SeenFIN
	if oFIN > sFIN || oFIN == sFIN && (o.End > s.End || mutant.MergeRollsBack) {
		s.End = o.End
	}
	s.Seen |= o.Seen
	s.Scale = max(s.Scale, o.Scale)
	s.MaxWin = max(s.MaxWin, o.MaxWin)
	s.MaxEnd = max(s.MaxEnd, o.MaxEnd)
	s.MaxAck = max(s.MaxAck, o.MaxAck)
}

// TCP returns the name of the TCP state, StateNone for other protocols.
func (s *State) TCP() TCPState {
	if s.Original.Proto != packet.TCP {
		return StateNone
	}
	return stateOf(s.Dir[Original].Seen, s.Dir[Reply].Seen)
}

// Complete reports whether the connection counts as one: from its first packet on, but of
// TCP only once both SYNs were acknowledged, so that a forged SYN counts for nothing. Like
// the sets, it never ceases while an incarnation lives.
func (s *State) Complete() bool {
	return s.Original.Proto != packet.TCP || complete(&[2]Seen{s.Dir[Original].Seen, s.Dir[Reply].Seen})
}

// complete reports whether a TCP handshake was completed, by the sets of its ends.
func complete(sets *[2]Seen) bool { return sets[Original]&sets[Reply]&SeenSYNAcked != 0 }

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
	if !c.marks.ahead(d) {
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
	marks          marks
	flags          Flags
}

// shape copies it from an entry. The caller holds the home lock.
func (c *Conn) shape() shape {
	o, r := &c.edge[Original], &c.edge[Reply]
	return shape{
		end: [2]uint64{o.position(), r.position()}, maxAck: [2]uint32{o.maxAck, r.maxAck}, maxWin: [2]uint32{o.maxWin, r.maxWin},
		sets: c.sets, marks: c.marks & exportedMarks, flags: c.flags,
	}
}

// exportedMarks are the marks that the exported form depends on.
const exportedMarks = markAhead<<Original | markAhead<<Reply

// due reports whether a packet, before which the entry had the shape from, changed its
// exported form. The caller holds the home lock.
func (c *Conn) due(from *shape) bool {
	o, r := &c.edge[Original], &c.edge[Reply]
	end := [2]uint64{o.position(), r.position()}
	if from.sets != c.sets || from.flags != c.flags || from.marks != c.marks&exportedMarks {
		return true // some edge, or a flag itself
	}
	if from.end == end && from.maxAck[0] == o.maxAck && from.maxAck[1] == r.maxAck &&
		from.maxWin[0] == o.maxWin && from.maxWin[1] == r.maxWin {
		return false // most packets that carry no data
	}
	if from.marks == 0 && rounds(&c.sets, Original) && rounds(&c.sets, Reply) &&
		exportedWindow(from.maxWin[0]) == exportedWindow(o.maxWin) && exportedWindow(from.maxWin[1]) == exportedWindow(r.maxWin) {
		// The common case, established: everything lies on a grid that has not moved.
		cell := cellOf(o.maxWin, r.maxWin)
		return (from.end[0]^end[0])>>cell|(from.end[1]^end[1])>>cell|
			(unwrap(from.end[1], from.maxAck[0])^unwrap(end[1], o.maxAck))>>cell|
			(unwrap(from.end[0], from.maxAck[1])^unwrap(end[0], r.maxAck))>>cell != 0
	}
	to := c.shape()
	var was, is [2]DirState
	from.dirs(&was)
	to.dirs(&is)
	return was != is
}

// dirs fills in the exported form of both directions, but for the scale.
func (s *shape) dirs(dirs *[2]DirState) {
	*dirs = [2]DirState{}
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
		if !s.marks.ahead(d) && rounds(&s.sets, d) {
			dir.End = (dir.End>>cell + 2) << cell
		}
		// The peer never allowed more than its window beyond what was sent.
		dir.MaxEnd = dir.End + uint64(max(exportedWindow(s.maxWin[peer]), 1<<windowMin))
	}
}

// exportedWindow rounds a window up.
func exportedWindow(w uint32) uint32 {
	if w == 0 {
		return 0
	}
	return 1 << max(bits.Len32(w-1), windowMin)
}

// export fills s with the exported form of an entry. The caller holds the home lock.
func (t *Table) export(c *Conn, index uint32, ms uint32, s *State) {
	s.Original, s.Reply = t.tupleOf(c, index, Original), t.tupleOf(c, index, Reply)
	s.Class = t.classOf(c)
	c.exportTo(s, index, ms)
}

// exportNew is export for an entry that was just made from a proposal.
func (t *Table) exportNew(c *Conn, index uint32, pr *Proposal, s *State) {
	s.Original, s.Reply, s.Class = pr.Original, pr.Reply, pr.Class
	if c.proto != packet.TCP || c.sets[Original]&^(SeenScale|SeenSACK) != SeenSYN {
		c.exportTo(s, index, c.seen)
		return
	}
	// What shape.dirs makes of a SYN that nobody has answered (TestExportOfSYN).
	s.Index, s.Incarnation, s.Flags, s.Offset, s.Idle = index, c.incarnation, c.flags, c.offset, 0
	e := &c.edge[Original]
	o, r := &s.Dir[Original], &s.Dir[Reply]
	o.Seen, o.Scale, o.MaxWin = c.sets[Original], c.scale.of(Original), exportedWindow(e.maxWin)
	o.End, o.MaxEnd, o.MaxAck = e.position(), e.position()+1<<windowMin, 0
	r.Seen, r.Scale, r.MaxWin, r.End, r.MaxEnd = 0, 0, 0, 0, 0
	r.MaxAck = unwrap(e.position(), c.edge[Reply].maxAck)
}

// exportTo fills in what the entry itself holds.
func (c *Conn) exportTo(s *State, index uint32, ms uint32) {
	s.Index, s.Incarnation, s.Flags, s.Offset, s.Idle = index, c.incarnation, c.flags, c.offset, c.idle(ms)
	switch c.proto {
	case packet.TCP:
	case packet.SCTP:
		for d := range s.Dir {
			s.Dir[d] = DirState{Seen: c.sets[d], MaxAck: uint64(c.edge[d].maxAck)}
		}
		return
	default:
		s.Dir = [2]DirState{}
		return
	}
	now := c.shape()
	now.dirs(&s.Dir)
	s.Dir[Original].Scale, s.Dir[Reply].Scale = c.scale.of(Original), c.scale.of(Reply)
}
