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
type Flags uint8

// The flags. SourceNAT and DestinationNAT follow from the two tuples.
const (
	Replied        Flags = 1 << iota // a valid packet of the reply direction was seen
	Assured                          // both ends talk: evicted last, and the longer timeouts hold
	SourceNAT                        // replies go to another address, port or identifier than the first packet's source
	DestinationNAT                   // replies come from another address or port than the first packet's destination
	PickedUp                         // begun in mid-stream: what its SYNs offered is not known (section F)
	Proxied                          // its client was answered by the firewall, with a cookie (B16, see proxied.go)
	Spliced                          // of a proxied one: its server has answered too, and Offset joins the two

	flagsKnown = Replied | Assured | SourceNAT | DestinationNAT | PickedUp | Proxied | Spliced

	bothNAT = SourceNAT | DestinationNAT
)

// String returns the names of the set flags with a plus between.
func (f Flags) String() string {
	var names []string
	for i, name := range []string{"replied", "assured", "snat", "dnat", "picked-up", "proxied", "spliced"} {
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

// Conn is one connection as it lies in the table: 128 bytes, two cache lines, without
// pointers. Everything but link is guarded by the home lock: that of the shard of the
// original tuple. The tuples are packed, see tupleOf.
//
//	0     4     8            16                        32          40   42 43
//	+-----+-----+------------+-------------------------+-----------+----+--+--+
//	|link |seen |incarnation | addrs                   | ports     |zone|pr|fl|
//	+-----+-----+------------+--+--------+------+------+-----+-----+----+--+--+
//	|marks, scale, sets, class  | memo   | born |offset|   the first line: 64 bytes
//	+---------------------------+--------+------+------+
//	| edge[Original]                    | edge[Reply]                         |
//	+-----------------------------------+-------------------------------------+
//	64                                  96                                    128
type Conn struct {
	// link says where the entry is: 0 not in the table; linkLive | home shard while it
	// is; otherwise the index + 1 of the next free entry. It is written under the home
	// lock where it becomes or ceases to be live, and read by anybody.
	link        atomic.Uint32
	seen        uint32 // when a packet last refreshed it; ms, wraps after 49 days
	incarnation Incarnation

	// The two tuples; they never change while the entry is live.
	addrs [2]uint64 // IPv4: source and destination of each direction. IPv6: the source of the original direction
	ports [2]uint32 // of each direction: source | destination<<16
	zone  uint16
	proto packet.Proto

	flags Flags
	marks marks
	scale scales
	sets  [2]Seen
	class classID

	memoWindow uint8 // see memo
	memoIs     uint8
	memoPos    uint32

	born uint32 // when this node first knew of it; s
	// offset, of a proxied connection, is the cookie, the first number of the server that its
	// client knows; once it is spliced, what is added to the server's numbers on their way
	// to the client.
	offset uint32

	edge [2]edge
}

const linkLive = 1 << 31

// marks is what a node knows of a connection for itself: it is not exported.
//
//	 7     6   5     4     3       2   1       0
//	+-------+-------+-----+-----------+-----------+
//	| 0     | doomed| six | wait      | ahead     |
//	+-------+-------+-----+-----------+-----------+
type marks uint8

const (
	markAhead marks = 1 << 0 // << direction: its edge.end was imported and may lie beyond the wire (F5)
	markWait  marks = 3 << 2
	markSix   marks = 1 << 4 // the addresses are IPv6, the most of them in Table.six

	markDoomed marks = 1 << 5 // a kill has ended it by itself, and that kill's Reap takes it away

	waitShift = 2
)

// ahead reports whether the furthest byte of a direction was imported.
func (m marks) ahead(d Direction) bool { return m>>d&markAhead != 0 }

// wait is what an established connection waits for, which makes it expire sooner.
type wait uint8

const (
	waitNothing wait = iota
	waitAck          // for the acknowledgement of data
	waitWindow       // for the window to open
	waitVerdict      // for what the receiver of an inexact reset says to it
)

func (c *Conn) wait() wait { return wait(c.marks & markWait >> waitShift) }

func (c *Conn) setWait(w wait) { c.marks = c.marks&^markWait | marks(w)<<waitShift }

func (c *Conn) setAhead(d Direction)   { c.marks |= markAhead << d }
func (c *Conn) clearAhead(d Direction) { c.marks &^= markAhead << d }

// scales is the window scale that each direction offered, four bits each. It counts if
// both offered one.
type scales uint8

func (s scales) of(d Direction) uint8 { return uint8(s) >> (4 * d & 4) & 0xf }

func (c *Conn) setScale(d Direction, to uint8) {
	c.scale = c.scale&^(0xf<<(4*d&4)) | scales(to&0xf)<<(4*d&4)
}

// edge is what is known of one direction of a TCP connection, and the direction's
// counters, which every protocol has. Names as in nf_conntrack_proto_tcp.c, without td_.
//
// Positions and bytes have 56 bits (64 PiB, 66 days at 100 Gbit/s), packets 48: the high
// bytes of the first two words are the high bits of the packet count.
type edge struct {
	end     uint64 // 56 bits: furthest byte sent + 1, as a position (see DirState); 8: packets>>32
	bytes   uint64 // 56 bits: IP bytes forwarded; 8: packets>>40
	maxEnd  uint32 // end may grow to here: the peer allowed it
	maxAck  uint32 // highest acknowledgement sent, in the peer's numbers; its first sequence number if none
	maxWin  uint32 // largest window advertised, scaled; 0 until this direction was seen
	packets uint32 // forwarded, low half
}

const mask56 = 1<<56 - 1

// position returns the furthest byte sent + 1; its low 32 bits are uint32(e.end).
func (e *edge) position() uint64 { return e.end & mask56 }

// setPosition sets it.
func (e *edge) setPosition(p uint64) { e.end = e.end&^mask56 | p&mask56 }

// advance moves it to the sequence number n, which lies ahead of it.
func (e *edge) advance(n uint32) { e.end += uint64(n - uint32(e.end)) }

// count accounts for a forwarded packet.
func (e *edge) count(bytes int) {
	e.bytes += uint64(bytes)
	e.packets++
	if e.packets == 0 {
		e.carry()
	}
}

// carry counts on where the low half of the packets has overflowed.
func (e *edge) carry() {
	e.end += 1 << 56
	if e.end>>56 == 0 {
		e.bytes += 1 << 56
	}
}

// uncount takes a packet back that was counted last, or not long ago.
func (e *edge) uncount(bytes int) {
	e.bytes -= uint64(bytes)
	if e.packets == 0 {
		if e.end>>56 == 0 {
			e.bytes -= 1 << 56
		}
		e.end -= 1 << 56
	}
	e.packets--
}

// traffic returns how many packets were forwarded, and their bytes.
func (e *edge) traffic() (packets, bytes uint64) {
	return e.bytes>>56<<40 | e.end>>56<<32 | uint64(e.packets), e.bytes & mask56
}

// forget drops the positions, and keeps the counters.
func (e *edge) forget() {
	e.end &^= mask56
	e.maxEnd, e.maxAck, e.maxWin = 0, 0, 0
}

// memo is a packet that was let through although it does not fit the connection: the
// firewall may be the one that is wrong. At most one is kept, packed into six bytes.
type memo struct {
	pos    uint32 // memoSYN: the sequence number after it; memoChallenge: what it acknowledges
	window uint16 // memoSYN; kept rounded up to a multiple of 256
	kind   memoKind
	offer  Seen  // memoSYN: SeenScale and SeenSACK where it offered them
	scale  uint8 // with SeenScale
}

// memoKind says what a memo remembers.
type memoKind uint8

const (
	memoNone      memoKind = iota
	memoSYN                // from the original side, into a live connection or below its first
	memoChallenge          // an ACK from the reply side before any SYN/ACK (RFC 5961 section 4)
)

// Conn.memoIs: 7,6 kind; 5 SeenSACK; 4 SeenScale; 3 to 0 the scale.
const (
	memoIsSACK  = 1 << 5
	memoIsScale = 1 << 4
)

// remember keeps a memo in place of the one before.
func (c *Conn) remember(m memo) {
	c.memoPos = m.pos
	c.memoWindow = uint8(min((uint32(m.window)+255)>>8, 255))
	c.memoIs = uint8(m.kind)<<6 | m.scale&0xf
	if m.offer&SeenSACK != 0 {
		c.memoIs |= memoIsSACK
	}
	if m.offer&SeenScale != 0 {
		c.memoIs |= memoIsScale
	}
}

// remembers reports whether the memo is of a kind and has this position.
func (c *Conn) remembers(k memoKind, pos uint32) bool {
	return memoKind(c.memoIs>>6) == k && c.memoPos == pos
}

// memo returns what is remembered.
func (c *Conn) memo() memo {
	m := memo{pos: c.memoPos, kind: memoKind(c.memoIs >> 6), scale: c.memoIs & 0xf, window: uint16(c.memoWindow) << 8}
	if c.memoWindow == 255 {
		m.window = 65535
	}
	if c.memoIs&memoIsSACK != 0 {
		m.offer |= SeenSACK
	}
	if c.memoIs&memoIsScale != 0 {
		m.offer |= SeenScale
	}
	return m
}

// tcp returns the state of a TCP connection.
func (c *Conn) tcp() TCPState { return stateOf(c.sets[Original], c.sets[Reply]) }

// tcpState is tcp, and StateNone for other protocols.
func (c *Conn) tcpState() TCPState {
	if c.proto != packet.TCP {
		return StateNone
	}
	return c.tcp()
}

// timer returns what the connection waits for, and by that how long.
func (c *Conn) timer() Timer {
	t := c.steadyTimer()
	if w := c.wait(); w != waitNothing && t == TimerEstablished {
		return TimerUnacknowledged + Timer(w-waitAck)
	}
	return t
}

// steadyTimer returns the timer that follows from the exported form alone: the one that
// a peer's copy runs on.
func (c *Conn) steadyTimer() Timer {
	switch c.proto {
	case packet.TCP:
	case packet.SCTP:
		return sctpTimerOf[c.sctpState()]
	default:
		return pseudoTimer(c.proto, c.flags)
	}
	if t := timerOf[c.tcp()]; t != TimerEstablished || c.flags&Replied != 0 {
		return t
	}
	return TimerUnacknowledged // picked up, and nobody has answered yet (F1)
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
func (t *Table) periodOver(c *Conn, key classKey, ms uint32) bool {
	if ms == c.seen {
		return false
	}
	return (ms^c.seen)>>t.regimes.period(key.timeouts(), c.flags, c.steadyTimer()) != 0
}

// clear empties an entry that nobody else can see, except its link.
func (c *Conn) clear() {
	c.seen, c.incarnation, c.born, c.offset = 0, 0, 0, 0
	c.addrs, c.ports, c.zone, c.proto = [2]uint64{}, [2]uint32{}, 0, 0
	c.flags, c.marks, c.class = 0, 0, 0
	c.scale, c.sets = 0, [2]Seen{}
	c.memoPos, c.memoWindow, c.memoIs = 0, 0, 0
	c.edge = [2]edge{}
}

// forget drops what belongs to one life of the connection: everything but the tuples,
// what the rules said, and the counters.
func (c *Conn) forget() {
	c.flags &= bothNAT
	c.marks &= markSix
	c.scale, c.sets = 0, [2]Seen{}
	c.memoPos, c.memoWindow, c.memoIs = 0, 0, 0
	c.offset = 0
	for d := range c.edge {
		c.edge[d].forget()
	}
}

// natFlags returns which ends a pair of tuples translates, and whether the pair is
// possible at all: one protocol, zone and family, and two different tuples.
func natFlags(original, reply *packet.Tuple) (f Flags, possible bool) {
	srcPort, dstPort := original.ReplyPorts()
	v4 := original.Src.Is4()
	if sameTuple(original, reply) || reply.Proto != original.Proto || reply.Zone != original.Zone ||
		original.Dst.Is4() != v4 || reply.Src.Is4() != v4 || reply.Dst.Is4() != v4 {
		return 0, false
	}
	if reply.Src != original.Dst {
		f |= DestinationNAT
	}
	if reply.Dst != original.Src {
		f |= SourceNAT
	}
	if original.Proto == packet.ICMP || original.Proto == packet.ICMPv6 {
		// The identifier is the sender's port in both directions; the type is not
		// translated.
		if reply.SrcPort != srcPort {
			f |= SourceNAT
		}
		return f, reply.DstPort == dstPort
	}
	if reply.SrcPort != srcPort {
		f |= DestinationNAT
	}
	if reply.DstPort != dstPort {
		f |= SourceNAT
	}
	return f, true
}
