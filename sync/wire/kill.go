package wire

import (
	"encoding/binary"
	"fmt"
)

// SelectorMax bounds the text of a selector, in bytes: a Kill fits one batch.
const SelectorMax = 1024

// Kill ends all connections that a selector chooses and that began before it.
type Kill struct {
	ID       uint64 // names this kill: the node in the low 16 bits, its count above
	Selector []byte // text, as people write it; Decode leaves it in the batch
}

// ValidSelector returns why a selector cannot be sent, nil if it can.
func ValidSelector(text []byte) error {
	if len(text) == 0 || len(text) > SelectorMax {
		return fmt.Errorf("selector of %d bytes: needs 1 to %d", len(text), SelectorMax)
	}
	return nil
}

// Append appends k, whose selector must be one that ValidSelector accepts:
//
//	 0                               8
//	+-------------------------------+---------------
//	| id                            | selector, to the end of the frame
//	+-------------------------------+---------------
func (k *Kill) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeKill, 0)
	dst = binary.BigEndian.AppendUint64(dst, k.ID)
	dst = append(dst, k.Selector...)
	return endFrame(dst, start)
}

// Decode reads a Kill.
func (k *Kill) Decode(f *Frame) error {
	c := f.open(TypeKill, 0)
	k.ID = c.u64()
	k.Selector = c.take(len(c.rest))
	c.must(ValidSelector(k.Selector) == nil, BadValue)
	return c.end()
}
