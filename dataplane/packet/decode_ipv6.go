package packet

import (
	"encoding/binary"

	"holdfast/dataplane/drop"
)

// An IPv6 header (RFC 8200 section 3):
//
//	0                       4        6      7           8         24        40
//	+---+-------+-----------+--------+------+-----------+---------+---------+
//	| 6 | class | flow label| length | next | hop limit | Src     | Dst     |
//	+---+-------+-----------+--------+------+-----------+---------+---------+
const (
	ipv6Len        = 40
	ipv6HopLimitAt = 7
	ipv6SrcAt      = 8
	ipv6DstAt      = 24
)

// The IPv6 extension headers (IANA "IPv6 Extension Header Types"). ESP is none for us:
// nothing after it can be read.
const (
	extHopByHop    Proto = 0
	extRouting     Proto = 43
	extFragment    Proto = 44
	extAuth        Proto = 51 // RFC 4302
	extDestination Proto = 60
	extMobility    Proto = 135 // RFC 6275
	extHIP         Proto = 139 // RFC 7401
	extShim6       Proto = 140 // RFC 5533
)

// Bounds of the chain (M1). Real packets carry one or two extension headers.
const (
	extHeadersMax = 8
	extBytesMax   = 256
	extUnit       = 8 // shortest extension header, and unit of most lengths
	extAuthMin    = 12
)

// The routing types that name the final destination in their first address: mobile IPv6
// (RFC 6275 section 6.4) and segment routing (RFC 8754 section 2). Type 0 is forbidden.
const (
	routingType0   = 0 // RFC 5095
	routingMobile  = 2
	routingSegment = 4
)

func decodeIPv6(frame []byte, p *Parsed) drop.Reason {
	if len(frame) < ethernetLen+ipv6Len {
		return drop.FrameTruncated
	}
	h := frame[ethernetLen:]
	length := int(binary.BigEndian.Uint16(h[4:]))
	next := Proto(h[6])
	switch {
	case h[0]>>4 != 6:
		return drop.IPv6HeaderInvalid
	case length == 0 && next == extHopByHop:
		return drop.IPv6Jumbogram // M6
	}
	if length > len(h)-ipv6Len {
		return drop.FrameTruncated
	}
	p.Version = 6
	p.TTL = h[ipv6HopLimitAt]
	p.L4 = ethernetLen + ipv6Len
	p.End = uint32(ethernetLen + ipv6Len + length)
	p.Tuple.Src = Addr(h[ipv6SrcAt:])
	p.Tuple.Dst = Addr(h[ipv6DstAt:])
	p.Tuple.Proto = next
	if invalidIPv6(p) {
		return drop.AddressInvalid
	}
	sawFragment := false
	if isExtension(next) {
		var reason drop.Reason
		if sawFragment, reason = walkExtensions(frame[:p.End], p); reason != drop.Pass {
			return reason
		}
	}
	reason := decodeTransport(frame[p.L4:p.End], p)
	switch {
	case reason != drop.Pass:
		return reason
	case p.Kind == KindND && sawFragment:
		return drop.IPv6ChainInvalid // RFC 6980 section 5
	case p.Kind == KindUnset && p.Tuple.Src == Addr{}:
		return drop.AddressInvalid // only for hosts that are about to get an address
	}
	return drop.Pass
}

// invalidIPv6 reports a source that no host has (a group, loopback, mapped IPv4), a
// destination that no wire leads to (unspecified, loopback, mapped IPv4), and a packet to
// its own sender (A8). Mapped addresses on the wire would be taken for IPv4 inside. The
// unspecified source is judged later, when it is known who uses it.
func invalidIPv6(p *Parsed) bool {
	srcHigh, srcLow := p.Tuple.Src.halves()
	dstHigh, dstLow := p.Tuple.Dst.halves()
	switch {
	case srcHigh == dstHigh && srcLow == dstLow, srcHigh>>56 == 0xff:
		return true
	case srcHigh == 0 && (srcLow == 1 || srcLow>>32 == mappedHigh):
		return true
	case dstHigh == 0 && (dstLow <= 1 || dstLow>>32 == mappedHigh):
		return true
	}
	return false
}

func isExtension(next Proto) bool {
	switch next {
	case extHopByHop, extRouting, extFragment, extAuth, extDestination, extMobility, extHIP, extShim6:
		return true
	}
	return false
}

// walkExtensions moves p.L4 and p.Tuple.Proto past the extension headers, of which there
// is at least one. packet ends at p.End. It stops at a piece of a datagram and returns
// drop.Fragment: what follows there may not be a header. Most headers look like this:
//
//	0      1        2               8 * (length+1)
//	+------+--------+------- - -----+
//	| next | length | ...           |     Fragment: always 8; Auth: 4 * (length+2)
//	+------+--------+------- - -----+
func walkExtensions(packet []byte, p *Parsed) (sawFragment bool, reason drop.Reason) {
	at := int(p.L4)
	end := min(len(packet), at+extBytesMax)
	kind := p.Tuple.Proto
	for count := 0; isExtension(kind); count++ {
		if count == extHeadersMax || end-at < extUnit || kind == extHopByHop && count > 0 {
			return sawFragment, drop.IPv6ChainInvalid
		}
		h := packet[at:end]
		n := (int(h[1]) + 1) * extUnit
		switch kind {
		case extAuth:
			n = (int(h[1]) + 2) * 4
			if n < extAuthMin {
				return sawFragment, drop.IPv6ChainInvalid
			}
		case extFragment:
			if sawFragment {
				return true, drop.IPv6ChainInvalid // CVE-2023-4809
			}
			sawFragment = true
			n = extUnit
			if binary.BigEndian.Uint16(h[2:])&0xfff9 != 0 { // offset, and more fragments
				p.Fragment = true
				p.L4 = uint16(at + n)
				p.Payload = p.L4
				p.Tuple.Proto = Proto(h[0])
				return true, drop.Fragment
			}
		}
		if n > len(h) {
			return sawFragment, drop.IPv6ChainInvalid
		}
		if kind == extRouting {
			if reason := decodeRouting(h[:n], at, p); reason != drop.Pass {
				return sawFragment, reason
			}
		}
		kind = Proto(h[0])
		at += n
	}
	p.L4 = uint16(at)
	p.Tuple.Proto = kind
	return sawFragment, drop.Pass
}

// decodeRouting finds the final destination behind a routing header h at offset at.
//
//	0      1        2      3               8
//	+------+--------+------+---------------+---+---------------+-- -
//	| next | length | type | segments left |   | last address  | ...
//	+------+--------+------+---------------+---+---------------+-- -
func decodeRouting(h []byte, at int, p *Parsed) drop.Reason {
	kind, left := h[2], int(h[3])
	if kind == routingType0 {
		return drop.IPv6RoutingType0
	}
	if left == 0 {
		return drop.Pass // the packet is past its last stop
	}
	// A type whose addresses we cannot read hides what the checksum covers.
	if kind != routingMobile && kind != routingSegment || 8+16*left > len(h) {
		return drop.IPv6ChainInvalid
	}
	p.finalDst = uint16(at + 8)
	return drop.Pass
}
