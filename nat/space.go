package nat

import "holdfast/dataplane/packet"

// space is a space of port numbers. ICMP and ICMPv6 are one, because an address has
// either.
type space uint8

const (
	noPorts space = iota
	tcpPorts
	udpPorts
	udpLitePorts
	sctpPorts
	dccpPorts
	identifiers
	spaces
)

func spaceOf(p packet.Proto) space {
	switch p {
	case packet.TCP:
		return tcpPorts
	case packet.UDP:
		return udpPorts
	case packet.UDPLite:
		return udpLitePorts
	case packet.SCTP:
		return sctpPorts
	case packet.DCCP:
		return dccpPorts
	case packet.ICMP, packet.ICMPv6:
		return identifiers
	}
	return noPorts
}

// proto is the inverse of spaceOf for an address of one family.
func (k space) proto(a *packet.Addr) packet.Proto {
	switch k {
	case tcpPorts:
		return packet.TCP
	case udpPorts:
		return packet.UDP
	case udpLitePorts:
		return packet.UDPLite
	case sctpPorts:
		return packet.SCTP
	case dccpPorts:
		return packet.DCCP
	}
	if a.Is4() {
		return packet.ICMP
	}
	return packet.ICMPv6
}
