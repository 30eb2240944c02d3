package packet

import (
	"encoding/binary"

	"holdfast/dataplane/drop"
)

// A DCCP header (RFC 4340 section 5.1). X says that the sequence number has 48 bits and
// not 24, which is also where the header becomes 16 bytes long. What follows depends on
// the type: 8 bytes of acknowledgement for most, 4 of a service or reset code for some.
//
//	0         2         4        5          6          8              9         16
//	+---------+---------+--------+----------+----------+--------------+---------+--------- -
//	| SrcPort | DstPort | offset | CCVal|Cov| checksum | 3 | type | X | sequence| per type
//	+---------+---------+--------+----------+----------+--------------+---------+--------- -
const (
	dccpLenMin = 12
	dccpSumAt  = 6
	dccpTypeAt = 8
)

// dccpLenOf is the shortest header of each type: the generic one with X, and what the type
// adds (RFC 4340 sections 5.1 to 5.7). Types 10 to 15 are reserved.
var dccpLenOf = [16]uint8{
	0: 20, // Request: service code
	1: 28, // Response: acknowledgement, service code
	2: 16, // Data
	3: 24, // Ack
	4: 24, // DataAck
	5: 24, // CloseReq
	6: 24, // Close
	7: 28, // Reset: acknowledgement, reset code
	8: 24, // Sync
	9: 24, // SyncAck
}

// dccpShort is the set of types that may go without X: Data, Ack and DataAck. Their
// acknowledgement is then 4 bytes long.
const dccpShort = 1<<2 | 1<<3 | 1<<4

// decodeDCCP reads the ports. The checksum, whatever part of the data its coverage
// leaves out, covers the ports and the pseudo-header (RFC 4340 section 9.1), so a
// rewrite adjusts it as it does TCP's. Sequence numbers and states are not followed: to
// the tracker DCCP is a protocol with ports and nothing else.
func decodeDCCP(segment []byte, p *Parsed) drop.Reason {
	if len(segment) < dccpLenMin {
		return drop.DCCPInvalid
	}
	h := segment[:dccpLenMin]
	kind, extended := h[dccpTypeAt]>>1&15, h[dccpTypeAt]&1 != 0
	least := int(dccpLenOf[kind])
	if !extended {
		if dccpShort>>kind&1 == 0 {
			return drop.DCCPInvalid
		}
		least -= 4 // of the sequence number
		if least > dccpLenMin {
			least -= 4 // of the acknowledgement
		}
	}
	header := int(h[4]) * 4
	if least == 0 || header < least || header > len(segment) {
		return drop.DCCPInvalid
	}
	p.Tuple.SrcPort = binary.BigEndian.Uint16(h[0:])
	p.Tuple.DstPort = binary.BigEndian.Uint16(h[2:])
	p.Payload = p.L4 + uint16(header)
	return drop.Pass
}
