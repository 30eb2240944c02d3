package wire

import "encoding/binary"

// PoisonMax is the length of a Poison, in bytes with its frame header.
const PoisonMax = FrameHeaderSize + 16 + 2 + 4

// Poison names a packet that made a worker of its sender panic. Who hears of it drops that
// packet undecoded for as long.
type Poison struct {
	// Digest is the first half of SHA-256 of the frame behind its MAC addresses, untagged, with
	// identification, TTL and header checksum of IPv4, or flow label and hop limit of IPv6,
	// taken as zero.
	Digest    [16]byte
	Length    uint16 // of the frame, in bytes
	Remaining uint32 // ms; at most PoisonRemainingMax
}

// PoisonRemainingMax is how long a node can ask that a packet be remembered: an hour, in ms.
const PoisonRemainingMax = 3_600_000

// Append appends p. Nothing is allocated if dst has room.
//
//	 0                                               16      18              22
//	+-----------------------------------------------+-------+---------------+
//	| digest                                        | length| remaining, ms |
//	+-----------------------------------------------+-------+---------------+
func (p *Poison) Append(dst []byte) []byte {
	start := len(dst)
	dst = append(beginFrame(dst, TypePoison, 0), p.Digest[:]...)
	dst = binary.BigEndian.AppendUint16(dst, p.Length)
	dst = binary.BigEndian.AppendUint32(dst, p.Remaining)
	return endFrame(dst, start)
}

// Decode reads a Poison.
func (p *Poison) Decode(f *Frame) error {
	c := f.open(TypePoison, 0)
	copy(p.Digest[:], c.take(len(p.Digest)))
	p.Length = c.u16()
	p.Remaining = c.u32()
	c.must(p.Remaining <= PoisonRemainingMax, BadValue)
	return c.end()
}
