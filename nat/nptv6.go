package nat

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"holdfast/dataplane/packet"
)

// nptv6 is the mapping of RFC 6296: the prefix is exchanged, and one word of the address
// behind it takes up the difference, so that the sum of the address, and with it every
// checksum of the packet, stays what it was. It keeps no state: each address has one image.
//
//	fd01:203:405:1::1234            inside  fd01:203:405::/48
//	2001:db8:1:d550::1234           outside 2001:db8:1::/48, 0x0001 + 0xd54f = 0xd550
//
// The arithmetic is that of ones' complement, in which 0xffff and 0x0000 are one number:
// only words that are not 0xffff are changed, and a result of 0xffff is written as 0
// (section 3.2 to 3.5), so the way back finds the same word and the same value.
type nptv6 struct {
	inside, outside packet.Addr
	length          int    // of the longer prefix, 1 to 64: the shorter is extended by zeros
	adjustment      uint16 // sum(inside) - sum(outside)
}

// nptv6Max is the longest prefix: the word that is changed lies in the interface identifier
// at most (RFC 6296 section 3.5).
const nptv6Max = 64

func newNPTv6(inside, outside netip.Prefix) (*nptv6, error) {
	for _, p := range [...]netip.Prefix{inside, outside} {
		if !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6() || p != p.Masked() || p.Bits() == 0 || p.Bits() > nptv6Max {
			return nil, fmt.Errorf("%v is not a prefix of IPv6 of 1 to %d bits: give inside and outside", p, nptv6Max)
		}
		if a := p.Addr(); a.IsMulticast() || a.IsLinkLocalUnicast() {
			return nil, fmt.Errorf("%v cannot be translated: give a unicast prefix that is not link-local", p)
		}
	}
	if inside.Overlaps(outside) {
		return nil, fmt.Errorf("inside %v and outside %v overlap", inside, outside)
	}
	n := &nptv6{
		inside: packet.AddrFrom(inside.Addr()), outside: packet.AddrFrom(outside.Addr()),
		length: max(inside.Bits(), outside.Bits()),
	}
	n.adjustment = onesAdd(onesSum(&n.inside), ^onesSum(&n.outside))
	return n, nil
}

// out maps an inside address to its outside image, in the other way round. ok is false
// where the address has none: bits stand between its prefix and the longer one (J4), or
// the word that would change, or each that could, is 0xffff (J5).
func (n *nptv6) out(a packet.Addr) (packet.Addr, bool) {
	return n.image(a, &n.inside, &n.outside, n.adjustment)
}

func (n *nptv6) in(a packet.Addr) (packet.Addr, bool) {
	return n.image(a, &n.outside, &n.inside, ^n.adjustment)
}

func (n *nptv6) image(a packet.Addr, from, to *packet.Addr, adjustment uint16) (packet.Addr, bool) {
	if !samePrefix(&a, from, n.length) {
		return packet.Addr{}, false
	}
	at := n.word(&a)
	if at < 0 {
		return packet.Addr{}, false
	}
	whole := n.length / 8
	copy(a[:whole], to[:whole])
	if rest := n.length % 8; rest != 0 {
		mask := byte(0xff) << (8 - rest)
		a[whole] = a[whole]&^mask | to[whole]&mask
	}
	value := onesAdd(binary.BigEndian.Uint16(a[at:]), adjustment)
	if value == 0xffff {
		value = 0
	}
	binary.BigEndian.PutUint16(a[at:], value)
	return a, true
}

// word returns where the word that changes begins, or -1: bits 48 to 63 of the address for
// prefixes of up to 48 bits, otherwise the first of the identifier's that is not 0xffff.
func (n *nptv6) word(a *packet.Addr) int {
	if n.length <= 48 {
		if binary.BigEndian.Uint16(a[6:]) == 0xffff {
			return -1
		}
		return 6
	}
	for at := 8; at < 16; at += 2 {
		if binary.BigEndian.Uint16(a[at:]) != 0xffff {
			return at
		}
	}
	return -1
}

// samePrefix compares the first bits of two addresses.
func samePrefix(a, b *packet.Addr, bits int) bool {
	x := binary.BigEndian.Uint64(a[:8]) ^ binary.BigEndian.Uint64(b[:8])
	return x>>(64-bits) == 0
}

// onesSum is the ones' complement sum of an address's words (RFC 1071).
func onesSum(a *packet.Addr) (sum uint16) {
	for i := 0; i < len(a); i += 2 {
		sum = onesAdd(sum, binary.BigEndian.Uint16(a[i:]))
	}
	return sum
}

func onesAdd(a, b uint16) uint16 {
	sum := uint32(a) + uint32(b)
	return uint16(sum + sum>>16)
}
