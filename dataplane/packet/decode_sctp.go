package packet

import (
	"encoding/binary"

	"holdfast/dataplane/drop"
)

// An SCTP packet (RFC 9260 section 3): a common header, then chunks, each padded to a
// multiple of four bytes.
//
//	0         2         4                  8          12
//	+---------+---------+------------------+----------+---------+---------+- -
//	| SrcPort | DstPort | verification tag | CRC-32C  | chunk 1 | chunk 2 | ...
//	+---------+---------+------------------+----------+---------+---------+- -
//
//	0      1       2        4                      length, then 0 to 3 bytes of padding
//	+------+-------+--------+------------- - - ----+
//	| type | flags | length | value                |
//	+------+-------+--------+------------- - - ----+
const (
	sctpLen      = 12
	sctpTagAt    = 4
	sctpSumAt    = 8
	sctpChunkLen = 4  // type, flags and length
	sctpInitLen  = 20 // INIT and INIT ACK without parameters (RFC 9260 section 3.3.2)
	sctpInitTag  = 4  // the initiate tag, from the start of the chunk

	// sctpChunksMax bounds the walk (R7). A frame of 4 KiB full of DATA chunks of one
	// byte, which is the most that anybody means, has 204.
	sctpChunksMax = 256

	// sctpAuth is the one chunk that may stand before a COOKIE ECHO or COOKIE ACK, which
	// otherwise come first (RFC 4895 section 6.3).
	sctpAuth = 15
)

// SCTPChunks is the set of the types of chunks in a packet: the bit 1<<type for types 0 to
// 14, all that RFC 9260 defines. Types beyond (AUTH, ASCONF, FORWARD TSN, I-DATA, ...) are
// not in it: they neither begin nor end an association.
type SCTPChunks uint16

// The chunks (RFC 9260 section 3.2). The bits of types 12 and 13, ECNE and CWR, have no
// name because nothing depends on them.
const (
	ChunkData SCTPChunks = 1 << iota
	ChunkInit
	ChunkInitAck
	ChunkSACK
	ChunkHeartbeat
	ChunkHeartbeatAck
	ChunkAbort
	ChunkShutdown
	ChunkShutdownAck
	ChunkError
	ChunkCookieEcho
	ChunkCookieAck
	_
	_
	ChunkShutdownComplete

	// ChunkReflected is no chunk but the T bit of an ABORT or SHUTDOWN COMPLETE: its
	// sender knows no association, and sends back the tag of what it answers (RFC 9260
	// section 8.5.1).
	ChunkReflected
)

// Chunks that stand alone in a packet (RFC 9260 section 6.10), and chunks that stand first.
const (
	chunksAlone = ChunkInit | ChunkInitAck | ChunkShutdownComplete
	chunksFirst = ChunkCookieEcho | ChunkCookieAck
)

// VerificationTag returns the verification tag of an SCTP packet. It is zero exactly where
// the packet is an INIT: Decode has made sure.
func (p *Parsed) VerificationTag() uint32 { return p.Seq }

// InitiateTag returns the initiate tag of an INIT or INIT ACK, which is never zero; zero
// for other SCTP packets.
func (p *Parsed) InitiateTag() uint32 { return p.Ack }

// decodeSCTP proves every chunk's length, what must stand alone or first, and that the
// verification tag is zero exactly for an INIT (RFC 9260 section 8.5.1 A). It reads no
// parameter but the initiate tag: addresses that INIT and ASCONF list are between the
// endpoints, and however many there are they cost nothing here.
//
// A last chunk without its padding is refused: the padding is a duty of the sender (RFC
// 9260 section 3.2), and without it the length of the packet is no multiple of four.
func decodeSCTP(segment []byte, p *Parsed) drop.Reason {
	if len(segment) < sctpLen+sctpChunkLen {
		return drop.SCTPTruncated
	}
	if len(segment)%4 != 0 {
		return drop.SCTPChunkInvalid
	}
	p.Tuple.SrcPort = binary.BigEndian.Uint16(segment[0:])
	p.Tuple.DstPort = binary.BigEndian.Uint16(segment[2:])
	p.Seq = binary.BigEndian.Uint32(segment[sctpTagAt:])
	p.Payload = p.L4 + sctpLen

	var chunks SCTPChunks
	count, atHead := 0, true // atHead: nothing but AUTH so far
	for rest := segment[sctpLen:]; len(rest) > 0; count++ {
		// rest is not empty and a multiple of four: the chunk's header is there.
		h := rest[:sctpChunkLen]
		length := int(binary.BigEndian.Uint16(h[2:]))
		padded := (length + 3) &^ 3
		if length < sctpChunkLen || padded > len(rest) || count == sctpChunksMax {
			return drop.SCTPChunkInvalid
		}
		if h[0] <= 14 {
			bit := SCTPChunks(1) << h[0]
			switch {
			case bit&(ChunkInit|ChunkInitAck) != 0:
				if length < sctpInitLen {
					return drop.SCTPChunkInvalid
				}
				p.Ack = binary.BigEndian.Uint32(rest[sctpInitTag:])
			case bit&(ChunkAbort|ChunkShutdownComplete) != 0 && h[1]&1 != 0:
				chunks |= ChunkReflected
			}
			if bit&chunksFirst != 0 && !atHead {
				return drop.SCTPChunkInvalid
			}
			chunks |= bit
		}
		atHead = atHead && h[0] == sctpAuth
		rest = rest[padded:]
	}
	switch {
	case chunks&chunksAlone != 0 && count != 1:
		return drop.SCTPChunkInvalid
	case chunks&(ChunkInit|ChunkInitAck) != 0 && p.Ack == 0:
		return drop.SCTPTagInvalid // RFC 9260 sections 3.3.2 and 3.3.3
	case (chunks&ChunkInit != 0) != (p.Seq == 0):
		return drop.SCTPTagInvalid
	}
	p.Chunks = chunks
	return drop.Pass
}
