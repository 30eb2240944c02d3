package wire

import (
	"encoding/binary"

	"holdfast/conntrack"
)

// DeleteMax is the length of a Delete, in bytes with its frame header.
const DeleteMax = FrameHeaderSize + 8

// Delete tells that a connection has ended.
type Delete struct {
	Index       uint32 // the sender's
	Incarnation uint32 // the low 32 bits
	Why         conntrack.EndReason
}

// AppendDelete appends d:
//
//	frame flags: why
//
//	 0               4               8
//	+---------------+---------------+
//	| sender's index| incarnation,  |
//	|               | low 32 bits   |
//	+---------------+---------------+
func AppendDelete(dst []byte, d *Delete) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeDelete, uint8(d.Why))
	dst = binary.BigEndian.AppendUint32(dst, d.Index)
	dst = binary.BigEndian.AppendUint32(dst, d.Incarnation)
	return endFrame(dst, start)
}

// DecodeDelete reads a Delete. The reason may be one that this node does not know.
func DecodeDelete(f *Frame, d *Delete) error {
	c := f.open(TypeDelete, 0xff)
	*d = Delete{Index: c.u32(), Incarnation: c.u32(), Why: conntrack.EndReason(f.Flags)}
	c.must(d.Why != conntrack.EndUnset, BadFlags)
	return c.end()
}

// UpdateRequest asks for an Insert: an Update named a connection that this node does
// not have, or has in another life.
type UpdateRequest struct {
	Index       uint32 // the index that the Update named
	Incarnation uint32 // the low 32 bits that it named
}

// Append appends r, drawn as Delete without flags.
func (r *UpdateRequest) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeUpdateRequest, 0)
	dst = binary.BigEndian.AppendUint32(dst, r.Index)
	dst = binary.BigEndian.AppendUint32(dst, r.Incarnation)
	return endFrame(dst, start)
}

// Decode reads an UpdateRequest.
func (r *UpdateRequest) Decode(f *Frame) error {
	c := f.open(TypeUpdateRequest, 0)
	*r = UpdateRequest{Index: c.u32(), Incarnation: c.u32()}
	return c.end()
}

// IndexOf returns the sender's index that an Update or a Delete names, without a look at the
// rest of it; 0 for a frame that is too short for one.
func IndexOf(f *Frame) uint32 {
	if len(f.Body) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(f.Body)
}
