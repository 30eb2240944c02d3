package conntrack

import (
	"fmt"
	"strings"
	"sync/atomic"

	"holdfast/dataplane/packet"
)

// Direction says which of a connection's two tuples a packet has.
type Direction uint8

// The directions. Original is the way the first packet went.
const (
	Original Direction = iota
	Reply
)

// String returns "original" or "reply".
func (d Direction) String() string {
	if d == Original {
		return "original"
	}
	return "reply"
}

// Incarnation names one life of a connection, on all nodes and for all time: a counter,
// and below it the node that began this life. Numeric order is the order of the join:
// a node counts on from the highest counter that it has heard of (Lamport), so a new
// life of the same tuple is always greater than the last.
//
//	 63                                    16 15                0
//	+----------------------------------------+-------------------+
//	| counter                                | node              |
//	+----------------------------------------+-------------------+
type Incarnation uint64

// Node returns the node that began this life.
func (i Incarnation) Node() uint16 { return uint16(i) }

// String returns the 16 digits by which people name a connection.
func (i Incarnation) String() string { return fmt.Sprintf("%016x", uint64(i)) }

// Flags is a set that only grows while an incarnation lives.
type Flags uint16

// The flags. SourceNAT and DestinationNAT follow from the two tuples.
const (
	Replied        Flags = 1 << iota // a valid packet of the reply direction was seen
	Assured                          // both ends talk: evicted last, and the longer timeouts hold
	SourceNAT                        // replies go to another address, port or identifier than the first packet's source
	DestinationNAT                   // replies come from another address or port than the first packet's destination

	flagsKnown = Replied | Assured | SourceNAT | DestinationNAT
)

// String returns the names of the set flags with a plus between.
func (f Flags) String() string {
	var names []string
	for i, name := range []string{"replied", "assured", "snat", "dnat"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "+")
}

// SyncMode says how durable a connection is across a failover.
type SyncMode uint8

// The modes of the rules' `sync` key.
const (
	SyncAsync SyncMode = iota // replicated while the packet goes on
	SyncDefer                 // the first packet waits for a peer's acknowledgement, bounded
	SyncNone                  // not replicated
	syncModes
)

// String returns the word of the configuration.
func (m SyncMode) String() string {
	switch m {
	case SyncAsync:
		return "async"
	case SyncDefer:
		return "defer"
	case SyncNone:
		return "none"
	}
	return fmt.Sprintf("sync-%d", uint8(m))
}

// Conn is one connection as it lies in the table: 192 bytes, three cache lines, without
// pointers. Everything but link is guarded by the home lock: that of the shard of
// tuple[Original].
//
//	 0     4     8            16                       56                       96
//	+-----+-----+------------+------------------------+------------------------+
//	|link |seen |incarnation | tuple[Original]        | tuple[Reply]           |
//	+-----+-----+------------+--+---------------------+--+---------------------+
//	| edge[Original]            | edge[Reply]            | rule, born, memo, ... |
//	+---------------------------+------------------------+-----------------------+
//	96                          128                      160                    192
type Conn struct {
	// link says where the entry is: 0 not in the table; linkLive | home shard while it
	// is; otherwise the index + 1 of the next free entry. It is written under the home
	// lock where it becomes or ceases to be live, and read by anybody.
	link        atomic.Uint32
	seen        uint32 // when a packet last refreshed it; ms, wraps after 49 days
	incarnation Incarnation
	tuple       [2]packet.Tuple // never change while live
	edge        [2]edge

	rule  uint32
	born  uint32 // when this node first knew of it; s
	memo  memo   // TCP: a packet let through that may turn out to be the truth
	flags Flags

	// What is small of the two directions; beside edge, so as to leave no hole.
	packetsHigh [2]uint16
	sets        [2]Seen
	scale       [2]uint8         // window scale as offered; counts if both offered one
	port        [2]packet.PortID // where packets of this direction come in
	ahead       directions       // whose edge.end was imported and may lie beyond the wire (F5)

	state TCPState // follows from sets; StateNone where not TCP
	timer Timer
	sync  SyncMode
}

const linkLive = 1 << 31

// directions is a set of them, a bit for each.
type directions uint8

func (s directions) has(d Direction) bool           { return s>>d&1 != 0 }
func (s directions) with(d Direction) directions    { return s | 1<<d }
func (s directions) without(d Direction) directions { return s &^ (1 << d) }

// edge is what is known of one direction of a TCP connection, and the direction's
// counters, which every protocol has. Names as in nf_conntrack_proto_tcp.c, without td_.
type edge struct {
	end     uint64 // furthest byte sent + 1, as a position; see DirState
	bytes   uint64 // IP bytes forwarded
	maxEnd  uint32 // end may grow to here: the peer allowed it
	maxAck  uint32 // highest acknowledgement sent, in the peer's numbers; its first sequence number if none
	maxWin  uint32 // largest window advertised, scaled; 0 until this direction was seen
	packets uint32 // forwarded, low half
}

// advance moves the furthest byte to the sequence number n, which lies ahead of it.
func (e *edge) advance(n uint32) { e.end += uint64(n - uint32(e.end)) }

// memo is a packet that was let through although it does not fit the connection: the
// firewall may be the one that is wrong. At most one is kept.
type memo struct {
	pos    uint32 // memoSYN: the sequence number after it; memoChallenge: what it acknowledges
	window uint16 // memoSYN
	kind   memoKind
	offer  uint8 // memoSYN: its window scale, with SeenScale and SeenSACK where it offered them
}

// memoKind says what a memo remembers.
type memoKind uint8

const (
	memoNone      memoKind = iota
	memoSYN                // from the original side, into a live connection or below its first
	memoChallenge          // an ACK from the reply side before any SYN/ACK (RFC 5961 section 4)
)

// proto returns the protocol of the connection.
func (c *Conn) proto() packet.Proto { return c.tuple[Original].Proto }

// count accounts for a forwarded packet.
func (c *Conn) count(dir Direction, bytes int) {
	e := &c.edge[dir]
	e.bytes += uint64(bytes)
	e.packets++
	if e.packets == 0 {
		c.packetsHigh[dir]++
	}
}

// packets returns how many packets of a direction were forwarded: 48 bits.
func (c *Conn) packets(dir Direction) uint64 {
	return uint64(c.packetsHigh[dir])<<32 | uint64(c.edge[dir].packets)
}

// idle returns how long ago, in ms, a packet refreshed the connection. A stamp from a
// worker whose batch began later counts as now.
func (c *Conn) idle(ms uint32) uint32 { return uint32(max(0, int32(ms-c.seen))) }

// stamp refreshes the connection.
func (c *Conn) stamp(ms uint32) {
	if int32(ms-c.seen) > 0 {
		c.seen = ms
	}
}

// periodOver reports whether a refresh at ms begins a new export period: so that a peer
// hears of a connection that is alive but does not change at least every third of its
// timeout. Periods are cells of a grid, a power of two long, so no second stamp is kept:
// for 30 s the cell is 8.192 s, and a packet at 16.3 s after one at 8.3 s is not due,
// one at 16.4 s is.
func (c *Conn) periodOver(ms uint32, l *limits) bool {
	return (ms^c.seen)>>l.period[translated(c.flags)][c.steadyTimer()] != 0
}

// steadyTimer returns the timer that follows from the exported form alone: the one that
// a peer's copy runs on.
func (c *Conn) steadyTimer() Timer {
	if c.proto() != packet.TCP {
		return pseudoTimer(c.proto(), c.flags)
	}
	return timerOf[c.state]
}

// clear empties an entry that nobody else can see, except its link.
func (c *Conn) clear() {
	c.seen, c.incarnation, c.rule, c.born = 0, 0, 0, 0
	c.tuple, c.edge = [2]packet.Tuple{}, [2]edge{}
	c.packetsHigh, c.port = [2]uint16{}, [2]packet.PortID{}
	c.sync = SyncAsync
	c.flags = 0
	c.forget()
}

// forget drops what belongs to one life of the connection: everything but the tuples,
// what the rules said, and the counters.
func (c *Conn) forget() {
	c.flags &= SourceNAT | DestinationNAT
	for d := range c.edge {
		e := &c.edge[d]
		e.end, e.maxEnd, e.maxAck, e.maxWin = 0, 0, 0, 0
	}
	c.sets, c.scale, c.ahead = [2]Seen{}, [2]uint8{}, 0
	c.memo = memo{}
	c.state, c.timer = StateNone, TimerNone
}

// natFlags returns which ends a pair of tuples translates, and whether the pair is
// possible at all: one protocol, zone and family, and two different tuples.
func natFlags(original, reply *packet.Tuple) (f Flags, possible bool) {
	plain := original.Reply()
	v4 := original.Src.Is4()
	if *original == *reply || reply.Proto != original.Proto || reply.Zone != original.Zone ||
		original.Dst.Is4() != v4 || reply.Src.Is4() != v4 || reply.Dst.Is4() != v4 {
		return 0, false
	}
	if reply.Src != plain.Src {
		f |= DestinationNAT
	}
	if reply.Dst != plain.Dst {
		f |= SourceNAT
	}
	if original.Proto == packet.ICMP || original.Proto == packet.ICMPv6 {
		// The identifier is the sender's port in both directions; the type is not
		// translated.
		if reply.SrcPort != plain.SrcPort {
			f |= SourceNAT
		}
		return f, reply.DstPort == plain.DstPort
	}
	if reply.SrcPort != plain.SrcPort {
		f |= DestinationNAT
	}
	if reply.DstPort != plain.DstPort {
		f |= SourceNAT
	}
	return f, true
}
