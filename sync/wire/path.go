package wire

import "encoding/binary"

// PathsMax is how many ways between two nodes a Path can tell apart.
const PathsMax = 16

// Path, behind a heartbeat, says by which of several ways between two nodes the batch
// goes, and by which its sender hears the receiver. Nodes with one way to each other do not send
// it; a receiver that does not know it skips it.
type Path struct {
	Path  uint8  // that the batch goes by, from 0
	Hears uint16 // bit i: a heartbeat of the receiver came by path i within dead_after
}

// Append appends p:
//
//	 0       1       2               4
//	+-------+-------+---------------+
//	| path  | 0     | hears         |
//	+-------+-------+---------------+
func (p *Path) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypePath, 0)
	dst = append(dst, p.Path, 0)
	dst = binary.BigEndian.AppendUint16(dst, p.Hears)
	return endFrame(dst, start)
}

// Decode reads a Path.
func (p *Path) Decode(f *Frame) error {
	c := f.open(TypePath, 0)
	p.Path = c.u8()
	c.must(p.Path < PathsMax, BadValue)
	c.must(c.u8() == 0, BadValue)
	p.Hears = c.u16()
	return c.end()
}
