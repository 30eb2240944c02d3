package wire

import (
	"encoding/binary"

	"holdfast/conntrack"
)

// Flags of an Ended's frame.
const endedKilled = 1 << 0

// Ended answers an Insert: the connection that it told of has ended, as far as this node
// knows, and is not taken in again.
type Ended struct {
	Index       uint32                // the receiver's, as the Insert has told it
	Incarnation uint32                // the low 32 bits of that life
	UpTo        conntrack.Incarnation // lives of its tuple up to this one are over
	Killed      bool                  // by a kill, with others
}

// Append appends e:
//
//	frame flags: endedKilled
//
//	 0               4               8                               16
//	+---------------+---------------+-------------------------------+
//	| index of the  | incarnation,  | over up to this incarnation   |
//	| receiver      | low 32 bits   |                               |
//	+---------------+---------------+-------------------------------+
func (e *Ended) Append(dst []byte) []byte {
	start := len(dst)
	var flags uint8
	if e.Killed {
		flags = endedKilled
	}
	dst = beginFrame(dst, TypeEnded, flags)
	dst = binary.BigEndian.AppendUint32(dst, e.Index)
	dst = binary.BigEndian.AppendUint32(dst, e.Incarnation)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.UpTo))
	return endFrame(dst, start)
}

// Decode reads an Ended.
func (e *Ended) Decode(f *Frame) error {
	c := f.open(TypeEnded, endedKilled)
	*e = Ended{Index: c.u32(), Incarnation: c.u32(), UpTo: conntrack.Incarnation(c.u64()), Killed: f.Flags&endedKilled != 0}
	return c.end()
}
