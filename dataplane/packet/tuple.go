package packet

import "net/netip"

// PortID numbers a logical port (lan, wan, ...) of the firewall, 0 to 63. Nodes of a
// cluster agree on the numbers because they are the ranks of the sorted port names
// of the policy, which is the same on every node.
type PortID uint8

// NoPort is no logical port.
const NoPort PortID = 0xff

// Proto is an IP protocol number (IANA "Assigned Internet Protocol Numbers").
type Proto uint8

// The protocols that the path knows by name.
const (
	ICMP    Proto = 1
	TCP     Proto = 6
	UDP     Proto = 17
	GRE     Proto = 47
	ESP     Proto = 50
	ICMPv6  Proto = 58
	SCTP    Proto = 132
	UDPLite Proto = 136
)

// Addr is an IP address in one 16-byte form: IPv6 as it is, IPv4 mapped as
// ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). The family matters only to decode and rewrite.
type Addr [16]byte

// AddrFrom converts a, of either family, without its zone.
func AddrFrom(a netip.Addr) Addr { return a.As16() }

// Netip returns the address in the standard library's form, IPv4 unmapped.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// Is4 reports whether a holds an IPv4 address.
func (a *Addr) Is4() bool {
	return *(*[12]byte)(a[:12]) == [12]byte{10: 0xff, 11: 0xff}
}

// String returns the usual text form.
func (a Addr) String() string { return a.Netip().String() }

// Tuple names one direction of a connection. It is a comparable value and the key of
// the connection table.
//
//	 0               16              32      34      36    38    39    40
//	+---------------+---------------+-------+-------+-----+-----+-----+
//	| Src           | Dst           |SrcPort|DstPort|Zone |Proto| 0   |
//	+---------------+---------------+-------+-------+-----+-----+-----+
//
// Ports are in host order. Protocols without ports have zero in both. For ICMP and
// ICMPv6 queries, as in nf_conntrack, SrcPort is the query's identifier and DstPort is
// type<<8 | code of the direction that this tuple describes.
type Tuple struct {
	Src, Dst         Addr
	SrcPort, DstPort uint16
	Zone             uint16
	Proto            Proto
	_                uint8
}

// ICMP query types that have an answer (RFC 792, RFC 950, RFC 4443).
const (
	ICMPEchoReply        = 0
	ICMPEchoRequest      = 8
	ICMPTimestampRequest = 13
	ICMPTimestampReply   = 14
	ICMPv6EchoRequest    = 128
	ICMPv6EchoReply      = 129
)

// Reply returns the tuple of the packets that answer t where nothing is translated.
// An ICMP type without an answer maps to itself.
func (t Tuple) Reply() Tuple {
	r := t
	r.Src, r.Dst = t.Dst, t.Src
	switch t.Proto {
	case ICMP, ICMPv6:
		r.DstPort = uint16(icmpCounterpart(t.Proto, uint8(t.DstPort>>8)))<<8 | t.DstPort&0xff
	default:
		r.SrcPort, r.DstPort = t.DstPort, t.SrcPort
	}
	return r
}

// icmpCounterpart returns the type that answers typ, or that typ answers.
func icmpCounterpart(proto Proto, typ uint8) uint8 {
	if proto == ICMPv6 {
		switch typ {
		case ICMPv6EchoRequest:
			return ICMPv6EchoReply
		case ICMPv6EchoReply:
			return ICMPv6EchoRequest
		}
		return typ
	}
	switch typ {
	case ICMPEchoRequest:
		return ICMPEchoReply
	case ICMPEchoReply:
		return ICMPEchoRequest
	case ICMPTimestampRequest:
		return ICMPTimestampReply
	case ICMPTimestampReply:
		return ICMPTimestampRequest
	}
	return typ
}

// MAC is an Ethernet address.
type MAC [6]byte
