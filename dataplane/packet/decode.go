package packet

import (
	"encoding/binary"

	"holdfast/dataplane/drop"
)

// An Ethernet II frame, without preamble and check sequence (IEEE 802.3):
//
//	0       6       12      14
//	+-------+-------+-------+---------- - -
//	| to    | from  | type  | packet, then padding up to 60 bytes
//	+-------+-------+-------+---------- - -
const (
	ethernetLen = 14
	etherIPv4   = 0x0800
	etherARP    = 0x0806
	etherVLAN   = 0x8100 // 802.1Q
	etherQinQ   = 0x88a8 // 802.1ad
	etherIPv6   = 0x86dd

	// frameMax bounds what is taken for a frame: UMEM frames are at most 4096 bytes long.
	frameMax = 0xffff
)

// arpLen is the length of an ARP packet for IPv4 over Ethernet (RFC 826).
const arpLen = 28

// Decode looks at a whole Ethernet frame and fills p. It returns drop.Pass when p is
// complete and the packet is fit for the stages that p.Kind allows, otherwise the reason
// to drop it. It neither keeps nor changes frame.
//
// drop.Fragment is what it says of a piece of a datagram, about which nothing can be decided
// alone: see PieceOf, and DecodeWhole for when all of them are together.
func Decode(frame []byte, p *Parsed) drop.Reason {
	*p = Parsed{}
	if len(frame) < ethernetLen {
		return drop.FrameTruncated
	}
	if len(frame) > frameMax {
		return drop.TooBig
	}
	p.L3 = ethernetLen
	var reason drop.Reason
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherIPv4:
		reason = decodeIPv4(frame, p)
	case etherIPv6:
		reason = decodeIPv6(frame, p)
	case etherARP:
		return decodeARP(frame, p)
	case etherVLAN:
		p.Kind = KindOther
		return drop.VLANUnexpected
	case etherQinQ:
		p.Kind = KindOther
		return drop.VLANStacked
	default:
		p.Kind = KindOther
		return drop.EtherTypeUnknown
	}
	switch reason {
	case drop.Pass:
		if p.Kind == KindUnset {
			p.Kind = KindIP
		}
	case drop.Fragment:
		p.Kind = KindIP
	default:
		p.Kind = KindUnset
	}
	return reason
}

// decodeARP only makes sure that the fixed part is there: the kernel judges the rest.
func decodeARP(frame []byte, p *Parsed) drop.Reason {
	if len(frame) < ethernetLen+arpLen {
		return drop.FrameTruncated
	}
	p.Kind = KindARP
	p.L4, p.Payload, p.End = ethernetLen, ethernetLen, uint32(len(frame))
	return drop.Pass
}

// decodeTransport decodes what follows the IP headers. segment begins at p.L4 and ends
// at p.End. A protocol that is not known by name has zero ports and no header.
func decodeTransport(segment []byte, p *Parsed) drop.Reason {
	switch p.Tuple.Proto {
	case TCP:
		return decodeTCP(segment, p)
	case UDP:
		return decodeUDP(segment, p)
	case UDPLite:
		return decodeUDPLite(segment, p)
	case ICMP, ICMPv6:
		return decodeICMP(segment, p)
	}
	return decodeRarer(segment, p)
}

// decodeRarer goes on with the protocols that the path meets less often. It is a function
// of its own so that the switch of the frequent ones stays small.
//
// Of ESP and AH, of tunnels (IPIP, 6in4) and of what routers tell each other (OSPF, IGMP,
// PIM) only the addresses are known: their index or identifier, where they have one, is of
// one direction alone (RFC 4303 section 2.1), so it names no connection.
func decodeRarer(segment []byte, p *Parsed) drop.Reason {
	switch p.Tuple.Proto {
	case SCTP:
		return decodeSCTP(segment, p)
	case GRE:
		return decodeGRE(segment, p)
	case DCCP:
		return decodeDCCP(segment, p)
	}
	p.Payload = p.L4
	return drop.Pass
}

// A UDP header (RFC 768). UDP-Lite (RFC 3828) has the checksum's coverage in place of the
// length.
//
//	0         2         4         6         8
//	+---------+---------+---------+---------+
//	| SrcPort | DstPort | length  | checksum|
//	+---------+---------+---------+---------+
const (
	udpLen   = 8
	udpSumAt = 6
)

// decodeUDP accepts a datagram shorter than the packet: what follows it is not covered
// by the checksum, and passes unchanged.
func decodeUDP(segment []byte, p *Parsed) drop.Reason {
	if len(segment) < udpLen {
		return drop.UDPTruncated
	}
	h := segment[:udpLen]
	length := int(binary.BigEndian.Uint16(h[4:]))
	if length < udpLen || length > len(segment) {
		return drop.UDPTruncated
	}
	if p.Version == 6 && h[6]|h[7] == 0 {
		return drop.UDPNoChecksum // RFC 8200 section 8.1
	}
	p.Tuple.SrcPort = binary.BigEndian.Uint16(h[0:])
	p.Tuple.DstPort = binary.BigEndian.Uint16(h[2:])
	p.Payload = p.L4 + udpLen
	return drop.Pass
}

// decodeUDPLite demands a checksum in either family, over the whole header at least (RFC
// 3828 section 3.1).
func decodeUDPLite(segment []byte, p *Parsed) drop.Reason {
	if len(segment) < udpLen {
		return drop.UDPTruncated
	}
	h := segment[:udpLen]
	coverage := int(binary.BigEndian.Uint16(h[4:])) // 0 is all of it
	if coverage != 0 && (coverage < udpLen || coverage > len(segment)) {
		return drop.UDPLiteCoverage
	}
	if h[6]|h[7] == 0 {
		return drop.UDPNoChecksum
	}
	p.Tuple.SrcPort = binary.BigEndian.Uint16(h[0:])
	p.Tuple.DstPort = binary.BigEndian.Uint16(h[2:])
	p.Payload = p.L4 + udpLen
	return drop.Pass
}

// An ICMP or ICMPv6 header (RFC 792, RFC 4443). Queries have the identifier.
//
//	0      1      2         4             6          8
//	+------+------+---------+-------------+----------+
//	| type | code | checksum| identifier  | sequence |
//	+------+------+---------+-------------+----------+
const (
	icmpLen   = 8
	icmpSumAt = 2
	icmpIDAt  = 4
)

func decodeICMP(segment []byte, p *Parsed) drop.Reason {
	if (p.Tuple.Proto == ICMP) != (p.Version == 4) {
		return drop.ICMPTypeUntracked // each family has its own protocol
	}
	if len(segment) < icmpLen {
		return drop.ICMPTruncated
	}
	h := segment[:icmpLen]
	p.ICMPType, p.ICMPCode = h[0], h[1]
	p.Payload = p.L4 + icmpLen
	if p.Version == 6 {
		switch t := p.ICMPType; {
		case t >= icmpv6RouterSolicitation && t <= icmpv6Redirect:
			p.Kind = KindND
		case t >= icmpv6ListenerQuery && t <= icmpv6ListenerDone, t == icmpv6ListenerReport2:
			p.Kind = KindMLD
		}
	}
	p.Tuple.DstPort = binary.BigEndian.Uint16(h[0:])
	if isICMPQuery(p.Tuple.Proto, p.ICMPType) {
		p.Tuple.SrcPort = binary.BigEndian.Uint16(h[icmpIDAt:])
	}
	return drop.Pass
}
