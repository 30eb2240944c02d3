package fragment

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// Datagram is a whole datagram, as one frame. The caller owns and reuses it; its bytes are
// valid until the next call with it.
type Datagram struct {
	Frame []byte   // behind the Ethernet header of its first piece; no longer a fragment
	ID    uint32   // that its pieces came with
	Split int      // where in Frame begins what was cut
	Ends  []uint16 // where its pieces ended, in bytes of what was cut, ascending

	frame [packet.WholeMax]byte
	ends  [PiecesMax]uint16
}

// First returns where in Frame the data of the first piece ended.
func (d *Datagram) First() int { return d.Split + int(d.Ends[0]) }

// Outcome says what Add did with a piece. The zero value is none.
type Outcome uint8

// The outcomes.
const (
	Unset   Outcome = iota
	Refused         // it is to be dropped, for Result.Why
	Kept            // its copy waits for the others, or it was there already
	Whole           // it was the last that was missing: the datagram is in the caller's hands
)

// Result is what Add and Sweep did. The caller owns and reuses it.
type Result struct {
	Outcome Outcome
	Why     drop.Reason // of the piece, where it was refused
	Dead    []Dead      // datagrams that died on the occasion, for the counters

	// Late is the first piece of an IPv6 datagram whose time was up, as it came in by LatePort:
	// Sweep gives up one of these a call, so that its sender can be told. Empty: none.
	Late     []byte
	LatePort packet.PortID

	dead [deadMax]Dead
	late [pieceMax]byte
}

// deadMax bounds how many datagrams one call gives up: as many as a piece can take cells,
// for its source's share and again for the whole memory, one for a name, and its own.
const deadMax = 2*cellsOfPiece + 2

// Dead is a datagram that was given up with the pieces that it had.
type Dead struct {
	Port   packet.PortID // that they came in by
	Pieces int
	Why    drop.Reason
}

func (r *Result) reset() { r.Outcome, r.Why, r.Dead, r.Late = Unset, drop.Unset, r.dead[:0], nil }
