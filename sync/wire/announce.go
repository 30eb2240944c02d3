package wire

import "encoding/binary"

// Claim is what Announce and Goodbye say: a node, a group of ports and a term.
type Claim struct {
	Term  uint64
	Group uint16
	Node  uint16
}

// Announce tells that its sender is active for a group since this term.
type Announce struct{ Claim }

// Goodbye tells that its sender, active in this term, hands the group over: it has
// already stopped to transmit.
type Goodbye struct{ Claim }

// append appends a claim as the body of a frame of type t:
//
//	 0                               8               10              12
//	+-------------------------------+---------------+---------------+
//	| term                          | group         | node          |
//	+-------------------------------+---------------+---------------+
func (m *Claim) append(dst []byte, t Type) []byte {
	start := len(dst)
	dst = beginFrame(dst, t, 0)
	dst = binary.BigEndian.AppendUint64(dst, m.Term)
	dst = binary.BigEndian.AppendUint16(dst, m.Group)
	dst = binary.BigEndian.AppendUint16(dst, m.Node)
	return endFrame(dst, start)
}

func (m *Claim) decode(f *Frame, t Type) error {
	c := f.open(t, 0)
	*m = Claim{Term: c.u64(), Group: c.u16(), Node: c.u16()}
	return c.end()
}

// Append appends a, drawn as Claim.
func (a *Announce) Append(dst []byte) []byte { return a.append(dst, TypeAnnounce) }

// Decode reads an Announce.
func (a *Announce) Decode(f *Frame) error { return a.decode(f, TypeAnnounce) }

// Append appends g, drawn as Claim.
func (g *Goodbye) Append(dst []byte) []byte { return g.append(dst, TypeGoodbye) }

// Decode reads a Goodbye.
func (g *Goodbye) Decode(f *Frame) error { return g.decode(f, TypeGoodbye) }
