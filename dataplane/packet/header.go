package packet

import "encoding/binary"

// frameMin is the shortest Ethernet frame without its check sequence (IEEE 802.3). Frames of
// our own are padded by hand, because AF_XDP passes no code that would.
const frameMin = 60

// header is what the Ethernet and IP headers of a frame of our own say.
type header struct {
	to, from MAC
	src, dst Addr // of one family
	proto    Proto
	ttl      uint8
	class    uint8 // type of service or traffic class
	length   int   // of what follows the IP header, in bytes
}

// Values for our own packets.
const (
	ttlOwn           = 64   // RFC 1700's default, and the kernel's
	ttlOnLink        = 255  // proof that no router touched it (RFC 4861 section 7.1)
	classNetwork     = 0xc0 // internetwork control, for errors (RFC 1812 section 4.3.2.5)
	classBestEffort  = 0
	ipv4VersionIHL   = 0x45
	ipv6VersionShift = 28
)

// ipLen returns the length of the IP header.
func (h *header) ipLen() int {
	if h.src.Is4() {
		return ipv4Len
	}
	return ipv6Len
}

// put writes the headers to dst and clears what follows them, padding included. It returns
// the transport part of dst and the length of the frame, or 0 if dst is too short for it.
// An IPv4 packet is sent as an atomic datagram, don't fragment and ID 0 (RFC 6864).
func (h *header) put(dst []byte) (transport []byte, frameLen int) {
	l4 := ethernetLen + h.ipLen()
	end := l4 + h.length
	frameLen = max(end, frameMin)
	if len(dst) < frameLen {
		return nil, 0
	}
	clear(dst[:frameLen])
	SetMACs(dst, h.to, h.from)
	ip := dst[ethernetLen:l4]
	if h.src.Is4() {
		binary.BigEndian.PutUint16(dst[12:], etherIPv4)
		ip[0], ip[1] = ipv4VersionIHL, h.class
		binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Len+h.length))
		binary.BigEndian.PutUint16(ip[ipv4FragAt:], ipv4DontFrag)
		ip[ipv4TTLAt], ip[ipv4ProtoAt] = h.ttl, uint8(h.proto)
		copy(ip[ipv4SrcAt:], h.src[12:])
		copy(ip[ipv4DstAt:], h.dst[12:])
		binary.BigEndian.PutUint16(ip[ipv4SumAt:], ^fold(sum(ip)))
	} else {
		binary.BigEndian.PutUint16(dst[12:], etherIPv6)
		binary.BigEndian.PutUint32(ip, 6<<ipv6VersionShift|uint32(h.class)<<20)
		binary.BigEndian.PutUint16(ip[4:], uint16(h.length))
		ip[6], ip[ipv6HopLimitAt] = uint8(h.proto), h.ttl
		copy(ip[ipv6SrcAt:], h.src[:])
		copy(ip[ipv6DstAt:], h.dst[:])
	}
	return dst[l4:end], frameLen
}

// putSum writes the transport checksum, whose field at offset at holds zero so far.
func (h *header) putSum(transport []byte, at int) {
	total := sum(transport)
	if h.proto != ICMP {
		total = add(total, pseudoSum(&h.src, &h.dst, h.proto, len(transport)))
	}
	binary.BigEndian.PutUint16(transport[at:], ^fold(total))
}
