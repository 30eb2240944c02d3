package packet

import (
	"encoding/binary"

	"holdfast/dataplane/drop"
)

// An ICMP or ICMPv6 error quotes the packet that it is about, from its IP header on (RFC
// 792, RFC 4443 section 3), as far as its sender saw fit: IPv4 hosts may stop 8 bytes
// into the transport header. Behind the quote an extension may follow (RFC 4884 section
// 7); then the length says how long the quote is, in words of 4 bytes, 8 in ICMPv6.
//
//	0      1      2          4        5        6         8                          End
//	+------+------+----------+--------+--------+---------+--------------+- - - - - -+
//	| type | code | checksum | v6 len | v4 len | MTU,... | quoted packet| extension |
//	+------+------+----------+--------+--------+---------+--------------+- - - - - -+
//	                                                     ^ Payload
const (
	quoteLengthAt4 = 5
	quoteLengthAt6 = 4
	quoteExtended  = 128 // shortest quote with an extension (RFC 4884 section 5.1)

	// quotedMin is the least of a transport header that every error quotes (RFC 792): ports,
	// an ICMP identifier, TCP's sequence number.
	quotedMin = 8
)

// Quote is the packet that an error quotes. The caller owns and reuses it. Its tuple is
// that which the packet had when it met its end, so behind any translation of ours.
//
// A later fragment has no ports and names no connection: it is refused (H7).
type Quote struct {
	Tuple Tuple  // zone 0
	Seq   uint32 // TCP only
	// Shift is added to the quoted sequence number by Restore: the sender knows its bytes by
	// other numbers than those that it was quoted with (see Splice).
	Shift uint32

	at    Parsed // where the parts lie in the frame: Version, L3, L4, End, finalDst and Tuple
	whole int    // what the IP header says of the length from L4 on, also of what is not quoted; 0: it lies
}

// IsRelayedError reports whether an ICMP error of this type is taken to whoever sent what
// it quotes (H1): destination unreachable, packet too big, time exceeded, parameter
// problem. A redirect is between a router and its neighbours (RFC 1812 section 5.2.7.2),
// source quench is to be ignored (RFC 6633), and of other types nobody knows what they do.
func (p *Parsed) IsRelayedError() bool {
	if !p.isICMP() {
		return false
	}
	if p.Tuple.Proto == ICMPv6 {
		return p.ICMPType >= icmpv6Unreachable && p.ICMPType <= icmpv6ParameterProblem
	}
	switch p.ICMPType {
	case icmpUnreachable, icmpTimeExceeded, icmpParameterProblem:
		return true
	}
	return false
}

// DecodeQuote looks at what an ICMP error quotes, and fills q. It returns drop.Pass if
// that may name a connection, else why the error dies: its type, its checksum, which
// unlike others is verified because the error is about to be written anew (RFC 5508
// REQ-3), or a quote that names none: cut too short, a later fragment, another error (H6).
func DecodeQuote(frame []byte, p *Parsed, q *Quote) drop.Reason {
	*q = Quote{}
	switch {
	case !p.IsRelayedError():
		return drop.ICMPErrorType
	case !VerifyChecksum(frame, p):
		return drop.ICMPBadChecksum
	case p.SourceRouted():
		return drop.ICMPErrorMismatched // nobody knows yet where it goes
	}
	end := quoteEnd(frame, p)
	known := false
	if p.Version == 4 {
		known = q.decodeIPv4(frame[:end], p.Payload)
	} else {
		known = q.decodeIPv6(frame[:end], p.Payload)
	}
	if !known || !q.decodeTransport(frame[q.at.L4:q.at.End]) {
		*q = Quote{}
		return drop.ICMPErrorQuote
	}
	q.Tuple = q.at.Tuple
	return drop.Pass
}

// quoteEnd returns where the quote ends at the latest: before the extension, if there is
// one. A length that RFC 4884 does not allow is none: older senders left garbage there.
func quoteEnd(frame []byte, p *Parsed) int {
	length := 0
	switch {
	case p.Version == 4:
		length = int(frame[p.L4+quoteLengthAt4]) * 4
	case p.ICMPType == icmpv6Unreachable, p.ICMPType == icmpv6TimeExceeded:
		length = int(frame[p.L4+quoteLengthAt6]) * 8
	}
	if length < quoteExtended {
		return int(p.End)
	}
	return min(int(p.Payload)+length, int(p.End))
}

// decodeIPv4 finds the transport header of a quoted IPv4 packet. The header's checksum is
// not looked at: what is wrong is passed on wrong (H6).
func (q *Quote) decodeIPv4(frame []byte, at uint16) bool {
	h := frame[at:]
	if len(h) < ipv4Len {
		return false
	}
	header := int(h[0]&15) * 4
	if h[0]>>4 != 4 || header < ipv4Len || header > len(h) ||
		binary.BigEndian.Uint16(h[ipv4FragAt:])&ipv4OffsetMask != 0 {
		return false
	}
	q.at.Version, q.at.L3, q.at.L4 = 4, at, at+uint16(header)
	q.at.Tuple.Src.set4(h[ipv4SrcAt:])
	q.at.Tuple.Dst.set4(h[ipv4DstAt:])
	q.at.Tuple.Proto = Proto(h[ipv4ProtoAt])
	q.limit(len(frame), int(binary.BigEndian.Uint16(h[2:])))
	return true
}

// decodeIPv6 finds the transport header of a quoted IPv6 packet, behind its extension
// headers. Mapped addresses are refused as everywhere: inside they would be IPv4.
func (q *Quote) decodeIPv6(frame []byte, at uint16) bool {
	h := frame[at:]
	if len(h) < ipv6Len || h[0]>>4 != 6 {
		return false
	}
	p := &q.at
	p.Version, p.L3, p.L4 = 6, at, at+ipv6Len
	p.Tuple.Src, p.Tuple.Dst, p.Tuple.Proto = Addr(h[ipv6SrcAt:]), Addr(h[ipv6DstAt:]), Proto(h[6])
	if invalidIPv6(p) {
		return false
	}
	for range extHeadersMax { // a first fragment interrupts the walk
		if !isExtension(p.Tuple.Proto) {
			break
		}
		if _, reason := walkExtensions(frame, p); reason != drop.Pass && reason != drop.Fragment {
			return false
		}
		if p.Fragment {
			if header := frame[p.L4-extUnit:]; binary.BigEndian.Uint16(header[2:])&^7 != 0 {
				return false
			}
			p.Fragment = false
		}
	}
	q.limit(len(frame), ipv6Len+int(binary.BigEndian.Uint16(h[4:])))
	return !isExtension(p.Tuple.Proto)
}

// limit sets the end of the quote, which lies in the frame up to end, by the length that
// its IP header says it has, if that can be.
func (q *Quote) limit(end, length int) {
	headers := int(q.at.L4 - q.at.L3)
	if length >= headers {
		q.whole = length - headers
		end = min(end, int(q.at.L3)+length)
	}
	q.at.End = uint32(end)
}

// decodeTransport completes the tuple with ports or identifier.
func (q *Quote) decodeTransport(h []byte) bool {
	t := &q.at.Tuple
	switch t.Proto {
	case TCP, UDP, UDPLite, SCTP, DCCP:
		if len(h) < quotedMin {
			return false
		}
		t.SrcPort, t.DstPort = binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
		if t.Proto == TCP {
			q.Seq = binary.BigEndian.Uint32(h[4:])
		}
	case ICMP, ICMPv6:
		if len(h) < quotedMin || (t.Proto == ICMP) != (q.at.Version == 4) || !isICMPQuery(t.Proto, h[0]) {
			return false
		}
		t.SrcPort, t.DstPort = binary.BigEndian.Uint16(h[icmpIDAt:]), binary.BigEndian.Uint16(h)
	}
	return true
}

// Source returns the address that an error comes from for the sender of the quoted packet,
// which had the tuple sent. Where that host knows the far end by another address than it
// has, this is the one, whoever on the way behind it made the error (H3, H4).
func (q *Quote) Source(p *Parsed, sent *Tuple) Addr {
	if sent.Dst != q.Tuple.Dst {
		return sent.Dst
	}
	return p.Tuple.Src
}

// Restore rewrites the error in frame, whose quote is q, for whoever sent the quoted packet
// with tuple sent: the quote gets that tuple back, and the error goes to its source, as
// one that comes from another address (see Source).
//
// Checksums in the quote are adjusted as far as they are quoted, and one that was wrong
// stays wrong; the error's own is computed anew over its whole length (H2).
func (q *Quote) Restore(frame []byte, p *Parsed, sent *Tuple, source *Addr) {
	inner := RewriteTo(q.Tuple, *sent)
	if inner.Changes == 0 && q.Shift == 0 {
		return
	}
	inner.applyQuoted(frame, q)
	q.shift(frame)

	from, to := p.Tuple, p.Tuple
	to.Src, to.Dst = *source, sent.Src
	if p.Version == 4 {
		h := frame[p.L3:][:ipv4Len]
		copy(h[ipv4SrcAt:ipv4DstAt], to.Src[12:])
		copy(h[ipv4DstAt:], to.Dst[12:])
		adjust(h[ipv4SumAt:], fold(add(delta(&from.Src, &to.Src), delta(&from.Dst, &to.Dst))))
	} else {
		h := frame[p.L3:][:ipv6Len]
		copy(h[ipv6SrcAt:], to.Src[:])
		copy(h[ipv6DstAt:], to.Dst[:])
	}
	message := frame[p.L4:p.End]
	binary.BigEndian.PutUint16(message[icmpSumAt:], 0)
	total := sum(message)
	if p.Version == 6 {
		total = add(total, pseudoSum(&to.Src, &to.Dst, ICMPv6, len(message)))
	}
	binary.BigEndian.PutUint16(message[icmpSumAt:], ^fold(total))
}

// shift does what Shift says, and adjusts the quoted checksum where it is quoted.
func (q *Quote) shift(frame []byte) {
	if q.Shift == 0 || q.Tuple.Proto != TCP {
		return
	}
	h := frame[q.at.L4:q.at.End]
	delta := advance(h, 4, q.Shift)
	if len(h) >= tcpSumAt+2 {
		adjust(h[tcpSumAt:], fold(delta))
	}
}

// applyQuoted is Apply for a quoted packet, of whose transport header there may be little.
func (r *Rewrite) applyQuoted(frame []byte, q *Quote) {
	headers := q.at
	headers.Fragment = true // the IP header alone
	r.Apply(frame, &headers)
	h := frame[q.at.L4:q.at.End]
	l4Delta := r.L4Delta
	if q.at.SourceRouted() {
		l4Delta = r.withoutDst(l4Delta, &q.Tuple.Dst)
	}
	switch q.Tuple.Proto {
	case TCP:
		if len(h) >= tcpSumAt+2 {
			r.applyTransport(h, TCP, l4Delta)
			return
		}
		binary.BigEndian.PutUint32(h, uint32(r.SrcPort)<<16|uint32(r.DstPort))
	case SCTP:
		if r.Changes&(ChangesSrcPort|ChangesDstPort) != 0 {
			rewriteQuotedSCTP(h, r.SrcPort, r.DstPort, q.whole)
		}
	default: // the rest has its checksum in the first eight bytes
		r.applyTransport(h, q.Tuple.Proto, l4Delta)
	}
}

// rewriteQuotedSCTP is rewriteSCTP for the beginning h of a packet of whole bytes: what
// changing the ports does to the CRC depends on the length alone.
func rewriteQuotedSCTP(h []byte, srcPort, dstPort uint16, whole int) {
	was := binary.LittleEndian.Uint32(h)
	binary.BigEndian.PutUint32(h, uint32(srcPort)<<16|uint32(dstPort))
	field := h[sctpSumAt:min(len(h), sctpLen)] // any part of a CRC can be adjusted by itself
	if whole < sctpLen || len(field) == 4 && binary.LittleEndian.Uint32(field) == 0 {
		return // zero: see rewriteSCTP
	}
	crc := crcDelta(was^binary.LittleEndian.Uint32(h), whole)
	for i := range field {
		field[i] ^= byte(crc >> (8 * i))
	}
}
