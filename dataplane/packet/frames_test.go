package packet

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"holdfast/dataplane/drop"
)

// Stations and hosts of the tests.
var (
	macHost = MAC{0x02, 0, 0, 0, 0, 0x01}
	macWall = MAC{0x02, 0, 0, 0, 0, 0xfe}
)

const (
	client4, server4 = "10.0.0.2", "203.0.113.9"
	client6, server6 = "2001:db8:1::2", "2001:db8:9::9"
)

func addr(s string) Addr { return AddrFrom(netip.MustParseAddr(s)) }

// ether returns a frame from macHost to macWall.
func ether(etherType uint16, packet []byte) []byte {
	f := make([]byte, ethernetLen, ethernetLen+len(packet))
	SetMACs(f, macWall, macHost)
	binary.BigEndian.PutUint16(f[12:], etherType)
	return append(f, packet...)
}

// ipv4 returns an IPv4 frame with a right header checksum. options must be a multiple of four.
func ipv4(src, dst string, proto Proto, options, segment []byte) []byte {
	h := make([]byte, ipv4Len, ipv4Len+len(options)+len(segment))
	h[0] = 4<<4 | uint8(5+len(options)/4)
	h[1] = 0xb9 // DSCP and ECN
	binary.BigEndian.PutUint16(h[2:], uint16(ipv4Len+len(options)+len(segment)))
	binary.BigEndian.PutUint16(h[4:], 0x1234)
	binary.BigEndian.PutUint16(h[6:], ipv4DontFrag)
	h[8], h[9] = 64, uint8(proto)
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(h[12:], s[:])
	copy(h[16:], d[:])
	h = append(h, options...)
	f := ether(etherIPv4, append(h, segment...))
	sumHeader4(f)
	return f
}

// sumHeader4 sets the IPv4 header checksum after a change.
func sumHeader4(f []byte) {
	header := f[ethernetLen:][:max(ipv4Len, min(int(f[14]&15)*4, len(f)-ethernetLen))]
	header[10], header[11] = 0, 0
	binary.BigEndian.PutUint16(header[10:], ^slowSum(header))
}

// ipv6 returns an IPv6 frame; chain stands between header and segment and begins with a
// header of type next.
func ipv6(src, dst string, next Proto, chain, segment []byte) []byte {
	h := make([]byte, ipv6Len, ipv6Len+len(chain)+len(segment))
	binary.BigEndian.PutUint32(h, 6<<28|0xb9<<20|0x54321)
	binary.BigEndian.PutUint16(h[4:], uint16(len(chain)+len(segment)))
	h[6], h[7] = uint8(next), 64
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	copy(h[8:], s[:])
	copy(h[24:], d[:])
	h = append(h, chain...)
	return ether(etherIPv6, append(h, segment...))
}

func tcp(flags TCPFlags, options, payload []byte) []byte {
	h := make([]byte, tcpLen, tcpLen+len(options)+len(payload))
	binary.BigEndian.PutUint16(h[0:], 40000)
	binary.BigEndian.PutUint16(h[2:], 443)
	binary.BigEndian.PutUint32(h[4:], 1000)
	binary.BigEndian.PutUint32(h[8:], 2000)
	h[12] = uint8(5+len(options)/4) << 4
	h[13] = uint8(flags)
	binary.BigEndian.PutUint16(h[14:], 512)
	return append(append(h, options...), payload...)
}

func udp(payload []byte) []byte {
	h := make([]byte, udpLen, udpLen+len(payload))
	binary.BigEndian.PutUint16(h[0:], 5000)
	binary.BigEndian.PutUint16(h[2:], 53)
	binary.BigEndian.PutUint16(h[4:], uint16(udpLen+len(payload)))
	h[6] = 1 // some checksum
	return append(h, payload...)
}

// chunk returns an SCTP chunk, padded.
func chunk(kind, flags uint8, value ...byte) []byte {
	n := 4 + len(value)
	return append(append([]byte{kind, flags, byte(n >> 8), byte(n)}, value...), make([]byte, (4-n%4)%4)...)
}

// initChunk returns an INIT (1) or INIT ACK (2) without parameters.
func initChunk(kind uint8, tag uint32) []byte {
	value := binary.BigEndian.AppendUint32(nil, tag)
	return chunk(kind, 0, append(value, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1)...)
}

func sctp(tag uint32, chunks ...[]byte) []byte {
	h := make([]byte, sctpLen)
	binary.BigEndian.PutUint16(h[0:], 7000)
	binary.BigEndian.PutUint16(h[2:], 38412)
	binary.BigEndian.PutUint32(h[4:], tag)
	for _, c := range chunks {
		h = append(h, c...)
	}
	return h
}

// dccp returns a packet with a header as short as its type allows, with X.
func dccp(kind uint8, payload []byte) []byte {
	h := make([]byte, max(dccpLenOf[kind], 16), 64+len(payload))
	binary.BigEndian.PutUint16(h[0:], 5004)
	binary.BigEndian.PutUint16(h[2:], 5005)
	h[4] = uint8(len(h) / 4)
	h[8] = kind<<1 | 1
	return append(h, payload...)
}

// gre returns a packet with all the words that its flags and version ask for.
func gre(flags uint16, payload []byte) []byte {
	h := []byte{byte(flags >> 8), byte(flags), 0x08, 0x00}
	words := 0
	for _, f := range []uint16{greKey, greSequence} {
		if flags&f != 0 {
			words++
		}
	}
	if flags&greVersion == grePPTP {
		h[2], h[3] = 0x88, 0x0b
		if flags&greAck != 0 {
			words++
		}
	} else if flags&(greChecksum|greRouting) != 0 {
		words++
	}
	for i := range 4 * words {
		h = append(h, byte(0xa0+i))
	}
	return append(h, payload...)
}

func icmp(kind, code uint8, id uint16, payload []byte) []byte {
	h := make([]byte, icmpLen, icmpLen+len(payload))
	h[0], h[1] = kind, code
	binary.BigEndian.PutUint16(h[4:], id)
	return append(h, payload...)
}

// summed sets the right transport checksum of a frame that Decode passes, by the slow sum.
func summed(t testing.TB, f []byte) []byte {
	t.Helper()
	p := mustDecode(t, f)
	if p.Tuple.Proto == SCTP {
		binary.LittleEndian.PutUint32(f[p.L4+sctpSumAt:], slowCRC(f[p.L4:p.End]))
		return f
	}
	if at := sumAt(p.Tuple.Proto); at >= 0 {
		field := f[int(p.L4)+at:][:2]
		field[0], field[1] = 0, 0
		s := ^slowTransportSum(f, p)
		if s == 0 && (p.Tuple.Proto == UDP || p.Tuple.Proto == UDPLite) {
			s = 0xffff
		}
		binary.BigEndian.PutUint16(field, s)
	}
	return f
}

// sumAt returns where the checksum stands in the transport header, or -1.
func sumAt(proto Proto) int {
	switch proto {
	case TCP:
		return 16
	case UDP, UDPLite, DCCP:
		return 6
	case ICMP, ICMPv6:
		return 2
	}
	return -1
}

// slowCRC is the CRC-32C of an SCTP packet bit by bit (RFC 9260 appendix A).
func slowCRC(segment []byte) uint32 {
	crc := uint32(0xffffffff)
	for i, v := range segment {
		if i >= 8 && i < 12 {
			v = 0 // the field itself
		}
		crc ^= uint32(v)
		for range 8 {
			crc = crc>>1 ^ 0x82f63b78&-(crc&1)
		}
	}
	return ^crc
}

// slowSum is the ones' complement sum of RFC 1071 in its plainest form.
func slowSum(parts ...[]byte) uint16 {
	var total uint32
	for _, b := range parts {
		for i, v := range b {
			if i%2 == 0 {
				total += uint32(v) << 8
			} else {
				total += uint32(v)
			}
			for total > 0xffff {
				total = total&0xffff + total>>16
			}
		}
	}
	return uint16(total)
}

// slowTransportSum is the sum of everything that the transport checksum covers, the
// checksum itself included: 0xffff when that is right.
func slowTransportSum(f []byte, p *Parsed) uint16 {
	segment := f[p.L4:p.End]
	length := len(segment)
	switch p.Tuple.Proto {
	case ICMP:
		return slowSum(segment)
	case UDP:
		length = int(binary.BigEndian.Uint16(segment[4:]))
		segment = segment[:length]
	case DCCP:
		if coverage := int(segment[5] & 15); coverage > 0 {
			segment = segment[:int(segment[4])*4+coverage*4-4]
		}
	case UDPLite:
		if coverage := int(binary.BigEndian.Uint16(segment[4:])); coverage > 0 {
			segment = segment[:coverage]
		}
	}
	rest := []byte{byte(length >> 8), byte(length), 0, byte(p.Tuple.Proto)}
	if p.Version == 4 {
		return slowSum(f[26:30], f[30:34], rest, segment)
	}
	dst := f[38:54]
	if p.SourceRouted() {
		dst = f[p.finalDst:][:16]
	}
	return slowSum(f[22:38], dst, rest, segment)
}

func mustDecode(t testing.TB, f []byte) *Parsed {
	t.Helper()
	p := new(Parsed)
	if r := Decode(f, p); r != drop.Pass {
		t.Fatalf("Decode: %v, want pass\n% x", r, f)
	}
	return p
}

// with returns a copy of f in which change was made and the IPv4 header checksum set anew.
func with(f []byte, change func(f []byte)) []byte {
	c := append([]byte(nil), f...)
	change(c)
	if binary.BigEndian.Uint16(c[12:]) == etherIPv4 && len(c) >= ethernetLen+ipv4Len {
		sumHeader4(c)
	}
	return c
}
