package packet

import "encoding/binary"

// AnnouncementLen is the longest frame that AppendAnnouncement writes.
const AnnouncementLen = ethernetLen + ipv6Len + advertisementLen

// AppendAnnouncement writes to dst the frame that tells every neighbour that the station
// mac has the address addr, and returns its length: a gratuitous ARP or an unsolicited
// neighbour advertisement, by the family of addr. One frame tells one address; who has a
// list of them calls it for each, with a frame of its own.
func AppendAnnouncement(dst []byte, mac MAC, addr Addr) int {
	if addr.Is4() {
		return AppendGratuitousARP(dst, mac, addr)
	}
	return AppendUnsolicitedNA(dst, mac, addr)
}

// AppendGratuitousARP writes an ARP announcement: a request to everybody whose sender and
// target are addr (RFC 5227 section 2.3). The request form is the one that every stack
// updates its cache by. It returns 0 if addr is no IPv4 address of a host, or dst is too
// short.
//
//	0     2      4    5    6    8            14        18           24        28
//	+-----+------+----+----+----+------------+---------+------------+---------+
//	| 1   | 0800 | 6  | 4  | op | sender MAC | sender  | target MAC | target  |
//	+-----+------+----+----+----+------------+---------+------------+---------+
func AppendGratuitousARP(dst []byte, mac MAC, addr Addr) int {
	if !addr.Is4() || addr.IsMulticast() || len(dst) < frameMin {
		return 0
	}
	clear(dst[:frameMin])
	SetMACs(dst, Broadcast, mac)
	binary.BigEndian.PutUint16(dst[12:], etherARP)
	arp := dst[ethernetLen:][:arpLen]
	copy(arp, []byte{0, 1, etherIPv4 >> 8, etherIPv4 & 0xff, 6, 4, 0, 1})
	copy(arp[8:], mac[:])
	copy(arp[14:], addr[12:])
	copy(arp[24:], addr[12:])
	return frameMin
}

// A neighbour advertisement with its one option (RFC 4861 section 4.4):
//
//	0      1      2          4        8         24     25     26        32
//	+------+------+----------+--------+---------+------+------+---------+
//	| 136  | 0    | checksum | RSO, 0 | target  | 2    | 1    | MAC     |
//	+------+------+----------+--------+---------+------+------+---------+
const (
	advertisementLen      = 32
	advertisementRouter   = 0x80 // without it neighbours strike us from their default routers
	advertisementOverride = 0x20
	optionTargetLinkLayer = 2
)

var (
	allNodes    = Addr{0: 0xff, 1: 0x02, 15: 1} // ff02::1
	allNodesMAC = MAC{0: 0x33, 1: 0x33, 5: 1}   // RFC 2464 section 7
)

// AppendUnsolicitedNA writes a neighbour advertisement of a router to all nodes that
// overrides what they have cached (RFC 4861 section 7.2.6). It returns 0 if addr is no
// IPv6 address of a host, or dst is too short.
func AppendUnsolicitedNA(dst []byte, mac MAC, addr Addr) int {
	if addr.Is4() || addr.IsMulticast() || addr == (Addr{}) {
		return 0
	}
	h := header{
		to: allNodesMAC, from: mac, src: addr, dst: allNodes,
		proto: ICMPv6, ttl: ttlOnLink, class: classBestEffort, length: advertisementLen,
	}
	return h.putAdvertisement(dst, advertisementRouter|advertisementOverride)
}

// putAdvertisement writes the advertisement by which the station of the header says that
// the header's source is there.
func (h *header) putAdvertisement(dst []byte, flags byte) int {
	na, frameLen := h.put(dst)
	if frameLen == 0 {
		return 0
	}
	na[0], na[4] = icmpv6NeighborAdvertisement, flags
	copy(na[8:], h.src[:])
	na[24], na[25] = optionTargetLinkLayer, 1
	copy(na[26:], h.from[:])
	h.putSum(na, icmpSumAt)
	return frameLen
}
