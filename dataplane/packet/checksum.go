package packet

import (
	"encoding/binary"
	"math/bits"
)

// The internet checksum (RFC 1071) is the complement of the ones' complement sum of
// 16-bit words: the sum modulo 65535, in which 0 is written 0xffff unless all words are 0.
//
// A sum on its way is kept in 64 bits, which can hold any number of words, of 16, 32 or 64
// bits, because 2^16 is 1 modulo 65535. It is made of words read little-endian, since
// the order of bytes does not matter until the end (RFC 1071 section 2 B) and this one
// costs no swaps; fold brings it to 16 bits in network order. For example, the bytes
// 12 34 56 78 have the sum 0x78563412, which folds to 0x3412+0x7856 = 0xac68, swapped 0x68ac,
// and that is 0x1234+0x5678.

// add adds two sums, with the carry brought around to the low end.
func add(a, b uint64) uint64 {
	total, carry := bits.Add64(a, b, 0)
	return total + carry
}

// fold brings a sum down to 16 bits in network order. Adding a number to itself with its
// halves exchanged leaves their sum, carry included, in the upper half.
func fold(total uint64) uint16 {
	words := uint32((total + bits.RotateLeft64(total, 32)) >> 32)
	return bits.ReverseBytes16(uint16((words + bits.RotateLeft32(words, 16)) >> 16))
}

// word is the sum of one number in host order.
func word(v uint16) uint64 { return uint64(bits.ReverseBytes16(v)) }

// sum adds up b, an odd last byte padded with zero.
func sum(b []byte) uint64 {
	var total uint64
	for ; len(b) >= 8; b = b[8:] {
		total = add(total, binary.LittleEndian.Uint64(b))
	}
	var rest [8]byte
	copy(rest[:], b)
	return add(total, binary.LittleEndian.Uint64(rest[:]))
}

// isRight reports whether total, the sum of data with a checksum in it, is a multiple of
// 65535 and so the checksum right. Data of zeros only is not told from right data.
func isRight(total uint64) bool { return total%0xffff == 0 }

// sum adds up the address. Of an IPv4 address in its mapped form it gives the same as of
// the address alone, since the ffff in front of it is zero in this arithmetic.
func (a *Addr) sum() uint64 {
	return add(binary.LittleEndian.Uint64(a[:8]), binary.LittleEndian.Uint64(a[8:]))
}

// pseudoSum is the sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1) of
// either family.
func pseudoSum(src, dst *Addr, proto Proto, length int) uint64 {
	return add(add(src.sum(), dst.sum()), word(uint16(proto))+word(uint16(length)))
}

// adjust adds delta to the data that the checksum in field covers: HC' = ~(~HC + delta),
// where delta = ~m + m' (RFC 1624 equation 3). It gives exactly what a full computation
// gives if the checksum was right, and one that is wrong by as much as before otherwise.
func adjust(field []byte, delta uint16) {
	total := uint32(^binary.BigEndian.Uint16(field)) + uint32(delta)
	binary.BigEndian.PutUint16(field, ^uint16(total>>16+total))
}

// VerifyChecksum reports whether the transport checksum of a decoded packet is right, by
// the bytes that stand in frame now. It is true where nothing can be judged: a protocol
// without one that we know, UDP over IPv4 with checksum 0, a fragment. The path does not
// call it.
func VerifyChecksum(frame []byte, p *Parsed) bool {
	if p.Fragment || p.Version == 0 {
		return true
	}
	segment := frame[p.L4:p.End]
	length := len(segment)
	switch p.Tuple.Proto {
	case TCP, ICMPv6:
	case SCTP:
		return crcSCTP(segment) == binary.LittleEndian.Uint32(segment[sctpSumAt:])
	case DCCP:
		segment = dccpCovered(segment)
	case UDP:
		if segment[udpSumAt]|segment[udpSumAt+1] == 0 && p.Version == 4 {
			return true
		}
		length = int(binary.BigEndian.Uint16(segment[4:]))
		segment = segment[:length]
	case UDPLite:
		if coverage := int(binary.BigEndian.Uint16(segment[4:])); coverage != 0 {
			segment = segment[:coverage]
		}
	case ICMP:
		return fold(sum(segment)) == 0xffff
	default:
		return true
	}
	src, dst := addressesAt(frame, p)
	return fold(add(pseudoSum(&src, &dst, p.Tuple.Proto, length), sum(segment))) == 0xffff
}

// dccpCovered returns the part of a DCCP packet that its checksum covers: all of it, or
// the header and so many words of the data, less one, as the coverage says (RFC 4340
// section 9.2). A coverage past the packet covers all.
func dccpCovered(segment []byte) []byte {
	coverage := int(segment[5] & 15)
	if coverage == 0 {
		return segment
	}
	return segment[:min(int(segment[4])*4+(coverage-1)*4, len(segment))]
}

// addressesAt reads the addresses that the transport checksum covers out of frame.
func addressesAt(frame []byte, p *Parsed) (src, dst Addr) {
	if p.Version == 4 {
		src.set4(frame[p.L3+ipv4SrcAt:])
		dst.set4(frame[p.L3+ipv4DstAt:])
		return src, dst
	}
	dstAt := p.L3 + ipv6DstAt
	if p.SourceRouted() {
		dstAt = p.finalDst
	}
	return Addr(frame[p.L3+ipv6SrcAt:]), Addr(frame[dstAt:])
}
