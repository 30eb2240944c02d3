package packet

import (
	"encoding/binary"
	"math/bits"
)

// ClampMSS lowers the maximum segment size that the SYN or SYN/ACK in frame offers to most,
// and reports whether it did. A smaller one stays, and where there is none it adds none (the
// default of 536 bytes then holds, RFC 9293 section 3.7.1). Options are read as Decode reads
// them: up to the first length that cannot be.
//
// The checksum is adjusted, so one that was wrong stays wrong (A4). It adds up words that
// begin at even offsets of the segment; an option behind an odd number of bytes straddles
// two of them, each of its bytes in the other half than usual:
//
//	offset    20   21   22   23   24           for example NOP, MSS
//	        +----+----+----+----+----+
//	        | 01 | 02 | 04 | hi | lo |         word 22: 04 hi     word 24: lo ..
//	        +----+----+----+----+----+
//
// so what the change adds is that of the two bytes exchanged.
func ClampMSS(frame []byte, p *Parsed, most uint16) (lowered bool) {
	if p.TCPFlags&FlagSYN == 0 || p.Fragment {
		return false
	}
	segment := frame[p.L4:p.Payload]
	for at := tcpLen; at+tcpOptionFixed <= len(segment); {
		switch segment[at] {
		case tcpOptionEnd:
			return lowered
		case tcpOptionNop:
			at++
			continue
		}
		n := int(segment[at+1])
		if n < tcpOptionFixed || at+n > len(segment) {
			return lowered
		}
		if segment[at] == tcpOptionMSS && n == tcpOptionMSSLen {
			value := segment[at+tcpOptionFixed : at+n]
			if was := binary.BigEndian.Uint16(value); was > most {
				binary.BigEndian.PutUint16(value, most)
				delta := word(^was) + word(most)
				if at%2 != 0 {
					delta = word(^bits.ReverseBytes16(was)) + word(bits.ReverseBytes16(most))
				}
				adjust(segment[tcpSumAt:], fold(delta))
				lowered = true
			}
		}
		at += n
	}
	return lowered
}

// tcpOptionMSSLen is the length of the option with its two bytes of value.
const tcpOptionMSSLen = 4
