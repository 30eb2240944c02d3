package wire

import (
	"encoding/binary"
	"fmt"

	"holdfast/conntrack"
)

// SelectorMax bounds the text of a selector, in bytes: a Kill fits one batch.
const SelectorMax = 1024

// KillMax is the length of the longest Kill, in bytes with its frame header.
const KillMax = FrameHeaderSize + 8 + SelectorMax

// Kill ends all connections that a selector chooses and that began up to Before; or, with
// KillTold, it says that the Deletes before it on the lane were such a kill. Either is
// answered with Killed.
type Kill struct {
	Before   conntrack.Incarnation // names the kill too: each of a node has another
	Kind     KillKind
	Selector []byte // text, as people write it; Decode leaves it in the batch. Empty with KillTold
}

// KillKind says how a kill is told.
type KillKind uint8

// The kinds of kills.
const (
	KillChosen KillKind = iota // by the selector, which says the same on every node
	KillTold                   // by Deletes: the selector asks for what differs from node to node
	killKinds
)

// ValidSelector returns why a selector cannot be sent, nil if it can.
func ValidSelector(text []byte) error {
	if len(text) == 0 || len(text) > SelectorMax {
		return fmt.Errorf("selector of %d bytes: needs 1 to %d", len(text), SelectorMax)
	}
	return nil
}

// Append appends k, whose selector must be one that ValidSelector accepts, or empty with
// KillTold:
//
//	frame flags: kind
//
//	 0                               8
//	+-------------------------------+---------------
//	| before                        | selector, to the end of the frame
//	+-------------------------------+---------------
func (k *Kill) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeKill, uint8(k.Kind))
	dst = binary.BigEndian.AppendUint64(dst, uint64(k.Before))
	dst = append(dst, k.Selector...)
	return endFrame(dst, start)
}

// Decode reads a Kill.
func (k *Kill) Decode(f *Frame) error {
	c := f.open(TypeKill, 0xff)
	k.Kind = KillKind(f.Flags)
	c.must(k.Kind < killKinds, BadFlags)
	k.Before = conntrack.Incarnation(c.u64())
	// A counter that large can only be nonsense, and the receiver would count on from it.
	c.must(k.Before != 0 && k.Before>>63 == 0, BadValue)
	k.Selector = c.take(len(c.rest))
	if k.Kind == KillChosen {
		c.must(ValidSelector(k.Selector) == nil, BadValue)
	} else {
		c.must(len(k.Selector) == 0, BadValue)
	}
	return c.end()
}

// Killed answers a Kill: it has been carried out, and all that it ended is gone.
type Killed struct {
	Before  conntrack.Incarnation // of the kill
	Count   uint32                // how many connections it has ended here
	Outcome KillOutcome
}

// KillOutcome says what became of a kill.
type KillOutcome uint8

// The outcomes of a kill.
const (
	KillDone    KillOutcome = iota
	KillRefused             // this node does not understand the selector
	killOutcomes
)

// Append appends k:
//
//	frame flags: outcome
//
//	 0                               8               12
//	+-------------------------------+---------------+
//	| before                        | count         |
//	+-------------------------------+---------------+
func (k *Killed) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeKilled, uint8(k.Outcome))
	dst = binary.BigEndian.AppendUint64(dst, uint64(k.Before))
	dst = binary.BigEndian.AppendUint32(dst, k.Count)
	return endFrame(dst, start)
}

// Decode reads a Killed.
func (k *Killed) Decode(f *Frame) error {
	c := f.open(TypeKilled, 0xff)
	*k = Killed{Before: conntrack.Incarnation(c.u64()), Count: c.u32(), Outcome: KillOutcome(f.Flags)}
	c.must(k.Outcome < killOutcomes, BadFlags)
	return c.end()
}
