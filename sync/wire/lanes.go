package wire

import "encoding/binary"

// Lanes holds one stream sequence per lane, for 0 to LanesMax lanes. The zero value has
// none.
type Lanes struct {
	n    uint8
	last [LanesMax]uint64
}

// Set makes l the sequences of lanes 0 to len(last)-1; what is past LanesMax is left out.
func (l *Lanes) Set(last []uint64) { l.n = uint8(copy(l.last[:], last)) }

// Slice returns the sequences, by lane. It is valid until l changes.
func (l *Lanes) Slice() []uint64 { return l.last[:l.n] }

// lanesMax is the longest form, in bytes.
const lanesMax = 1 + 8*LanesMax

// append appends l:
//
//	 0       1               9
//	+-------+---------------+---------------+
//	| n     | lane 0        | lane 1        | ...
//	+-------+---------------+---------------+
func (l *Lanes) append(dst []byte) []byte {
	dst = append(dst, l.n)
	for _, x := range l.Slice() {
		dst = binary.BigEndian.AppendUint64(dst, x)
	}
	return dst
}

// lanes reads what append has written.
func (c *cursor) lanes(l *Lanes) {
	*l = Lanes{}
	n := c.u8()
	if n > LanesMax {
		c.fail(BadLane)
		return
	}
	l.n = n
	for i := range l.Slice() {
		l.last[i] = c.u64()
	}
}
