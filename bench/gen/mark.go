package gen

import "encoding/binary"

// MarkBytes is the length of a Mark. A UDP datagram that holds nothing else makes an
// Ethernet frame of 60 bytes without the FCS, the smallest there is.
const MarkBytes = 18

// markMagic is "HF".
const markMagic = 0x4846

// Mark is what the payload of a generated frame begins with, in network byte order. Its
// other half is struct mark of frame.h.
//
//	 0      2            6            10                        18
//	+------+------------+------------+-------------------------+
//	| "HF" | flow       | number     | time                    |
//	+------+------------+------------+-------------------------+
//
// The rest of a payload is zero.
type Mark struct {
	Flow   uint32
	Number uint32 // of the frame within its flow, from 0
	Time   uint64 // when it was made: CLOCK_MONOTONIC, nanoseconds
}

// Append appends the mark's bytes to b.
func (m Mark) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, markMagic)
	b = binary.BigEndian.AppendUint32(b, m.Flow)
	b = binary.BigEndian.AppendUint32(b, m.Number)
	return binary.BigEndian.AppendUint64(b, m.Time)
}

// ParseMark reads the mark of a payload; ok is false where there is none.
func ParseMark(payload []byte) (m Mark, ok bool) {
	if len(payload) < MarkBytes || binary.BigEndian.Uint16(payload) != markMagic {
		return m, false
	}
	return Mark{
		Flow:   binary.BigEndian.Uint32(payload[2:]),
		Number: binary.BigEndian.Uint32(payload[6:]),
		Time:   binary.BigEndian.Uint64(payload[10:]),
	}, true
}
