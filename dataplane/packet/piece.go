package packet

import (
	"encoding/binary"

	"holdfast/dataplane/drop"
)

// A piece of an IPv4 datagram says where it lies in it in its IP header (RFC 791), one of
// an IPv6 datagram in its Fragment header (RFC 8200 section 4.5). Offsets count units of
// eight bytes of what is cut: all that follows the IPv4 header, all that follows the
// Fragment header.
//
//	4      6                  8           0      1   2              4                8
//	+------+-+-+-+------------+           +------+---+----------+---+----------------+
//	| ID   |R|D|M| offset 13  |           | next | 0 | offset 13|0 M| ID             |
//	+------+-+-+-+------------+           +------+---+----------+---+----------------+
const (
	ipv4IDAt       = 4
	ipv4MoreFrags  = 0x2000
	pieceUnit      = 8
	datagramMax    = 0xffff // bytes: an IPv4 packet, and what follows an IPv6 header
	fragmentLen    = 8      // an IPv6 Fragment header
	fragmentIDAt   = 4
	fragmentMore   = 1
	fragmentFields = 2 // offset and M
)

// WholeMax is how long the frame of a whole datagram can be that came in pieces, in bytes.
const WholeMax = ethernetLen + ipv6Len + datagramMax

// Piece says where the data of a piece, frame[L4:End], lies in its datagram.
type Piece struct {
	ID         uint32 // in host order; 16 bits in IPv4
	Start, End int    // bytes of what is cut: End > Start
	Last       bool   // no more follow: End is the datagram's
}

// PieceOf reads a piece that Decode refused with drop.Fragment. It returns drop.Pass, or
// drop.FragmentInvalid for a piece that no datagram has (K5): an empty one, one whose
// length is no multiple of eight though more follow, one that ends past 65,535 bytes.
func PieceOf(frame []byte, p *Parsed) (q Piece, why drop.Reason) {
	var field uint16
	headers := int(p.L4 - p.L3)
	if p.Version == 4 {
		h := frame[p.L3:][:ipv4Len]
		field = binary.BigEndian.Uint16(h[ipv4FragAt:])
		q.ID = uint32(binary.BigEndian.Uint16(h[ipv4IDAt:]))
		q.Last = field&ipv4MoreFrags == 0
		q.Start = int(field&ipv4OffsetMask) * pieceUnit
	} else {
		h := frame[p.L4-fragmentLen:][:fragmentLen]
		field = binary.BigEndian.Uint16(h[fragmentFields:])
		q.ID = binary.BigEndian.Uint32(h[fragmentIDAt:])
		q.Last = field&fragmentMore == 0
		q.Start = int(field &^ (pieceUnit - 1))
		headers -= ipv6Len + fragmentLen
	}
	n := int(p.End) - int(p.L4)
	q.End = q.Start + n
	if n == 0 || !q.Last && n%pieceUnit != 0 || headers+q.End > datagramMax {
		return Piece{}, drop.FragmentInvalid
	}
	return q, drop.Pass
}

// Identification returns the identification of a decoded packet that is no piece: 0 in IPv6,
// where only pieces have one.
func Identification(frame []byte, p *Parsed) uint32 {
	if p.Version == 6 {
		return 0
	}
	return uint32(binary.BigEndian.Uint16(frame[p.L3+ipv4IDAt:]))
}

// Addresses reads the addresses of a decoded IP packet as they stand in frame now.
func Addresses(frame []byte, p *Parsed) (src, dst Addr) {
	if p.Version == 4 {
		src.set4(frame[p.L3+ipv4SrcAt:])
		dst.set4(frame[p.L3+ipv4DstAt:])
		return src, dst
	}
	return Addr(frame[p.L3+ipv6SrcAt:]), Addr(frame[p.L3+ipv6DstAt:])
}

// Class returns the type of service or traffic class of a decoded IP packet.
func Class(frame []byte, p *Parsed) uint8 {
	if p.Version == 4 {
		return frame[p.L3+1]
	}
	return uint8(binary.BigEndian.Uint16(frame[p.L3:]) >> 4)
}

// DontFragment reports whether nobody on the way may cut the packet: IPv4 with DF, IPv6.
func DontFragment(frame []byte, p *Parsed) bool {
	return p.Version == 6 || binary.BigEndian.Uint16(frame[p.L3+ipv4FragAt:])&ipv4DontFrag != 0
}

// Join says what the whole datagram has of all its pieces: everything else its headers take
// from the first.
type Join struct {
	Length int   // of what was cut, in bytes
	TTL    uint8 // the lowest
	Class  uint8
	DF     bool // IPv4: one of them had it
}

// JoinHeaders makes the headers of a whole datagram, from those of its first piece with
// the Ethernet header in front: head ends where the piece's data begins, as Decode found
// it with L4. It returns how long they are in dst, or 0 if the datagram would be longer
// than one can be. dst has room for as many bytes as head has, and may begin where it does.
func JoinHeaders(dst, head []byte, j *Join) int {
	ip := dst[ethernetLen:]
	if head[ethernetLen]>>4 == 4 {
		copy(dst, head)
		total := len(head) - ethernetLen + j.Length
		if total > datagramMax {
			return 0
		}
		ip = ip[:len(head)-ethernetLen]
		ip[1] = j.Class
		binary.BigEndian.PutUint16(ip[2:], uint16(total))
		field := uint16(0)
		if j.DF {
			field = ipv4DontFrag
		}
		binary.BigEndian.PutUint16(ip[ipv4FragAt:], field)
		ip[ipv4TTLAt] = j.TTL
		putSum4(ip)
		return len(head)
	}
	n := copy(dst, head[:len(head)-fragmentLen])
	length := n - ethernetLen - ipv6Len + j.Length
	if length > datagramMax {
		return 0
	}
	dst[nextAt(head, n)] = head[n] // the Fragment header's own next
	binary.BigEndian.PutUint16(ip, binary.BigEndian.Uint16(ip)&0xf00f|uint16(j.Class)<<4)
	binary.BigEndian.PutUint16(ip[4:], uint16(length))
	ip[ipv6HopLimitAt] = j.TTL
	return n
}

// putSum4 computes the checksum of an IPv4 header.
func putSum4(header []byte) {
	header[ipv4SumAt], header[ipv4SumAt+1] = 0, 0
	binary.BigEndian.PutUint16(header[ipv4SumAt:], ^fold(sum(header)))
}

// nextAt returns where the header at offset end of an IPv6 frame is named: the field of
// the one before it, or of a Fragment header on the way there. Decode has walked the chain.
func nextAt(frame []byte, end int) int {
	field, at := ethernetLen+6, ethernetLen+ipv6Len
	for at < end {
		kind := Proto(frame[field])
		if kind == extFragment {
			break
		}
		field = at
		switch kind {
		case extAuth:
			at += (int(frame[at+1]) + 2) * 4
		default:
			at += (int(frame[at+1]) + 1) * extUnit
		}
	}
	return field
}

// DecodeWhole is Decode for a datagram that was put together from pieces. first is where in
// the frame the data of the first piece ended: drop.FragmentTiny where that does not hold
// all headers (RFC 1858 section 4, RFC 3128, RFC 7112 section 5), and drop.FragmentChecksum where the
// transport checksum, verified here for once because nobody did so piece by piece, is wrong.
func DecodeWhole(frame []byte, p *Parsed, first int) drop.Reason {
	*p = Parsed{L3: ethernetLen}
	var why drop.Reason
	if frame[ethernetLen]>>4 == 4 {
		why = decodeIPv4(frame, p)
	} else {
		why = decodeIPv6(frame, p)
		if why == drop.Fragment || why == drop.Pass && Proto(frame[nextAt(frame, int(p.L4))]) == extFragment {
			why = drop.IPv6ChainInvalid // a second Fragment header (CVE-2023-4809)
		}
	}
	switch {
	case why != drop.Pass:
	case p.Kind == KindND:
		why = drop.IPv6ChainInvalid // RFC 6980 section 5
	case int(p.Payload) > first:
		why = drop.FragmentTiny
	case !VerifyChecksum(frame, p):
		why = drop.FragmentChecksum
	}
	if why != drop.Pass {
		p.Kind = KindUnset
		return why
	}
	if p.Kind == KindUnset {
		p.Kind = KindIP
	}
	return drop.Pass
}
