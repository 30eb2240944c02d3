package packet

import "encoding/binary"

// Frames that end a connection from the middle: what `kill` sends in its two loud manners,
// with no packet to answer, out of what the connection table knows.
//
//	       client                  firewall                 server
//	Original >-------------------------+-------------------------> Reply.Reply()
//	Original.Reply() <-----------------+-------------------------< Reply
//
// Original and Reply are the connection's two tuples. Each end must see the addresses that
// it knows, so what comes to the client has the tuple Original.Reply(), and what comes to
// the server Reply.Reply(); where nothing is translated the latter is Original.

// Abort is a reset to one end of a TCP connection.
type Abort struct {
	To, From MAC   // the next hop towards the end; the port that the frame leaves by
	Tuple    Tuple // of the packets that the end receives, see above
	// Seq is the number that the end expects next. Only a reset with exactly this one ends
	// an established connection (RFC 9293 section 3.10.7.4, from RFC 5961); another in the
	// window makes the end ask with a challenge ACK, which AppendReset answers exactly.
	//
	// The end has told it in its highest acknowledgement, except for what it has received
	// and not acknowledged yet; so where data is in flight to it, one reset with the highest
	// acknowledgement and one with the number after the peer's furthest byte meet nearly all.
	Seq uint32
	// Ack is the number after the end's own furthest byte, SYN and FIN counted. An end in
	// SYN-SENT believes a reset only by it; the others do not mind.
	Ack uint32
}

// AbortLen is the longest frame that AppendAbort writes.
const AbortLen = ethernetLen + ipv6Len + tcpLen

// AppendAbort writes to dst the reset, in the name of the end's peer, and returns the length
// of the frame. It returns 0 where the tuple is not TCP between two hosts of one family, or
// dst is too short.
func AppendAbort(dst []byte, a *Abort) int {
	if a.Tuple.Proto != TCP || !between(&a.Tuple) {
		return 0
	}
	h := header{
		to: a.To, from: a.From, src: a.Tuple.Src, dst: a.Tuple.Dst,
		proto: TCP, ttl: ttlOwn, class: classBestEffort, length: tcpLen,
	}
	tcp, frameLen := h.put(dst)
	if frameLen == 0 {
		return 0
	}
	binary.BigEndian.PutUint16(tcp[0:], a.Tuple.SrcPort)
	binary.BigEndian.PutUint16(tcp[2:], a.Tuple.DstPort)
	binary.BigEndian.PutUint32(tcp[4:], a.Seq)
	binary.BigEndian.PutUint32(tcp[8:], a.Ack)
	tcp[12], tcp[13] = tcpLen/4<<4, uint8(FlagRST|FlagACK)
	h.putSum(tcp, tcpSumAt)
	return frameLen
}

// Prohibition is a destination unreachable, refused by policy, to one end of a connection of
// any protocol. A datagram socket reports it and a TCP end gives up its SYN; an established
// TCP end takes it for a passing trouble (RFC 1122 section 4.2.3.9): that takes an Abort.
type Prohibition struct {
	To, From MAC   // the next hop towards the end; the port that the frame leaves by
	Source   Addr  // our own address on that port, of the tuple's family (H9)
	Tuple    Tuple // of the packets that the end sends: Original for the client, Reply for the server
	// Seq is a number that the end has sent and its peer has not acknowledged, or the next
	// that it will send: with another a TCP end disregards the error (RFC 5927 section 4.1).
	// It is of no account for other protocols.
	Seq uint32
}

// ProhibitionLen is the longest frame that AppendProhibition writes.
const ProhibitionLen = ethernetLen + ipv6Len + icmpLen + ipv6Len + quoteTransport

// quoteTransport is how much of the transport header an error must quote, in bytes
// (RFC 792): ports, or type and identifier, and TCP's sequence number.
const quoteTransport = 8

// AppendProhibition writes to dst the error (RFC 1812 section 5.2.7.1 code 13, RFC 4443
// section 3.1 code 1) and returns the length of the frame. There is no packet to quote, so
// it quotes the start of one as the end would send it: an IP header and eight bytes that
// lead its kernel to the socket. What the table does not know (an SCTP tag, an SPI) is
// quoted as zero; an end that checks it disregards the error.
//
// It returns 0 where the tuple is not one between two hosts of one family, source is not of
// that family, or dst is too short.
func AppendProhibition(dst []byte, r *Prohibition) int {
	if !between(&r.Tuple) {
		return 0
	}
	h := header{
		to: r.From, from: r.To, src: r.Tuple.Src, dst: r.Tuple.Dst,
		proto: r.Tuple.Proto, ttl: ttlOwn, class: classBestEffort, length: quoteTransport,
	}
	if h.proto == TCP {
		h.length = tcpLen // so says the IP header; the rest is cut off
	}
	var quoted [ethernetLen + ipv6Len + tcpLen]byte
	transport, _ := h.put(quoted[:])
	r.putTransport(transport)
	p := Parsed{
		Tuple: r.Tuple, Kind: KindIP, Version: 4,
		L3: ethernetLen, L4: uint16(ethernetLen + h.ipLen()), End: uint32(ethernetLen + h.ipLen() + quoteTransport),
	}
	if !r.Tuple.Src.Is4() {
		p.Version = 6
	}
	if h.proto == ICMP || h.proto == ICMPv6 {
		p.ICMPType = uint8(r.Tuple.DstPort >> 8)
	}
	return AppendUnreachable(dst, quoted[:], &p, r.Source, UnreachableProhibited)
}

// putTransport writes the first bytes of a transport header.
func (r *Prohibition) putTransport(b []byte) {
	t := &r.Tuple
	switch t.Proto {
	case TCP, UDP, UDPLite, SCTP, DCCP:
		binary.BigEndian.PutUint16(b[0:], t.SrcPort)
		binary.BigEndian.PutUint16(b[2:], t.DstPort)
	case ICMP, ICMPv6: // of a query: type, code, checksum, identifier
		binary.BigEndian.PutUint16(b[0:], t.DstPort)
		binary.BigEndian.PutUint16(b[4:], t.SrcPort)
	}
	switch t.Proto {
	case TCP:
		binary.BigEndian.PutUint32(b[4:], r.Seq)
	case UDP:
		binary.BigEndian.PutUint16(b[4:], udpLen)
	}
}

// between reports whether a tuple is that of packets from one host to one other.
func between(t *Tuple) bool {
	return t.Src.Is4() == t.Dst.Is4() && t.Src != (Addr{}) && t.Dst != (Addr{}) &&
		!t.Src.IsMulticast() && !t.Dst.IsMulticast()
}
