package packet

import (
	"fmt"
	"net/netip"
)

// PortID numbers a logical port (lan, wan, ...) of the firewall, 0 to 63. Nodes of a
// cluster agree on the numbers because they are the ranks of the sorted port names
// of the policy, which is the same on every node.
type PortID uint8

// NoPort is no logical port.
const NoPort PortID = 0xff

// Self is the node itself, where a connection that it begins comes in, or one that is for
// it goes out. It has no number of its own among the logical ports: like the address of
// the node in fib.Table, its way leads over none.
const Self = NoPort

// Proto is an IP protocol number (IANA "Assigned Internet Protocol Numbers").
type Proto uint8

// The protocols that the path knows by name.
const (
	ICMP    Proto = 1
	TCP     Proto = 6
	UDP     Proto = 17
	DCCP    Proto = 33
	GRE     Proto = 47
	ESP     Proto = 50
	ICMPv6  Proto = 58
	SCTP    Proto = 132
	UDPLite Proto = 136
)

// String returns the usual short name, or the number.
func (p Proto) String() string {
	switch p {
	case ICMP:
		return "icmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case DCCP:
		return "dccp"
	case GRE:
		return "gre"
	case ESP:
		return "esp"
	case ICMPv6:
		return "icmpv6"
	case SCTP:
		return "sctp"
	case UDPLite:
		return "udplite"
	}
	return fmt.Sprintf("proto-%d", uint8(p))
}

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

// String returns the tuple as "tcp 10.0.0.2:40000 > 203.0.113.9:443".
func (t Tuple) String() string {
	return fmt.Sprintf("%v %v > %v", t.Proto, netip.AddrPortFrom(t.Src.Netip(), t.SrcPort),
		netip.AddrPortFrom(t.Dst.Netip(), t.DstPort))
}

// ICMP query types that have an answer (RFC 792, RFC 950, RFC 4443). A message of one
// of these types carries an identifier.
const (
	ICMPEchoReply          = 0
	ICMPEchoRequest        = 8
	ICMPTimestampRequest   = 13
	ICMPTimestampReply     = 14
	ICMPInformationRequest = 15
	ICMPInformationReply   = 16
	ICMPAddressMaskRequest = 17
	ICMPAddressMaskReply   = 18
	ICMPv6EchoRequest      = 128
	ICMPv6EchoReply        = 129
)

// Reply returns the tuple of the packets that answer t where nothing is translated.
// An ICMP type without an answer maps to itself.
func (t Tuple) Reply() Tuple {
	r := t
	r.Src, r.Dst = t.Dst, t.Src
	r.SrcPort, r.DstPort = t.ReplyPorts()
	return r
}

// ReplyPorts returns the ports of Reply.
func (t *Tuple) ReplyPorts() (src, dst uint16) {
	switch t.Proto {
	case ICMP, ICMPv6:
		return t.SrcPort, uint16(icmpCounterpart(t.Proto, uint8(t.DstPort>>8)))<<8 | t.DstPort&0xff
	}
	return t.DstPort, t.SrcPort
}

// IsEchoRequest reports whether the tuple is that of an echo request.
func (t *Tuple) IsEchoRequest() bool {
	return t.Proto == ICMP && t.DstPort == ICMPEchoRequest<<8 || t.Proto == ICMPv6 && t.DstPort == ICMPv6EchoRequest<<8
}

// IsEchoReply reports whether the tuple is that of the answer to one.
func (t *Tuple) IsEchoReply() bool {
	return t.Proto == ICMP && t.DstPort == ICMPEchoReply<<8 || t.Proto == ICMPv6 && t.DstPort == ICMPv6EchoReply<<8
}

// icmpCounterpart returns the type that answers typ, or that typ answers. A type that
// is no query maps to itself.
func icmpCounterpart(proto Proto, typ uint8) uint8 {
	if proto == ICMPv6 {
		if typ == ICMPv6EchoRequest || typ == ICMPv6EchoReply {
			return typ ^ 1
		}
		return typ
	}
	switch typ {
	case ICMPEchoRequest:
		return ICMPEchoReply
	case ICMPEchoReply:
		return ICMPEchoRequest
	case ICMPTimestampRequest, ICMPInformationRequest, ICMPAddressMaskRequest:
		return typ + 1
	case ICMPTimestampReply, ICMPInformationReply, ICMPAddressMaskReply:
		return typ - 1
	}
	return typ
}

// isICMPQuery reports whether a message of type typ carries an identifier.
func isICMPQuery(proto Proto, typ uint8) bool { return icmpCounterpart(proto, typ) != typ }

// isICMPError reports whether typ is an error message, or a redirect, which counts as one:
// no error may be sent about it (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e).
func isICMPError(proto Proto, typ uint8) bool {
	if proto == ICMPv6 {
		return typ < ICMPv6EchoRequest || typ == icmpv6Redirect
	}
	switch typ {
	case icmpUnreachable, icmpSourceQuench, icmpRedirect, icmpTimeExceeded, icmpParameterProblem:
		return true
	}
	return false
}

// The other ICMP types that this package acts on.
const (
	icmpUnreachable      = 3
	icmpSourceQuench     = 4
	icmpRedirect         = 5
	icmpTimeExceeded     = 11
	icmpParameterProblem = 12

	icmpv6Unreachable           = 1
	icmpv6PacketTooBig          = 2
	icmpv6TimeExceeded          = 3
	icmpv6ParameterProblem      = 4
	icmpv6ListenerQuery         = 130 // to 132, listener done: MLD, RFC 2710
	icmpv6ListenerDone          = 132
	icmpv6RouterSolicitation    = 133 // to 137, redirect: ND, RFC 4861
	icmpv6NeighborAdvertisement = 136
	icmpv6Redirect              = 137
	icmpv6ListenerReport2       = 143 // MLDv2, RFC 3810
)
