package packet

import (
	"encoding/binary"
	"math/bits"
)

// Changes says what a Rewrite changes.
type Changes uint8

// The parts of a tuple that a rewrite can change. For ICMP, SrcPort is the identifier.
const (
	ChangesSrc Changes = 1 << iota
	ChangesDst
	ChangesSrcPort
	ChangesDstPort
)

// Rewrite is what turns a packet of one tuple into a packet of another. It is flat, plain
// data without pointers: 44 bytes in host order, so that it can lie in a BPF map.
//
//	0            16           32       34       36       38       40       41
//	+------------+------------+--------+--------+--------+--------+--------+---+
//	| Src        | Dst        |SrcPort |DstPort |IPDelta |L4Delta |Changes | 0 |
//	+------------+------------+--------+--------+--------+--------+--------+---+
//
// The deltas are what the change adds to the sums that the checksums complement: they
// depend on the two tuples alone, so they are computed once and not per packet. The zero
// value changes nothing.
type Rewrite struct {
	Src, Dst         Addr
	SrcPort, DstPort uint16
	IPDelta          uint16 // of the addresses
	L4Delta          uint16 // of everything that the transport checksum of the protocol covers
	Changes          Changes
	_                [3]uint8
}

// RewriteTo returns what turns a packet with tuple from into one with tuple to. Both must
// be of one family and one protocol, and it panics if they are not, because such a
// translation does not exist and a packet must not pass with half of one. Zones do not
// matter, nor does the type of an ICMP query, which translation leaves alone.
func RewriteTo(from, to Tuple) (r Rewrite) {
	r.Set(&from, &to)
	return r
}

// Set makes r what RewriteTo returns, without a copy of anything: for the path.
func (r *Rewrite) Set(from, to *Tuple) {
	if !translatable(from, to) {
		panic("packet: no rewrite leads from " + from.String() + " to " + to.String())
	}
	r.Src, r.Dst = to.Src, to.Dst
	r.SrcPort, r.DstPort = from.SrcPort, from.DstPort
	r.Changes, r.L4Delta = 0, 0
	if to.Src != from.Src {
		r.Changes |= ChangesSrc
	}
	if to.Dst != from.Dst {
		r.Changes |= ChangesDst
	}
	addresses := add(delta(&from.Src, &to.Src), delta(&from.Dst, &to.Dst))
	r.IPDelta = fold(addresses)
	switch from.Proto {
	case TCP, UDP, UDPLite, DCCP:
		r.SrcPort, r.DstPort = to.SrcPort, to.DstPort
		r.L4Delta = fold(add(addresses, portDelta(from.SrcPort, to.SrcPort)+portDelta(from.DstPort, to.DstPort)))
	case ICMPv6:
		r.SrcPort = to.SrcPort
		r.L4Delta = fold(add(addresses, portDelta(from.SrcPort, to.SrcPort)))
	case ICMP: // has no pseudo-header
		r.SrcPort = to.SrcPort
		r.L4Delta = fold(portDelta(from.SrcPort, to.SrcPort))
	case SCTP: // its CRC takes another delta, which depends on the length, see rewriteSCTP
		r.SrcPort, r.DstPort = to.SrcPort, to.DstPort
	default: // addresses only, and no checksum that we know (G9)
	}
	if r.SrcPort != from.SrcPort {
		r.Changes |= ChangesSrcPort
	}
	if r.DstPort != from.DstPort {
		r.Changes |= ChangesDstPort
	}
}

// Pair is the two IPv4 addresses of a tuple in one word, each as it lies in memory read
// as a little-endian number: the source in the low half, the destination in the high one.
type Pair uint64

// PairOf returns the pair of a tuple, whose addresses must be IPv4.
func PairOf(t *Tuple) Pair {
	le := binary.LittleEndian
	return Pair(le.Uint32(t.Src[12:])) | Pair(le.Uint32(t.Dst[12:]))<<32
}

// Addresses returns the two addresses.
func (p Pair) Addresses() (src, dst Addr) {
	src.set4Word(uint32(p))
	dst.set4Word(uint32(p >> 32))
	return src, dst
}

// set4Word makes a the IPv4 address that lies in memory as word does.
func (a *Addr) set4Word(word uint32) {
	binary.LittleEndian.PutUint64(a[:8], 0)
	binary.LittleEndian.PutUint64(a[8:], uint64(word)<<32|mappedHead)
}

// mappedHead is the half word in front of an IPv4 address in an Addr, little-endian.
const mappedHead = 0xffff0000

// SetAnswer4 makes r what turns a TCP or UDP packet over IPv4 with tuple from into one that
// packets with the addresses and ports of answer would answer: what RewriteTo gives for
// answer.Reply(), which it does not need. The two directions of a translated connection are
// each other's from and answer. The caller answers for family and protocol.
func (r *Rewrite) SetAnswer4(from *Tuple, answer Pair, srcPort, dstPort uint16) {
	was := PairOf(from)
	to := Pair(bits.RotateLeft64(uint64(answer), 32))
	r.Src.set4Word(uint32(to)) // in place: a copy would wait for its own stores
	r.Dst.set4Word(uint32(to >> 32))
	r.SrcPort, r.DstPort = dstPort, srcPort
	// Sums of ~from and to (RFC 1624), of 32-bit words: no carry is lost in 64 bits.
	// It begins with -0, which is what the equal heads of the mapped addresses add.
	addresses := uint64(1<<32-1) + uint64(^uint32(was)) + uint64(uint32(to)) + uint64(^uint32(was>>32)) + uint64(uint32(to>>32))
	r.IPDelta = fold(addresses)
	r.L4Delta = fold(addresses + portDelta(from.SrcPort, dstPort) + portDelta(from.DstPort, srcPort))
	c := Changes(0)
	if uint32(was) != uint32(to) {
		c = ChangesSrc
	}
	if was>>32 != to>>32 {
		c |= ChangesDst
	}
	if from.SrcPort != dstPort {
		c |= ChangesSrcPort
	}
	if from.DstPort != srcPort {
		c |= ChangesDstPort
	}
	r.Changes = c
}

// translatable reports whether both tuples are of one protocol and all addresses of one family.
func translatable(from, to *Tuple) bool {
	v4 := from.Src.Is4()
	return from.Proto == to.Proto && from.Dst.Is4() == v4 && to.Src.Is4() == v4 && to.Dst.Is4() == v4
}

// delta returns the sum of ~from and to: what the change adds to a sum.
func delta(from, to *Addr) uint64 {
	return add(^from.sum(), to.sum())
}

// portDelta is delta for a port.
func portDelta(from, to uint16) uint64 { return word(^from) + word(to) }

// Apply rewrites the packet in frame, which Decode found to have the tuple that the
// rewrite leads from. Checksums are adjusted, never computed anew: one that was wrong
// stays wrong (A4). p is not changed and still tells what the sender sent.
func (r *Rewrite) Apply(frame []byte, p *Parsed) {
	if r.Changes == 0 {
		return
	}
	l4Delta := r.L4Delta
	if p.Version == 4 {
		h := frame[p.L3:][:ipv4Len]
		copy(h[ipv4SrcAt:ipv4SrcAt+4], r.Src[12:])
		copy(h[ipv4DstAt:ipv4DstAt+4], r.Dst[12:])
		adjust(h[ipv4SumAt:], r.IPDelta)
	} else {
		h := frame[p.L3:][:ipv6Len]
		if p.SourceRouted() {
			was := Addr(h[ipv6DstAt:])
			l4Delta = r.withoutDst(l4Delta, &was)
		}
		copy(h[ipv6SrcAt:ipv6DstAt], r.Src[:])
		copy(h[ipv6DstAt:ipv6Len], r.Dst[:])
	}
	if !p.Fragment {
		r.applyTransport(frame[p.L4:p.End], p.Tuple.Proto, l4Delta)
	}
}

// withoutDst returns l4Delta for a packet whose checksum covers another destination than
// the one that is changed, from was (M5).
func (r *Rewrite) withoutDst(l4Delta uint16, was *Addr) uint16 {
	return fold(add(word(l4Delta), delta(&r.Dst, was)))
}

// applyTransport rewrites ports or identifier and the checksum of a transport header.
func (r *Rewrite) applyTransport(h []byte, proto Proto, delta uint16) {
	switch proto {
	case TCP:
		binary.BigEndian.PutUint32(h, uint32(r.SrcPort)<<16|uint32(r.DstPort))
		adjust(h[tcpSumAt:], delta)
	case UDP, UDPLite:
		binary.BigEndian.PutUint32(h, uint32(r.SrcPort)<<16|uint32(r.DstPort))
		sum := h[udpSumAt:udpLen]
		if sum[0]|sum[1] == 0 {
			return // not computed by the sender, and not by us (A5)
		}
		adjust(sum, delta)
		if sum[0]|sum[1] == 0 {
			sum[0], sum[1] = 0xff, 0xff // zero would say "not computed"
		}
	case ICMP:
		if r.Changes&ChangesSrcPort == 0 {
			return // addresses are not covered
		}
		binary.BigEndian.PutUint16(h[icmpIDAt:], r.SrcPort)
		adjust(h[icmpSumAt:], delta)
		if h[icmpSumAt]|h[icmpSumAt+1] == 0 && sum(h) == 0 {
			// An echo reply of zeros only: the one case where the two zeros differ.
			h[icmpSumAt], h[icmpSumAt+1] = 0xff, 0xff
		}
	case ICMPv6:
		if r.Changes&ChangesSrcPort != 0 {
			binary.BigEndian.PutUint16(h[icmpIDAt:], r.SrcPort)
		}
		adjust(h[icmpSumAt:], delta)
	case SCTP:
		if r.Changes&(ChangesSrcPort|ChangesDstPort) != 0 {
			rewriteSCTP(h, r.SrcPort, r.DstPort)
		}
	case DCCP:
		binary.BigEndian.PutUint32(h, uint32(r.SrcPort)<<16|uint32(r.DstPort))
		adjust(h[dccpSumAt:], delta)
	}
}

// DecrementTTL takes one from the TTL or hop limit of the packet in frame. The caller has
// made sure that p.TTL is above 1 (L1); a TTL of 0 stays 0 rather than become 255.
func DecrementTTL(frame []byte, p *Parsed) {
	if p.Version == 4 {
		h := frame[p.L3:][:ipv4Len]
		if h[ipv4TTLAt] == 0 {
			return
		}
		h[ipv4TTLAt]--
		adjust(h[ipv4SumAt:], 0xfeff) // ~0x0100: the TTL is the high byte of its word
		return
	}
	h := frame[p.L3:][:ipv6Len]
	if h[ipv6HopLimitAt] > 0 {
		h[ipv6HopLimitAt]--
	}
}

// SetMACs addresses the frame to the station dst, from src.
func SetMACs(frame []byte, dst, src MAC) {
	h := frame[:12]
	copy(h[:6], dst[:])
	copy(h[6:], src[:])
}

// DstMAC returns the station that the frame is addressed to. The frame has been decoded.
func DstMAC(frame []byte) MAC { return MAC(frame[:6]) }

// SrcMAC returns the station that sent the frame. The frame has been decoded.
func SrcMAC(frame []byte) MAC { return MAC(frame[6:12]) }
