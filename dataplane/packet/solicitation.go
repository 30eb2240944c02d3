package packet

import "encoding/binary"

// Offsets of ARP (see AppendGratuitousARP) and of a neighbour solicitation (RFC 4861
// section 4.3), from the beginning of the message.
const (
	arpOperationAt = 6
	arpSenderMACAt = 8
	arpSenderAt    = 14
	arpTargetMACAt = 18
	arpTargetAt    = 24
	arpRequest     = 1
	arpReply       = 2

	icmpv6NeighborSolicitation = 135
	solicitationLen            = 24
	solicitedAt                = 8

	advertisementSolicited = 0x40
)

// arpHead is hardware Ethernet, protocol IPv4, addresses of 6 and 4 bytes, a request.
var arpHead = [8]byte{0, 1, etherIPv4 >> 8, etherIPv4 & 0xff, 6, 4, 0, arpRequest}

// Solicited returns the address whose station a frame asks for: an ARP request, or a
// neighbour solicitation that is valid by RFC 4861 section 7.1.1. Probes whether anybody
// has an address (RFC 5227, RFC 4862) ask too; an announcement of one asks nothing.
func Solicited(frame []byte, p *Parsed) (target Addr, ok bool) {
	switch p.Kind {
	case KindARP:
		arp := frame[p.L4:][:arpLen]
		sender := MAC(arp[arpSenderMACAt:arpSenderAt])
		if [8]byte(arp) != arpHead || sender.IsGroup() || sender == (MAC{}) {
			return Addr{}, false
		}
		target[10], target[11] = 0xff, 0xff
		copy(target[12:], arp[arpTargetAt:arpLen])
		return target, [4]byte(arp[arpSenderAt:]) != [4]byte(arp[arpTargetAt:])
	case KindND:
		if p.ICMPType != icmpv6NeighborSolicitation || p.ICMPCode != 0 || p.TTL != ttlOnLink || int(p.End) < int(p.L4)+solicitationLen || !VerifyChecksum(frame, p) {
			return Addr{}, false
		}
		target = Addr(frame[p.L4+solicitedAt:])
		if p.Tuple.Src == (Addr{}) && !isSolicitedNode(&p.Tuple.Dst) || SrcMAC(frame).IsGroup() {
			return Addr{}, false
		}
		return target, !target.IsMulticast() && !target.Is4() && target != p.Tuple.Src
	}
	return Addr{}, false
}

// isSolicitedNode: ff02::1:ff00:0/104 (RFC 4291 section 2.7.1).
func isSolicitedNode(a *Addr) bool {
	return [13]byte(a[:]) == [13]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff}
}

// AppendSolicitedAnswer writes to dst the answer of the station mac, which has the address
// that a frame asks for (see Solicited): an ARP reply, or a solicited advertisement of a
// router, to all nodes where who asks has no address yet (RFC 4861 section 7.2.4). It
// returns its length, 0 if dst is too short.
func AppendSolicitedAnswer(dst, frame []byte, p *Parsed, mac MAC, target Addr) int {
	if p.Kind == KindARP {
		n := AppendGratuitousARP(dst, mac, target)
		if n == 0 {
			return 0
		}
		asked, arp := frame[p.L4:][:arpLen], dst[ethernetLen:][:arpLen]
		SetMACs(dst, MAC(asked[arpSenderMACAt:]), mac)
		binary.BigEndian.PutUint16(arp[arpOperationAt:], arpReply)
		copy(arp[arpTargetMACAt:arpTargetAt], asked[arpSenderMACAt:])
		copy(arp[arpTargetAt:], asked[arpSenderAt:arpTargetMACAt])
		return n
	}
	if p.Tuple.Src == (Addr{}) {
		return AppendUnsolicitedNA(dst, mac, target)
	}
	h := header{
		to: SrcMAC(frame), from: mac, src: target, dst: p.Tuple.Src,
		proto: ICMPv6, ttl: ttlOnLink, class: classBestEffort, length: advertisementLen,
	}
	return h.putAdvertisement(dst, advertisementRouter|advertisementOverride|advertisementSolicited)
}
