package packet

import (
	"encoding/binary"
	"math"
)

// Splice is what turns the TCP segments of one end into what the other end knows, where the
// firewall has answered the client itself, with a number of its own, before the server gave
// one. It is added to what Rewrite changes.
//
//	client <-- C --- firewall <-- S --- server     offset = C - S
//	server's segments:  Seq += offset              window of the server's scale, in that which
//	                                               the client was told
//	client's segments:  Ack, SACK edges -= offset  window of the client's scale, unscaled for a
//	                                               server that does not scale
//
// The zero value changes nothing.
type Splice struct {
	Seq, Ack uint32 // added modulo 2^32; Ack also to the edges of SACK blocks
	Up, Down uint8  // the window is shifted up by one and down by the other; at most 14 each
}

// window returns what a window becomes. Shifted down it is rounded down, so an end never
// sends what its peer has not allowed.
func (s *Splice) window(w uint16) uint16 {
	return uint16(min(uint32(w)<<s.Up>>s.Down, math.MaxUint16))
}

// Shift makes p what Decode would find after Apply.
func (s *Splice) Shift(p *Parsed) {
	p.Seq += s.Seq
	if p.TCPFlags&FlagACK != 0 {
		p.Ack += s.Ack
		p.SACKRight += s.Ack
	}
	if p.TCPFlags&FlagSYN == 0 { // the window of a SYN is never scaled (RFC 7323 section 2.2)
		p.Window = s.window(p.Window)
	}
}

// Apply changes the TCP segment in frame. The checksum is adjusted, so one that was wrong
// stays wrong (A4). p is not changed and still tells what the sender sent.
func (s *Splice) Apply(frame []byte, p *Parsed) {
	h := frame[p.L4:p.Payload]
	delta := uint64(0)
	if s.Seq != 0 {
		delta = advance(h, 4, s.Seq)
	}
	if s.Ack != 0 && p.TCPFlags&FlagACK != 0 {
		delta = add(delta, advance(h, 8, s.Ack))
		if p.TCPOptions&HasSACK != 0 {
			delta = add(delta, s.advanceSACK(h))
		}
	}
	if p.TCPFlags&FlagSYN == 0 && s.Up != s.Down {
		was := binary.BigEndian.Uint16(h[tcpWindowAt:])
		is := s.window(was)
		binary.BigEndian.PutUint16(h[tcpWindowAt:], is)
		delta = add(delta, word(^was)+word(is))
	}
	if delta != 0 {
		adjust(h[tcpSumAt:], fold(delta))
	}
}

// tcpWindowAt is where the window lies in a TCP header.
const tcpWindowAt = 14

// advance adds n to the number at an offset of a segment, and returns what that adds to the
// segment's sum. At an odd offset each byte lies in the other half of a word than usual, so
// the sum's two bytes are exchanged.
func advance(segment []byte, at int, n uint32) uint64 {
	field := segment[at : at+4]
	was := binary.LittleEndian.Uint32(field)
	binary.BigEndian.PutUint32(field, binary.BigEndian.Uint32(field)+n)
	delta := uint64(^was) + uint64(binary.LittleEndian.Uint32(field))
	if at%2 != 0 {
		return uint64(fold(delta)) // word would exchange them back
	}
	return delta
}

// advanceSACK moves both edges of every SACK block, in the options that Decode reads: those
// whose blocks are whole, up to the first length that cannot be.
func (s *Splice) advanceSACK(segment []byte) (delta uint64) {
	for at := tcpLen; at+tcpOptionFixed <= len(segment); {
		switch segment[at] {
		case tcpOptionEnd:
			return delta
		case tcpOptionNop:
			at++
			continue
		}
		n := int(segment[at+1])
		if n < tcpOptionFixed || at+n > len(segment) {
			return delta
		}
		if segment[at] == tcpOptionSACK && (n-tcpOptionFixed)%sackBlock == 0 {
			for edge := at + tcpOptionFixed; edge < at+n; edge += 4 {
				delta = add(delta, advance(segment, edge, s.Ack))
			}
		}
		at += n
	}
	return delta
}
