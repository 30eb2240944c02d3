package wire

import "encoding/binary"

// Ack tells the last batch that its sender has from each of the receiver's lanes,
// without a gap before it. Heartbeats say the same; an Ack says it at once.
type Ack struct{ Lanes Lanes }

// Append appends a, whose body is drawn at Lanes.
func (a *Ack) Append(dst []byte) []byte {
	start := len(dst)
	return endFrame(a.Lanes.append(beginFrame(dst, TypeAck, 0)), start)
}

// Decode reads an Ack.
func (a *Ack) Decode(f *Frame) error {
	c := f.open(TypeAck, 0)
	c.lanes(&a.Lanes)
	return c.end()
}

// AckRequestMax is the length of an AckRequest, in bytes with its frame header.
const AckRequestMax = FrameHeaderSize

// AckRequest, in a batch of a lane, asks for an Ack as soon as the batch is applied: a first
// packet waits for it. A receiver that does not know the message acknowledges by its
// heartbeats, as ever.
type AckRequest struct{}

// Append appends an AckRequest, which has no body.
func (*AckRequest) Append(dst []byte) []byte { return beginFrame(dst, TypeAckRequest, 0) }

// Decode reads an AckRequest.
func (*AckRequest) Decode(f *Frame) error {
	c := f.open(TypeAckRequest, 0)
	return c.end()
}

// Nack asks for the batches First to Last of one of the receiver's lanes again.
type Nack struct {
	Lane        uint16
	First, Last uint64 // 1 <= First <= Last
}

// Append appends n:
//
//	 0               2                               10                              18
//	+---------------+-------------------------------+-------------------------------+
//	| lane          | first                         | last                          |
//	+---------------+-------------------------------+-------------------------------+
func (n *Nack) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeNack, 0)
	dst = binary.BigEndian.AppendUint16(dst, n.Lane)
	dst = binary.BigEndian.AppendUint64(dst, n.First)
	dst = binary.BigEndian.AppendUint64(dst, n.Last)
	return endFrame(dst, start)
}

// Decode reads a Nack.
func (n *Nack) Decode(f *Frame) error {
	c := f.open(TypeNack, 0)
	*n = Nack{Lane: c.u16(), First: c.u64(), Last: c.u64()}
	c.must(n.Lane < LanesMax, BadLane)
	c.must(n.First >= 1 && n.First <= n.Last, BadSequence)
	return c.end()
}

// Lost answers a Nack for batches that its sender no longer has: of this lane, First is
// the oldest that it can send again.
type Lost struct {
	Lane  uint16
	First uint64 // from 1
}

// Append appends l:
//
//	 0               2                               10
//	+---------------+-------------------------------+
//	| lane          | first                         |
//	+---------------+-------------------------------+
func (l *Lost) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeLost, 0)
	dst = binary.BigEndian.AppendUint16(dst, l.Lane)
	dst = binary.BigEndian.AppendUint64(dst, l.First)
	return endFrame(dst, start)
}

// Decode reads a Lost.
func (l *Lost) Decode(f *Frame) error {
	c := f.open(TypeLost, 0)
	*l = Lost{Lane: c.u16(), First: c.u64()}
	c.must(l.Lane < LanesMax, BadLane)
	c.must(l.First >= 1, BadSequence)
	return c.end()
}
