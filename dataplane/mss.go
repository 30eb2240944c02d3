package dataplane

import (
	"math"

	"holdfast/dataplane/packet"
)

// Clamp bounds the MSS that SYNs and SYN/ACKs over a port may offer, in bytes. The zero
// value bounds nothing.
type Clamp uint16

// ClampPath is what the smaller MTU of the two ports of a packet leaves for a segment.
const ClampPath Clamp = math.MaxUint16

// Bytes of IP and TCP headers without options, which an MTU counts and an MSS does not
// (RFC 9293 section 3.7.1).
const (
	headers4 = 20 + 20
	headers6 = 40 + 20
)

// bound returns the largest MSS that a SYN may offer that crosses from one port to another.
// Both ports count, so that it is the same for both directions of a connection.
func (s *share) bound(out *share, version uint8) uint16 {
	headers := headers4
	if version == 6 {
		headers = headers6
	}
	most := math.MaxUint16
	for _, c := range [2]Clamp{s.Clamp, out.Clamp} {
		switch c {
		case 0:
		case ClampPath:
			most = min(most, max(min(s.MTU, out.MTU)-headers, 0))
		default:
			most = min(most, int(c))
		}
	}
	return uint16(most)
}

// clampMSS keeps a SYN or SYN/ACK from offering more than the links on its way carry, so
// that a path whose ICMP errors are lost does not swallow the connection's data.
func clampMSS(frame []byte, p *packet.Parsed, in, out *share) {
	if in.Clamp|out.Clamp != 0 {
		packet.ClampMSS(frame, p, in.bound(out, p.Version))
	}
}
