package conntrack

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// Outcome is what Track says of a packet. The zero value drops.
type Outcome uint8

// The outcomes of Track.
const (
	OutcomeDrop  Outcome = iota // Result.Reason says why
	OutcomeMiss                 // it belongs to no connection: admit it or not
	OutcomePass                 // it belongs to one and may go on
	OutcomeStray                // it belongs to one whose packets come in by another port; nothing has changed
)

// InsertOutcome is what Insert did. The zero value refuses.
type InsertOutcome uint8

// The outcomes of Insert.
const (
	Refused  InsertOutcome = iota // such a packet begins no connection; Result.Reason says why
	Inserted                      // the packet may go on, Result is filled as by Track
	Exists                        // the packet's tuple has a connection by now: track again
	Clash                         // the reply tuple is another connection's: propose another
	Full                          // no room; Result.Reason is drop.TableFull
)

// Change says what of a connection is to be told to the peers and the journal.
type Change uint8

// The changes. But for ChangeNone, Result.State is filled.
const (
	ChangeNone     Change = iota
	ChangeNew             // a connection was inserted
	ChangeUpdate          // its exported form changed, or a third of its timeout has passed
	ChangeReopened        // a new incarnation of it began, with the same tuples
	ChangeEnded           // it was removed: State is its last, and what it held in NAT is free
)

// Result is what Track or Insert found out. The caller owns and reuses it; Reason and
// Change are always set, the others as they say.
type Result struct {
	Reason drop.Reason // drop.Pass, or why the packet dies
	Change Change      // may be ChangeEnded even with OutcomeMiss
	Why    EndReason   // with ChangeEnded

	// Valid with OutcomePass and Inserted, and with OutcomeDrop as before the packet.
	Direction   Direction
	TCP         TCPState // StateNone where not TCP
	WasTCP      TCPState // before the packet; Track only
	WasComplete bool     // State.Complete before the packet; Track only
	Flags       Flags
	WasFlags    Flags // before the packet; Track only
	Translated  bool  // Rewrite is valid, and to be applied; set only on packets that pass
	Spliced     bool  // Splice is, as well
	Index       uint32
	Incarnation Incarnation
	Rewrite     packet.Rewrite
	Splice      packet.Splice
	Window      uint16 // with Joined: what the client's side advertises to the server
	class       classKey

	State State // valid unless Change is ChangeNone
}

// fill takes over what a packet's result says of its connection. The caller holds the
// home lock.
func (r *Result) fill(c *Conn, key classKey, state TCPState, index uint32, dir Direction) {
	r.class = key
	r.Direction, r.TCP, r.Flags = dir, state, c.flags
	r.Index, r.Incarnation = index, c.incarnation
	r.Translated, r.Spliced = false, false
}

// Class returns what the connection has from its rule and its way: for packets that pass
// and connections that were inserted.
func (r *Result) Class() Class { return r.class.class() }

// Logged reports whether the packet's connection has each of its packets logged: whenever
// Class is valid, and with OutcomeDrop and OutcomeStray.
func (r *Result) Logged() bool { return r.class&classLogged != 0 }

// translate computes the rewrite of a packet with tuple from of one direction: it must
// leave as what the packets of the other direction answer. The caller holds the home lock.
func (t *Table) translate(c *Conn, index uint32, dir Direction, from *packet.Tuple, r *Result) {
	r.Translated = true
	if c.marks&markSix == 0 && (c.proto == packet.TCP || c.proto == packet.UDP) {
		ports := c.ports[dir&1^1]
		r.Rewrite.SetAnswer4(from, packet.Pair(c.addrs[dir&1^1]), uint16(ports), uint16(ports>>16))
		return
	}
	other := t.tupleOf(c, index, dir^1)
	to := other.Reply()
	r.Rewrite.Set(from, &to)
}
