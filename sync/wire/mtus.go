package wire

import (
	"encoding/binary"

	"holdfast/dataplane/drop"
)

// MTUs holds the MTU of each logical port of a node in bytes, by packet.PortID. The zero
// value has none.
type MTUs struct {
	n    uint8
	list [drop.PortsMax]uint16
}

// Set makes m the MTUs of ports 0 to len(list)-1; what is past PortsMax is left out.
func (m *MTUs) Set(list []uint16) { m.n = uint8(copy(m.list[:], list)) }

// Slice returns the MTUs, by port. It is valid until m changes.
func (m *MTUs) Slice() []uint16 { return m.list[:m.n] }

// append appends m:
//
//	 0       1               3
//	+-------+---------------+---------------+
//	| n     | port 0        | port 1        | ...
//	+-------+---------------+---------------+
func (m *MTUs) append(dst []byte) []byte {
	dst = append(dst, m.n)
	for _, x := range m.Slice() {
		dst = binary.BigEndian.AppendUint16(dst, x)
	}
	return dst
}

// mtus reads what append has written.
func (c *cursor) mtus(m *MTUs) {
	*m = MTUs{}
	n := c.u8()
	if n > drop.PortsMax {
		c.fail(BadValue)
		return
	}
	m.n = n
	for i := range m.Slice() {
		m.list[i] = c.u16()
	}
}
