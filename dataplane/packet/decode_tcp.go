package packet

import (
	"encoding/binary"

	"holdfast/dataplane/drop"
)

// A TCP header (RFC 9293 section 3.1):
//
//	0         2         4     8     12       13      14       16         18      20
//	+---------+---------+-----+-----+--------+-------+--------+----------+-------+-- -
//	| SrcPort | DstPort | Seq | Ack | off| AE| flags | window | checksum | urgent| options
//	+---------+---------+-----+-----+--------+-------+--------+----------+-------+-- -
const (
	tcpLen   = 20
	tcpSumAt = 16
)

// decodeTCP checks lengths before flags, and both before it believes anything else.
func decodeTCP(segment []byte, p *Parsed) drop.Reason {
	if len(segment) < tcpLen {
		return drop.TCPTruncated
	}
	h := segment[:tcpLen]
	header := int(h[12]>>4) * 4
	if header < tcpLen || header > len(segment) {
		return drop.TCPTruncated
	}
	flags := TCPFlags(h[13])
	if !flags.Valid() {
		return drop.TCPFlagsInvalid
	}
	p.Tuple.SrcPort = binary.BigEndian.Uint16(h[0:])
	p.Tuple.DstPort = binary.BigEndian.Uint16(h[2:])
	p.Seq = binary.BigEndian.Uint32(h[4:])
	p.Ack = binary.BigEndian.Uint32(h[8:])
	p.SACKRight = p.Ack
	p.Window = binary.BigEndian.Uint16(h[14:])
	p.TCPFlags = flags
	p.Payload = p.L4 + uint16(header)
	if header > tcpLen {
		options := segment[tcpLen:header]
		// What established connections nearly always carry (RFC 7323 appendix A):
		// NOP NOP TIMESTAMP alone, in which there is nothing for us.
		if len(options) != 12 || binary.BigEndian.Uint32(options) != 0x0101080a {
			decodeTCPOptions(options, p)
		}
	}
	return drop.Pass
}

// validFlags has bit f set when the flags f, of FIN to URG, may stand together (A6): SYN,
// SYN+URG, SYN+ACK, RST, RST+ACK, FIN+ACK, FIN+ACK+URG, ACK, ACK+URG, each with or without
// PSH. For example SYN+ACK is 0x12, so bits 0x12 and 0x1a are set.
const validFlags uint64 = (1<<FlagSYN | 1<<(FlagSYN|FlagURG) | 1<<(FlagSYN|FlagACK) |
	1<<FlagRST | 1<<(FlagRST|FlagACK) | 1<<(FlagFIN|FlagACK) | 1<<(FlagFIN|FlagACK|FlagURG) |
	1<<FlagACK | 1<<(FlagACK|FlagURG)) * (1 + 1<<FlagPSH)

// Valid reports whether the flags may stand together (A6). ECE and CWR never matter.
func (f TCPFlags) Valid() bool {
	return validFlags>>(f&(FlagECE-1))&1 != 0
}

// The TCP options that the tracker reads (IANA "TCP Option Kind Numbers").
const (
	tcpOptionEnd           = 0
	tcpOptionNop           = 1
	tcpOptionMSS           = 2
	tcpOptionWScale        = 3
	tcpOptionSACKPermitted = 4
	tcpOptionSACK          = 5
	tcpOptionFixed         = 2 // kind and length
	wscaleMax              = 14
	sackBlock              = 8 // left and right edge
)

// decodeTCPOptions reads what it knows and stops at the first length that cannot be (A7):
// a bad option never makes a segment invalid. Of a repeated option the last counts.
func decodeTCPOptions(options []byte, p *Parsed) {
	syn := p.TCPFlags&FlagSYN != 0
	for len(options) > 0 {
		switch options[0] {
		case tcpOptionEnd:
			return
		case tcpOptionNop:
			options = options[1:]
			continue
		}
		if len(options) < tcpOptionFixed {
			return
		}
		n := int(options[1])
		if n < tcpOptionFixed || n > len(options) {
			return
		}
		value := options[tcpOptionFixed:n]
		switch options[0] {
		case tcpOptionMSS:
			if syn && len(value) == 2 {
				p.MSS = binary.BigEndian.Uint16(value)
				p.TCPOptions |= HasMSS
			}
		case tcpOptionWScale:
			if syn && len(value) == 1 {
				p.WScale = min(value[0], wscaleMax) // RFC 7323 section 2.3
				p.TCPOptions |= HasWScale
			}
		case tcpOptionSACKPermitted:
			if syn && len(value) == 0 {
				p.TCPOptions |= HasSACKPermitted
			}
		case tcpOptionSACK:
			decodeSACK(value, p)
		}
		options = options[n:]
	}
}

// decodeSACK moves p.SACKRight to the furthest right edge, modulo 2^32. Blocks that are not
// whole are ignored together.
func decodeSACK(blocks []byte, p *Parsed) {
	if p.TCPFlags&FlagACK == 0 || len(blocks) == 0 || len(blocks)%sackBlock != 0 {
		return
	}
	p.TCPOptions |= HasSACK
	for ; len(blocks) >= sackBlock; blocks = blocks[sackBlock:] {
		right := binary.BigEndian.Uint32(blocks[4:])
		if int32(right-p.SACKRight) > 0 {
			p.SACKRight = right
		}
	}
}
