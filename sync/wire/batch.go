package wire

import (
	"encoding/binary"
	"fmt"
)

// Sizes of what surrounds messages, in bytes.
const (
	BatchHeaderSize = 12
	FrameHeaderSize = 4
)

// LanesMax bounds the lanes of a node.
const LanesMax = 64

// Kind says what a batch is. The zero value is illegal.
type Kind uint8

// The kinds of batches.
const (
	Stream  Kind = 1 + iota // numbered, kept, asked for again
	Control                 // said once
)

// Header is the header of a batch, as the package comment draws it.
type Header struct {
	Kind     Kind
	Lane     uint16 // of a stream; 0 to LanesMax-1
	Sequence uint64 // of a stream; from 1
}

// AppendStreamHeader begins a batch of a lane's stream.
func AppendStreamHeader(dst []byte, lane uint16, sequence uint64) []byte {
	dst = append(dst, byte(Stream), 0)
	dst = binary.BigEndian.AppendUint16(dst, lane)
	return binary.BigEndian.AppendUint64(dst, sequence)
}

// AppendControlHeader begins a control batch.
func AppendControlHeader(dst []byte) []byte {
	return append(dst, byte(Control), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

// DecodeHeader reads the header of a batch and returns its frames, for Frames.
func DecodeHeader(batch []byte) (Header, []byte, error) {
	c := cursor{rest: batch}
	h := Header{Kind: Kind(c.u8())}
	flags := c.u8()
	h.Lane = c.u16()
	h.Sequence = c.u64()
	switch {
	case c.bad != 0:
	case h.Kind != Stream && h.Kind != Control:
		c.fail(BadKind)
	case flags != 0:
		c.fail(BadFlags)
	case h.Lane >= LanesMax || h.Kind == Control && h.Lane != 0:
		c.fail(BadLane)
	case (h.Kind == Stream) != (h.Sequence != 0):
		c.fail(BadSequence)
	}
	if c.bad != 0 {
		return Header{}, nil, c.bad
	}
	return h, c.rest, nil
}

// Type says what message a frame holds. The zero value is illegal.
type Type uint8

// The types. Numbers are never used again for something else.
const (
	TypeHello         Type = 1
	TypeHeartbeat     Type = 2
	TypeAnnounce      Type = 3
	TypeGoodbye       Type = 4
	TypeAck           Type = 5
	TypeNack          Type = 6
	TypeLost          Type = 7
	TypeUpdateRequest Type = 8
	TypeKilled        Type = 9
	TypeStanding      Type = 10
	TypeOrder         Type = 11
	TypeAnswer        Type = 12
	TypeFetch         Type = 13
	TypeChunk         Type = 14
	TypeEnded         Type = 15
	TypeInsert        Type = 16
	TypeUpdate        Type = 17
	TypeDelete        Type = 18
	TypeNeighbor      Type = 19
	TypeKill          Type = 20
	TypeTransferEnd   Type = 21
	TypeAckRequest    Type = 22
	TypeTableChange   Type = 23
	TypePoison        Type = 24
	TypeDigest        Type = 32
	TypeProof         Type = 33

	TypeTransferRequest Type = 34
	TypeTableSums       Type = 35
	TypeTableRequest    Type = 36
	TypePath            Type = 40
	TypeVoteRequest     Type = 41
	TypeVote            Type = 42
)

var typeNames = map[Type]string{
	TypeHello: "hello", TypeHeartbeat: "heartbeat", TypeAnnounce: "announce", TypeGoodbye: "goodbye",
	TypeAck: "ack", TypeNack: "nack", TypeLost: "lost", TypeUpdateRequest: "update-request", TypeEnded: "ended",
	TypeInsert: "insert", TypeUpdate: "update", TypeDelete: "delete", TypeAckRequest: "ack-request",
	TypeNeighbor: "neighbor", TypeKill: "kill", TypeKilled: "killed", TypePoison: "poison",
	TypeDigest: "digest", TypeProof: "proof", TypeTransferRequest: "transfer-request", TypeTransferEnd: "transfer-end", TypePath: "path",
	TypeVoteRequest: "vote-request", TypeVote: "vote",
	TypeStanding: "standing", TypeOrder: "order", TypeAnswer: "answer", TypeFetch: "fetch", TypeChunk: "chunk",
	TypeTableChange: "table-change", TypeTableSums: "table-sums", TypeTableRequest: "table-request",
}

// String returns the name of the type.
func (t Type) String() string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return fmt.Sprintf("type-%d", uint8(t))
}

// Frame is one message as received. Body lies in the batch.
type Frame struct {
	Type  Type
	Flags uint8
	Body  []byte
}

// Frames walks over the frames of a batch:
//
//	for frames := (wire.Frames{Rest: rest}); frames.Next(&f); {
//		switch f.Type { ... } // no default: unknown types are skipped
//	}
//
// and asks Err at the end.
type Frames struct {
	Rest []byte // what was not walked over yet
	bad  Malformed
}

// Next reads the next frame into f, and reports whether there was one.
func (r *Frames) Next(f *Frame) bool {
	if len(r.Rest) == 0 || r.bad != 0 {
		return false
	}
	if len(r.Rest) < FrameHeaderSize {
		r.bad = Truncated
		return false
	}
	end := FrameHeaderSize + int(binary.BigEndian.Uint16(r.Rest[2:]))
	if len(r.Rest) < end {
		r.bad = Truncated
		return false
	}
	*f = Frame{Type: Type(r.Rest[0]), Flags: r.Rest[1], Body: r.Rest[FrameHeaderSize:end:end]}
	r.Rest = r.Rest[end:]
	return true
}

// Err returns why Next stopped, nil at the end of the batch.
func (r *Frames) Err() error { return r.bad.check() }

// open checks that f is of type t and has no flags but those in mask, and returns a
// cursor over its body.
func (f *Frame) open(t Type, mask uint8) cursor {
	c := cursor{rest: f.Body}
	c.must(f.Type == t, BadType)
	c.must(f.Flags&^mask == 0, BadFlags)
	return c
}

// beginFrame appends the header of a frame whose length is not known yet.
func beginFrame(dst []byte, t Type, flags uint8) []byte {
	return append(dst, byte(t), flags, 0, 0)
}

// endFrame writes the length of the frame that began at start.
func endFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint16(dst[start+2:], uint16(len(dst)-start-FrameHeaderSize))
	return dst
}
