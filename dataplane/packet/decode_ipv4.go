package packet

import (
	"encoding/binary"
	"math/bits"

	"holdfast/dataplane/drop"
)

// An IPv4 header (RFC 791):
//
//	0         1      2        4       6          8     9       10        12    16    20
//	+---------+------+--------+-------+----------+-----+-------+---------+-----+-----+-- -
//	| 4 | IHL | TOS  | length | ID    | RDM|off  | TTL | proto | checksum| Src | Dst | options
//	+---------+------+--------+-------+----------+-----+-------+---------+-----+-----+-- -
const (
	ipv4Len        = 20
	ipv4FragAt     = 6
	ipv4TTLAt      = 8
	ipv4ProtoAt    = 9
	ipv4SumAt      = 10
	ipv4SrcAt      = 12
	ipv4DstAt      = 16
	ipv4FragMask   = 0x3fff // more fragments, and the offset
	ipv4OffsetMask = 0x1fff
	ipv4DontFrag   = 0x4000
)

func decodeIPv4(frame []byte, p *Parsed) drop.Reason {
	if len(frame) < ethernetLen+ipv4Len {
		return drop.FrameTruncated
	}
	h := frame[ethernetLen:]
	// All of the first eight bytes comes from one load. Had h[0] a load of its own, the
	// compiler would build this word of eight (measured 2026-11-21: 1.6 ns of 17.6).
	first := binary.LittleEndian.Uint64(h)
	header := int(first&0x0f) * 4
	total := int(bits.ReverseBytes16(uint16(first >> 16)))
	switch {
	case first&0xf0 != 4<<4 || header < ipv4Len || total < header:
		return drop.IPv4HeaderInvalid
	case total > len(h):
		return drop.FrameTruncated
	}
	words := add(first, binary.LittleEndian.Uint64(h[8:]))
	words = add(words, uint64(binary.LittleEndian.Uint32(h[16:])))
	if header > ipv4Len {
		words = add(words, sum(h[ipv4Len:header]))
	}
	if !isRight(words) {
		return drop.IPv4BadChecksum
	}
	p.Version = 4
	p.TTL = h[ipv4TTLAt]
	p.L4 = uint16(ethernetLen + header)
	p.End = uint32(ethernetLen + total)

	p.Tuple.Src.set4(h[ipv4SrcAt:])
	p.Tuple.Dst.set4(h[ipv4DstAt:])
	p.Tuple.Proto = Proto(h[ipv4ProtoAt])
	if invalidIPv4(binary.BigEndian.Uint32(h[ipv4SrcAt:]), binary.BigEndian.Uint32(h[ipv4DstAt:])) {
		return drop.AddressInvalid
	}
	if header > ipv4Len {
		if reason := scanIPv4Options(h[ipv4Len:header]); reason != drop.Pass {
			return reason
		}
	}
	if binary.BigEndian.Uint16(h[ipv4FragAt:])&ipv4FragMask != 0 {
		p.Fragment = true
		p.Payload = p.L4
		return drop.Fragment
	}
	return decodeTransport(h[header:total], p)
}

// invalidIPv4 reports a source that no host has (0/8, 127/8, a group, the broadcast), a
// destination that no wire leads to (0/8, 127/8), and a packet to its own sender (A8; RFC
// 1122 section 3.2.1.3). Class E is left alone.
func invalidIPv4(src, dst uint32) bool {
	s, d := src>>24, dst>>24
	return src == dst || s == 0 || s == 127 || s>>4 == 0xe || src == 0xffffffff || d == 0 || d == 127
}

// The IPv4 options that matter (RFC 791 section 3.1).
const (
	ipv4OptionEnd   = 0
	ipv4OptionNop   = 1
	ipv4OptionLSRR  = 131
	ipv4OptionSSRR  = 137
	ipv4OptionFixed = 2 // type and length
)

// scanIPv4Options refuses source routes, and options whose length cannot be: a receiver
// that reads them otherwise than we do might find a source route there.
func scanIPv4Options(options []byte) drop.Reason {
	for len(options) > 0 {
		switch options[0] {
		case ipv4OptionEnd:
			return drop.Pass
		case ipv4OptionNop:
			options = options[1:]
			continue
		case ipv4OptionLSRR, ipv4OptionSSRR:
			return drop.IPv4SourceRoute
		}
		if len(options) < ipv4OptionFixed {
			return drop.IPv4HeaderInvalid
		}
		n := int(options[1])
		if n < ipv4OptionFixed || n > len(options) {
			return drop.IPv4HeaderInvalid
		}
		options = options[n:]
	}
	return drop.Pass
}
