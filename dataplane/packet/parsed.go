package packet

// Kind says what a frame is for the pipeline. The zero value is illegal: a frame of no
// kind must be dropped.
type Kind uint8

// The kinds of frames. Only KindIP is tracked, translated and forwarded; the others go
// to the kernel's face of the port, or die.
const (
	KindUnset Kind = iota // not decoded, or refused
	KindIP                // an IP packet of any protocol, except the next two kinds
	KindND                // ICMPv6 neighbour discovery, types 133 to 137 (RFC 4861)
	KindMLD               // ICMPv6 multicast listener discovery, types 130 to 132 and 143
	KindARP               // for IPv4 over Ethernet (RFC 826)
	KindOther             // another EtherType; Decode refuses it
)

// TCPFlags are the flags of a TCP header, as on the wire.
type TCPFlags uint8

// The TCP flags (RFC 9293 section 3.1, RFC 3168).
const (
	FlagFIN TCPFlags = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
	FlagURG
	FlagECE
	FlagCWR
)

// TCPOptions says which options a segment carries, among those that the tracker reads.
type TCPOptions uint8

// The TCP options. The first three count only on a segment with SYN.
const (
	HasMSS           TCPOptions = 1 << iota // RFC 9293 section 3.7.1
	HasWScale                               // RFC 7323 section 2
	HasSACKPermitted                        // RFC 2018 section 2
	HasSACK                                 // RFC 2018 section 3, at least one block
)

// Parsed is what one look at a frame found. The caller owns and reuses it; Decode
// overwrites every field. All offsets count from the start of the frame, and Decode has
// proven 14 <= L3 <= L4 <= Payload <= End <= len(frame) and that the fixed headers lie
// between them, so later stages slice by these offsets only.
//
// After a refusal only Kind (KindUnset, or KindOther) means something, except after
// drop.Fragment: then everything up to and with L4 does, Fragment is set, and ports are
// zero (see PieceOf).
type Parsed struct {
	Tuple Tuple // zone 0; the destination as in the IP header. Zero for KindARP

	// TCP only. For SCTP the first two are tags: see VerificationTag and InitiateTag.
	Seq, Ack  uint32
	SACKRight uint32 // the furthest of Ack and the right edges of all SACK blocks

	End      uint32 // past the packet's last byte; Ethernet padding excluded (A2)
	L3       uint16 // the IP or ARP header
	L4       uint16 // the transport header, past IPv6 extension headers
	Payload  uint16 // what follows the transport header; equals L4 where it is not understood
	finalDst uint16 // the final destination in an IPv6 routing header, or 0, see SourceRouted

	// TCP only.
	Window     uint16     // as on the wire, unscaled
	MSS        uint16     // with HasMSS
	Chunks     SCTPChunks // SCTP only
	TCPFlags   TCPFlags
	TCPOptions TCPOptions
	WScale     uint8 // with HasWScale; at most 14

	ICMPType, ICMPCode uint8 // ICMP and ICMPv6 only

	Version  uint8 // 4 or 6; 0 for what is not IP
	Kind     Kind
	TTL      uint8 // or hop limit, as received
	Fragment bool  // a piece of a datagram; not an atomic fragment (RFC 6946)

	// Arrival is the logical port that it came in by, and one more. Decode leaves it zero:
	// nobody has said.
	Arrival PortID
}

// Len returns the length of the IP packet in bytes.
func (p *Parsed) Len() int { return int(p.End) - int(p.L3) }

// SegmentLen returns how much sequence space a TCP segment takes: its payload, SYN and FIN.
func (p *Parsed) SegmentLen() uint32 {
	n := p.End - uint32(p.Payload)
	return n + uint32(p.TCPFlags>>1&1) + uint32(p.TCPFlags&1)
}

// DstMulticast reports whether the packet goes to a group or to 255.255.255.255 (A10). A
// directed broadcast is not seen here: that takes the addresses of the port.
func (p *Parsed) DstMulticast() bool { return p.Tuple.Dst.IsMulticast() }

// LinkLocal reports whether either address must not leave its link (A10).
func (p *Parsed) LinkLocal() bool {
	return p.Tuple.Src.IsLinkLocal() || p.Tuple.Dst.IsLinkLocal()
}

// SourceRouted reports whether an IPv6 routing header names a final destination other
// than Tuple.Dst, which then is only the next stop. The transport checksum covers the
// final one (RFC 8200 section 8.1). Source-routed IPv4 packets are refused by Decode.
func (p *Parsed) SourceRouted() bool {
	return p.finalDst != 0
}

// IsICMPQuery reports whether the packet is an ICMP or ICMPv6 message with an
// identifier, which then is Tuple.SrcPort.
func (p *Parsed) IsICMPQuery() bool {
	return p.isICMP() && isICMPQuery(p.Tuple.Proto, p.ICMPType)
}

// IsICMPError reports whether the packet is an ICMP or ICMPv6 error message or redirect.
func (p *Parsed) IsICMPError() bool {
	return p.isICMP() && isICMPError(p.Tuple.Proto, p.ICMPType)
}

// isICMP reports whether the ICMP fields are valid. Decode has refused the ICMP of the
// other family.
func (p *Parsed) isICMP() bool {
	return (p.Tuple.Proto == ICMP || p.Tuple.Proto == ICMPv6) && !p.Fragment
}
