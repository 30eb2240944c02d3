package packet

import (
	"encoding/binary"

	"holdfast/dataplane/drop"
)

// A GRE header (RFC 2784, with key and sequence number RFC 2890), and the enhanced one of
// PPTP (RFC 2637 section 4.1), which is version 1. Each optional word is there if its flag
// is set, in this order; in version 1 the key is the payload's length and the call id, and
// the acknowledgement stands last.
//
//	0                       2          4                 8     12                16
//	+---+---+---+---+-+---+-+----------+-----------------+-----+-----------------+
//	| C | R | K | S | |A|  V| protocol | [checksum, 0]   |[key]| [sequence, ack] | payload
//	+---+---+---+---+-+---+-+----------+-----------------+-----+-----------------+
const (
	greLen       = 4
	greChecksum  = 0x8000
	greRouting   = 0x4000 // RFC 1701; its checksum word is there too
	greKey       = 0x2000
	greSequence  = 0x1000
	greAck       = 0x0080 // version 1 only
	greVersion   = 0x0007
	grePPTP      = 1
	greProtoPPP  = 0x880b
	greWordBytes = 4
)

// decodeGRE finds the payload. It leaves the tuple without ports: GRE is tracked by its
// addresses, as nf_conntrack does without its PPTP helper.
//
// The key does not name a connection. It belongs to a direction: RFC 2890 lets the two
// ends use two keys, and Linux tunnels have an ikey and an okey, so a tuple with the key
// would not know its own answer. Nor does the call id of version 1, which each end
// chooses for itself and says only in the control connection (RFC 2637 section 2.7); who
// reads that, a PPTP helper, can name it. So of two hosts behind one external address
// only one can have a tunnel to the same far end, and the other finds its tuple taken.
//
// Neither is translated: the checksum of GRE covers no address (RFC 2784 section 2.5).
func decodeGRE(segment []byte, p *Parsed) drop.Reason {
	if len(segment) < greLen {
		return drop.GREInvalid
	}
	flags := binary.BigEndian.Uint16(segment)
	header := greLen
	for _, word := range [...]uint16{greKey, greSequence} {
		if flags&word != 0 {
			header += greWordBytes
		}
	}
	switch flags & greVersion {
	case 0:
		if flags&(greChecksum|greRouting) != 0 {
			header += greWordBytes
		}
	case grePPTP: // with key, without checksum and routing
		if flags&(greChecksum|greRouting|greKey) != greKey || binary.BigEndian.Uint16(segment[2:]) != greProtoPPP {
			return drop.GREInvalid
		}
		if flags&greAck != 0 {
			header += greWordBytes
		}
	default:
		return drop.GREInvalid
	}
	if header > len(segment) {
		return drop.GREInvalid
	}
	p.Payload = p.L4 + uint16(header)
	return drop.Pass
}
