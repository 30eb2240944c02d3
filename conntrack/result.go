package conntrack

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// Outcome is what Track says of a packet. The zero value drops.
type Outcome uint8

// The outcomes of Track.
const (
	OutcomeDrop Outcome = iota // Result.Reason says why
	OutcomeMiss                // it belongs to no connection: admit it or not
	OutcomePass                // it belongs to one and may go on
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

	// Valid with OutcomePass and Inserted, and with OutcomeDrop as before the packet.
	Direction   Direction
	TCP         TCPState // StateNone where not TCP
	Sync        SyncMode
	Translated  bool          // Rewrite is valid, and to be applied; set only on packets that pass
	Egress      packet.PortID // where packets of this direction went out when the connection began
	Index       uint32
	Rule        uint32
	Flags       Flags
	Incarnation Incarnation
	Rewrite     packet.Rewrite

	State State // valid unless Change is ChangeNone
}

// fill takes over what a packet's result says of its connection. The caller holds the
// home lock.
func (r *Result) fill(c *Conn, index uint32, dir Direction) {
	r.Direction, r.TCP, r.Sync = dir, c.state, c.sync
	r.Egress, r.Index, r.Rule = c.port[dir^1], index, c.rule
	r.Flags, r.Incarnation = c.flags, c.incarnation
	r.Translated = false
}

// translate computes the rewrite of a packet with tuple from, whose connection's other
// tuple is other: the packet must leave as what other's packets answer.
func (r *Result) translate(from, other *packet.Tuple) {
	r.Rewrite = packet.RewriteTo(*from, other.Reply())
	r.Translated = true
}
