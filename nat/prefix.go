package nat

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"holdfast/dataplane/packet"
)

// prefixPair maps the addresses of two prefixes of equal length onto one another: the
// network part is exchanged, the host part stays.
//
//	inside  10.1.0.0/16       10.1.7.9
//	outside 198.51.0.0/16     198.51.7.9
type prefixPair struct {
	inside, outside netip.Prefix
	mask            packet.Addr // ones in the network part
	nptv6           *nptv6      // nil: static
}

func newStatic(inside, outside netip.Prefix) (*prefixPair, error) {
	for _, p := range [...]netip.Prefix{inside, outside} {
		if !p.IsValid() || p.Addr().Is4In6() || p != p.Masked() {
			return nil, fmt.Errorf("%v is not a prefix of IPv4 or IPv6: give inside and outside", p)
		}
		if a := p.Addr(); a.IsMulticast() || a.IsLinkLocalUnicast() || a.IsLoopback() {
			return nil, fmt.Errorf("%v cannot be translated one to one: give unicast prefixes that are not link-local", p)
		}
	}
	if inside.Addr().Is4() != outside.Addr().Is4() || inside.Bits() != outside.Bits() {
		return nil, fmt.Errorf("inside %v and outside %v differ in length: give prefixes of one family and length", inside, outside)
	}
	if inside.Overlaps(outside) {
		return nil, fmt.Errorf("inside %v and outside %v overlap", inside, outside)
	}
	s := &prefixPair{inside: inside, outside: outside}
	bits := inside.Bits()
	if inside.Addr().Is4() {
		bits += 96
	}
	for i := range bits {
		s.mask[i/8] |= 0x80 >> (i % 8)
	}
	return s, nil
}

// out maps an inside address, in an outside one. ok is false where there is no image.
func (s *prefixPair) out(a packet.Addr) (image packet.Addr, ok bool) {
	if s.nptv6 != nil {
		return s.nptv6.out(a)
	}
	return s.exchange(a, s.outside), true
}

func (s *prefixPair) in(a packet.Addr) (image packet.Addr, ok bool) {
	if s.nptv6 != nil {
		return s.nptv6.in(a)
	}
	return s.exchange(a, s.inside), true
}

func (s *prefixPair) exchange(a packet.Addr, to netip.Prefix) packet.Addr {
	network := packet.AddrFrom(to.Addr())
	for i := 0; i < len(a); i += 8 {
		mask := binary.BigEndian.Uint64(s.mask[i:])
		word := binary.BigEndian.Uint64(a[i:])&^mask | binary.BigEndian.Uint64(network[i:])&mask
		binary.BigEndian.PutUint64(a[i:], word)
	}
	return a
}
