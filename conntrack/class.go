package conntrack

import (
	"fmt"
	"sync/atomic"

	"holdfast/dataplane/packet"
)

// Mode says how strictly a TCP connection is tracked: the rules' `mode` key.
type Mode uint8

// The modes.
const (
	ModeStrict  Mode = iota // the window test decides
	ModeLiberal             // out of the window passes without refresh; only resets must prove themselves (nf_conntrack_tcp_be_liberal)
	ModeSloppy              // states only, no sequence numbers: for asymmetric routing (pf's `sloppy`)
	modes
)

// String returns the word of the configuration.
func (m Mode) String() string {
	switch m {
	case ModeStrict:
		return "strict"
	case ModeLiberal:
		return "liberal"
	case ModeSloppy:
		return "sloppy"
	}
	return fmt.Sprintf("mode-%d", uint8(m))
}

// GatewaysMax is how many gateways a table can tell apart; 0 is none.
const GatewaysMax = 127

// Class is what a connection has from the rule that admitted it and the way that it took,
// and shares with many others. A connection carries the number of its class, and a whole
// class is killed by one store (Table.Kill).
type Class struct {
	Rule     uint32 // the rule that admitted it, by its number on every node
	Ingress  packet.PortID
	Egress   packet.PortID
	Gateway  uint8 // at most GatewaysMax; 0 where there is none
	Sync     SyncMode
	Mode     Mode
	Timeouts uint8 // number of the set of timeouts, below TimeoutSetsMax
	PickUp   bool  // begun in mid-stream, or allowed to
	Logged   bool  // each of its packets goes into the log
}

// classKey is a Class in one word, never zero.
//
//	 63  62    59 58   57 56  55 54    53 52     46 45    39 38     32 31         0
//	+---+--------+-----+-----+------+-----+---------+--------+---------+------------+
//	| 1 |timeouts| log |pick |mode  |sync | gateway | egress | ingress | rule       |
//	+---+--------+-----+-----+------+-----+---------+--------+---------+------------+
type classKey uint64

// classLogged is the bit of Class.Logged.
const classLogged classKey = 1 << 58

func (c *Class) key() classKey {
	k := classKey(1)<<63 | classKey(c.Rule) | classKey(c.Ingress&0x7f)<<32 | classKey(c.Egress&0x7f)<<39 |
		classKey(c.Gateway&0x7f)<<46 | classKey(c.Sync&3)<<53 | classKey(c.Mode&3)<<55 | classKey(c.Timeouts&0xf)<<59
	if c.PickUp {
		k |= 1 << 57
	}
	if c.Logged {
		k |= classLogged
	}
	return k
}

func (k classKey) port(shift uint) packet.PortID {
	if p := packet.PortID(k >> shift & 0x7f); p != packet.NoPort&0x7f {
		return p
	}
	return packet.NoPort
}

// strays reports whether a packet of a direction came in by another port than the one that
// such packets come in by: Ingress for the original direction, Egress for the reply.
func (k classKey) strays(dir Direction, in packet.PortID) bool {
	return uint8(k>>(32+7*(dir&1)))&0x7f != uint8(in)&0x7f
}

func (k classKey) mode() Mode      { return Mode(k >> 55 & 3) }
func (k classKey) sync() SyncMode  { return SyncMode(k >> 53 & 3) }
func (k classKey) timeouts() uint8 { return uint8(k >> 59 & 0xf) }

// class returns what the key was made from.
func (k classKey) class() Class {
	return Class{
		Rule: uint32(k), Ingress: k.port(32), Egress: k.port(39), Gateway: uint8(k >> 46 & 0x7f),
		Sync: k.sync(), Mode: k.mode(), Timeouts: k.timeouts(), PickUp: k>>57&1 != 0, Logged: k&classLogged != 0,
	}
}

// valid reports whether the class fits its key.
func (c *Class) valid() bool {
	return validPort(c.Ingress) && validPort(c.Egress) && c.Gateway <= GatewaysMax && c.Sync < syncModes &&
		c.Mode < modes && c.Timeouts < TimeoutSetsMax
}

// classID numbers a class within one table.
type classID uint16

// classesMax is how many classes there can be at once: combinations of rule, ports and
// gateway that have connections.
const classesMax = 1 << 16

// classProbes is how far a class may lie from where its key says. With half of all places
// taken a chain of that length has a chance of 2^-32.
const classProbes = 32

// class is one place of the table of classes. Every packet reads it, so what every insert
// writes is elsewhere (tally).
type class struct {
	key    atomic.Uint64 // classKey; 0: free
	killed atomic.Uint64 // Incarnations up to this one are dead
}

// tally counts the connections of one class.
type tally struct {
	live   atomic.Int64  // in the table, the dead among them until they are reaped
	reaped atomic.Uint64 // those that a kill of the class has ended and that have left
}

// tallyTaken is added to live while a place changes its class: too large to be a count.
const tallyTaken = -1 << 40

// joinClass counts a new connection of a class and returns the class's number. ok is
// false where all places are taken.
func (t *Table) joinClass(c *Class) (id classID, ok bool) {
	key := c.key()
	start := fold(uint64(key), 0x9e3779b97f4a7c15)
	for again := range 2 {
		for i := range uint64(classProbes) {
			id = classID(start + i)
			place := &t.classes.all[id]
			k := classKey(place.key.Load())
			if k == 0 && place.key.CompareAndSwap(0, uint64(key)) {
				t.enterClass(id, key)
				k = key
			} else if k == 0 {
				k = classKey(place.key.Load())
			}
			if k == key && t.countIn(id, key) {
				return id, true
			}
			if again == 1 && t.takeOver(id, k, key) {
				return id, true
			}
		}
	}
	return 0, false
}

// countIn counts a connection, unless the place is being given to another class.
func (t *Table) countIn(id classID, key classKey) bool {
	if t.tallies.all[id].live.Add(1) > 0 && classKey(t.classes.all[id].key.Load()) == key {
		return true
	}
	t.tallies.all[id].live.Add(-1)
	return false
}

// takeOver gives the place of a class without connections to another class, and counts
// the first one.
func (t *Table) takeOver(id classID, from, to classKey) bool {
	live := &t.tallies.all[id].live
	if !live.CompareAndSwap(0, tallyTaken) {
		return false
	}
	place := &t.classes.all[id]
	taken := place.key.CompareAndSwap(uint64(from), uint64(to))
	if taken {
		place.killed.Store(0)
		t.enterClass(id, to)
		live.Add(1)
	}
	live.Add(-tallyTaken)
	return taken
}

// leaveClass counts connections out, of which so many have fallen to a kill of the class.
func (t *Table) leaveClass(id classID, n, fallen int64) {
	tally := &t.tallies.all[id]
	if fallen > 0 {
		tally.reaped.Add(uint64(fallen))
	}
	tally.live.Add(-n)
}

// enterClass makes a new class heed the kills that came before it: a connection that a
// peer tells of may have begun before them.
func (t *Table) enterClass(id classID, key classKey) {
	t.kills.Lock()
	defer t.kills.Unlock()
	t.classHigh.Store(max(t.classHigh.Load(), uint32(id)+1))
	c := key.class()
	for i := range t.kills.recent {
		if k := &t.kills.recent[i]; k.match(&c) {
			t.raise(id, k.before)
		}
	}
}

// raise kills the connections of a class up to an incarnation.
func (t *Table) raise(id classID, before Incarnation) {
	killed := &t.classes.all[id].killed
	for {
		now := killed.Load()
		if now >= uint64(before) || killed.CompareAndSwap(now, uint64(before)) {
			return
		}
	}
}

// classOf returns the class of an entry.
func (t *Table) classOf(c *Conn) Class { return t.keyOf(c).class() }

// keyOf returns the same, packed.
func (t *Table) keyOf(c *Conn) classKey { return classKey(t.classes.all[c.class].key.Load()) }

// dead reports whether a kill has ended the entry, by its class or by itself. The caller
// holds its home.
func (t *Table) dead(c *Conn) bool {
	return uint64(c.incarnation) <= t.classes.all[c.class].killed.Load() || c.marks&markDoomed != 0
}

// fallen reports whether a kill of its class has ended the entry, and no other before.
// The caller holds its home.
func (t *Table) fallen(c *Conn) bool { return c.marks&markDoomed == 0 && t.dead(c) }
