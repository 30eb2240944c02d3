package packet

import "encoding/binary"

// Unreachable says why a packet cannot be delivered. Each family has its own code for it.
// The zero value is illegal.
type Unreachable uint8

// The reasons that a firewall gives.
const (
	UnreachableUnset      Unreachable = iota
	UnreachableRoute                  // no route (IPv4 code 0, IPv6 code 0)
	UnreachableHost                   // the neighbour does not answer (1, 3)
	UnreachablePort                   // nobody listens (3, 4)
	UnreachableProhibited             // refused by policy (13, 1)
	unreachableCount
)

// unreachableCodes are the codes of RFC 792, RFC 1812 section 5.2.7.1 and RFC 4443 section 3.1.
var unreachableCodes = [unreachableCount]struct{ v4, v6 uint8 }{
	UnreachableRoute: {0, 0}, UnreachableHost: {1, 3}, UnreachablePort: {3, 4}, UnreachableProhibited: {13, 1},
}

const (
	icmpCodeFragmentationNeeded = 4
	quoteMaxIPv4                = 576 - ipv4Len - icmpLen  // RFC 1812 section 4.3.2.3
	quoteMaxIPv6                = 1280 - ipv6Len - icmpLen // RFC 4443 section 2.4 c
)

// An error message of either family (RFC 792, RFC 4443 section 3):
//
//	0      1      2          4                  8
//	+------+------+----------+------------------+----------- - -
//	| type | code | checksum | 0, or MTU        | the packet as its sender sent it, cut
//	+------+------+----------+------------------+----------- - -

// AppendTimeExceeded writes to dst an ICMP or ICMPv6 time exceeded (in transit) in answer to
// the packet in frame, from the address from, and returns the length of the frame.
//
// Of this and the two functions below: frame must still be as it was received, so that the
// sender gets its own packet quoted (H9). The answer goes back to the station that sent it.
// They return 0 where no error may be sent: about an ICMP error, a fragment, anything to
// or from a group, on either layer, or when from is of the wrong family or dst too short.
// dst must not overlap frame. Limiting the rate is up to the caller.
func AppendTimeExceeded(dst, frame []byte, p *Parsed, from Addr) int {
	if p.Version == 4 {
		return putError(dst, frame, p, &icmpError{from: from, kind: icmpTimeExceeded})
	}
	return putError(dst, frame, p, &icmpError{from: from, kind: icmpv6TimeExceeded})
}

// AppendUnreachable writes a destination unreachable, see AppendTimeExceeded.
func AppendUnreachable(dst, frame []byte, p *Parsed, from Addr, why Unreachable) int {
	if why == UnreachableUnset || why >= unreachableCount {
		return 0
	}
	code := unreachableCodes[why]
	if p.Version == 4 {
		return putError(dst, frame, p, &icmpError{from: from, kind: icmpUnreachable, code: code.v4})
	}
	return putError(dst, frame, p, &icmpError{from: from, kind: icmpv6Unreachable, code: code.v6})
}

// AppendTooBig writes a fragmentation needed or packet too big, see AppendTimeExceeded. mtu
// is that of the next link, in bytes. It returns 0 for an IPv4 packet that may be fragmented.
func AppendTooBig(dst, frame []byte, p *Parsed, from Addr, mtu uint16) int {
	e := icmpError{from: from, kind: icmpv6PacketTooBig, rest: uint32(mtu)}
	if p.Version == 4 {
		if binary.BigEndian.Uint16(frame[p.L3+ipv4FragAt:])&ipv4DontFrag == 0 {
			return 0
		}
		e.kind, e.code = icmpUnreachable, icmpCodeFragmentationNeeded
	}
	return putError(dst, frame, p, &e)
}

// icmpError is what differs between error messages.
type icmpError struct {
	from       Addr
	kind, code uint8
	rest       uint32 // the last four bytes of the ICMP header
	aboutPiece bool   // the packet may be a piece of a datagram
}

func putError(dst, frame []byte, p *Parsed, e *icmpError) int {
	if !addressable(frame, p) || p.Fragment && !e.aboutPiece || p.IsICMPError() || e.from.Is4() != (p.Version == 4) ||
		e.from.IsMulticast() || e.from == (Addr{}) {
		return 0
	}
	proto, most := ICMP, quoteMaxIPv4
	if p.Version == 6 {
		proto, most = ICMPv6, quoteMaxIPv6
	}
	quote := frame[p.L3:p.End]
	quote = quote[:min(len(quote), most)]
	h := header{
		to: SrcMAC(frame), from: DstMAC(frame), src: e.from, dst: p.Tuple.Src,
		proto: proto, ttl: ttlOwn, class: classNetwork, length: icmpLen + len(quote),
	}
	icmp, frameLen := h.put(dst)
	if frameLen == 0 {
		return 0
	}
	icmp[0], icmp[1] = e.kind, e.code
	binary.BigEndian.PutUint32(icmp[4:], e.rest)
	copy(icmp[icmpLen:], quote)
	h.putSum(icmp, icmpSumAt)
	return frameLen
}

// answerable reports whether a packet is one that may be answered at all: a whole packet
// from one host to one host (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e).
func answerable(frame []byte, p *Parsed) bool {
	return !p.Fragment && addressable(frame, p)
}

// addressable reports whether a packet is from one host to one host.
func addressable(frame []byte, p *Parsed) bool {
	return p.Kind == KindIP && !p.DstMulticast() &&
		p.Tuple.Src != (Addr{}) && !DstMAC(frame).IsGroup() && !SrcMAC(frame).IsGroup()
}
