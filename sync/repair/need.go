package repair

import (
	"encoding/binary"
	"fmt"

	"holdfast/sync/wire"
)

// Times of a Need, in nanoseconds.
const (
	askAgain = 500e6 // between two tellings of one request
	stalled  = 2e9   // without anything told: the request is made anew
)

// mostDivergent is the share of shards, 1 in so many, that may differ before a node that
// was complete no longer counts as it. A divergence is repaired within a round or two;
// were one connection enough, its peer's death in that moment would find nobody ready.
const mostDivergent = 64

// Need is what this node still needs of a peer's table: all of it where it joins a peer
// that holds more than its lanes have told, some shards where a round has shown that
// they differ. It belongs to the peer's reader.
//
//	          All            End            every shard compared, none differs
//	Nothing -------> Joining ----> Nothing, unproven -----------> Nothing
//	   |  ^                             ^
//	   |  +--- End --- Mending          +-- Prove
//	   +-- a round differs --^
type Need struct {
	phase    Phase
	unproven bool // since the last transfer of all, or since Prove
	settled  settled

	id     uint32 // of the last request
	bits   uint8
	shards []byte // as wire.TransferRequest has them; empty: all
	asked  int64  // when it was told last; 0: not yet
	moved  int64  // when something of it came last

	last    Compared
	proven  int64 // when every shard had been compared, and none differed; 0: never
	repairs uint64
}

// Phase says what is asked for.
type Phase uint8

// The phases of a Need.
const (
	Nothing Phase = iota
	Joining       // everything
	Mending       // shards that differ
)

// All says that all of the peer's table is needed.
func (n *Need) All(now int64) {
	if n.phase != Joining {
		n.unproven = true
		n.ask(Joining, 0, nil, now)
	}
}

// Prove says that the peer's table may hold what its lanes have not told: rounds will show
// what, and all of it is asked for where that is much.
func (n *Need) Prove() {
	n.unproven = true
	n.settled = settled{}
}

func (n *Need) ask(p Phase, bits uint8, shards []byte, now int64) {
	n.id++
	n.phase, n.bits, n.shards, n.asked, n.moved = p, bits, shards, 0, now
	n.settled = settled{}
}

// Forget gives up what was asked: the peer has begun a new life, or this node needs
// nothing of it any more. Numbers of requests and counts go on.
func (n *Need) Forget() { *n = Need{id: n.id, repairs: n.repairs} }

// Due returns what is to be asked at now (ns), if anything.
func (n *Need) Due(now int64) (m wire.TransferRequest, ok bool) {
	if n.phase == Nothing {
		return m, false
	}
	if now-n.moved >= stalled {
		n.ask(n.phase, n.bits, n.shards, now)
	}
	if n.asked != 0 && (now-n.asked < askAgain || n.moved > n.asked) {
		return m, false // on its way, or being answered
	}
	n.asked = now
	return wire.TransferRequest{ID: n.id, Bits: n.bits, Shards: n.shards}, true
}

// Moved says that something of a transfer has come at now.
func (n *Need) Moved(now int64) { n.moved = now }

// End takes in the end of a transfer, and reports whether it is the one asked for last.
func (n *Need) End(e *wire.TransferEnd) bool {
	if e.ID != n.id || n.phase == Nothing {
		return false
	}
	if n.phase == Mending {
		n.repairs++
	}
	n.phase = Nothing
	n.settled = settled{}
	return true
}

// Compared takes in what a round has shown.
func (n *Need) Compared(c *Compared, now int64) {
	n.last = *c
	if n.phase != Nothing {
		return // what differs is on its way already
	}
	switch {
	case c.Divergent > wire.TransferShardsMax && c.Divergent > c.Shards/4:
		n.All(now)
	case c.Divergent > 0:
		n.mend(c, now)
	default:
		if n.settled.add(c); n.settled.all() {
			n.unproven, n.proven = false, now
			n.settled = settled{}
		}
	}
}

// mend asks for the shards that differ, as many as one request names; the rest differ in
// the next round too.
func (n *Need) mend(c *Compared, now int64) {
	var shards []byte
	for _, s := range c.Differ[:min(len(c.Differ), wire.TransferShardsMax)] {
		shards = binary.BigEndian.AppendUint16(shards, s)
	}
	n.ask(Mending, c.Bits, shards, now)
}

// Complete reports whether what was needed has come and is proven to be equal, and
// otherwise what is missing.
func (n *Need) Complete() (ok bool, why string) {
	switch {
	case n.phase == Joining:
		return false, "its table is being transferred"
	case n.unproven:
		return false, fmt.Sprintf("%d of %d shards of its table are proven equal", n.settled.count, max(1, len(n.settled.marked)))
	case n.last.Divergent > n.last.Shards/mostDivergent:
		return false, fmt.Sprintf("%d of %d shards differ", n.last.Divergent, n.last.Shards)
	}
	return true, ""
}

// Report is what people want to know of a Need.
type Report struct {
	Phase   Phase
	Proven  int64 // when every shard had been compared and none differed, CLOCK_BOOTTIME ns; 0: never
	Last    wire.Proof
	Repairs uint64 // transfers of shards that differed
}

// Report returns it.
func (n *Need) Report() Report {
	return Report{Phase: n.phase, Proven: n.proven, Last: n.last.Proof, Repairs: n.repairs}
}
