package nat

import (
	"net/netip"
	"slices"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// AnnouncedMax bounds how many addresses of a port's network that are not its own are
// announced at a promotion. Beyond it neighbours find out by asking: the MAC is shared, so
// what they have cached holds.
const AnnouncedMax = 1024

// foreign is the addresses of a port's own networks that the node answers for, as if it had
// them: those that translations give to connections or take them from (compare proxy ARP,
// RFC 1027). They are not the node's: no rule's "self" means them, and no service of the
// node is at them.
//
// Left out are the node's own addresses, its gateways, the targets of destination
// translations, which are hosts, and the network's first address, which is all its routers'
// (RFC 4291 section 2.6.1), with IPv4's broadcast address. What a destination translation says of a whole network, or of everywhere, says nothing of where
// it is: other hosts live there.
type foreign struct {
	spans     []addrSpan // sorted and apart
	announced []packet.Addr
}

// addrSpan is addresses from first to last.
type addrSpan struct{ first, last netip.Addr }

func spanOf(p netip.Prefix) addrSpan {
	last := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	end, _ := netip.AddrFromSlice(last)
	return addrSpan{p.Masked().Addr(), end}
}

// within returns the part of a span that lies in another; ok is false where there is none.
func (s addrSpan) within(other addrSpan) (part addrSpan, ok bool) {
	if s.first.BitLen() != other.first.BitLen() || s.last.Less(other.first) || other.last.Less(s.first) {
		return addrSpan{}, false
	}
	part = s
	if part.first.Less(other.first) {
		part.first = other.first
	}
	if other.last.Less(part.last) {
		part.last = other.last
	}
	return part, true
}

// except takes a span out of others.
func except(all []addrSpan, hole addrSpan) (rest []addrSpan) {
	for _, s := range all {
		part, ok := s.within(hole)
		if !ok {
			rest = append(rest, s)
			continue
		}
		if s.first.Less(part.first) {
			rest = append(rest, addrSpan{s.first, part.first.Prev()})
		}
		if part.last.Less(s.last) {
			rest = append(rest, addrSpan{part.last.Next(), s.last})
		}
	}
	return rest
}

// Answers reports whether the node answers for an address on a port, though it is not the
// node's: an external address of the port's own network.
func (p *Policy) Answers(port packet.PortID, addr *packet.Addr) bool {
	if p == nil || port >= drop.PortsMax || len(p.foreign[port].spans) == 0 {
		return false
	}
	a := addr.Netip()
	_, found := slices.BinarySearchFunc(p.foreign[port].spans, a, func(s addrSpan, a netip.Addr) int {
		switch {
		case s.last.Less(a):
			return -1
		case a.Less(s.first):
			return 1
		}
		return 0
	})
	return found
}

// Announced returns the addresses that Answers tells of, as far as they are to be announced:
// of those that lie together without a gap all, or, where AnnouncedMax does not suffice, none.
func (p *Policy) Announced(port packet.PortID) []packet.Addr {
	if p == nil || port >= drop.PortsMax {
		return nil
	}
	return p.foreign[port].announced
}

// addForeign finds what the node answers for on each port.
func (c *compiler) addForeign(blueprint []Translation) {
	for id, networks := range c.site.Networks {
		if id >= drop.PortsMax {
			continue
		}
		var all []addrSpan
		for _, network := range networks {
			for i := range blueprint {
				all = append(all, blueprint[i].claims(id, network)...)
			}
			if whole := spanOf(network); network.Addr().BitLen()-network.Bits() > 1 {
				all = except(all, addrSpan{whole.first, whole.first})
				if network.Addr().Is4() {
					all = except(all, addrSpan{whole.last, whole.last})
				}
			}
		}
		c.policy.foreign[id] = foreignOf(c.withoutHosts(all, blueprint))
	}
}

// withoutHosts leaves out what belongs to somebody.
func (c *compiler) withoutHosts(all []addrSpan, blueprint []Translation) []addrSpan {
	for _, addresses := range c.site.Addresses {
		for _, a := range addresses {
			all = except(all, addrSpan{a, a})
		}
	}
	for _, a := range c.site.Gateways {
		all = except(all, addrSpan{a, a})
	}
	for i := range blueprint {
		if blueprint[i].Kind != Destination {
			continue
		}
		for _, t := range blueprint[i].Targets {
			all = except(all, t.span())
		}
	}
	return all
}

// foreignOf sorts spans, joins those that overlap or touch, and chooses what is announced.
func foreignOf(all []addrSpan) (f foreign) {
	slices.SortFunc(all, func(a, b addrSpan) int { return a.first.Compare(b.first) })
	for _, s := range all {
		if n := len(f.spans); n > 0 {
			before := &f.spans[n-1]
			if before.last.BitLen() == s.first.BitLen() && (!before.last.Less(s.first) || before.last.Next() == s.first) {
				if before.last.Less(s.last) {
					before.last = s.last
				}
				continue
			}
		}
		f.spans = append(f.spans, s)
	}
	for _, s := range f.spans {
		n := len(f.announced)
		for a := s.first; a.IsValid() && !s.last.Less(a); a = a.Next() {
			if len(f.announced) == AnnouncedMax {
				f.announced = f.announced[:n]
				break
			}
			f.announced = append(f.announced, packet.AddrFrom(a))
		}
	}
	return f
}

// claims returns the addresses of a network of a port that a translation claims.
func (t *Translation) claims(id packet.PortID, network netip.Prefix) (all []addrSpan) {
	whole := spanOf(network)
	claim := func(s addrSpan) {
		if part, ok := s.within(whole); ok {
			all = append(all, part)
		}
	}
	switch t.Kind {
	case Source:
		if slices.Contains(t.Out, id) {
			for _, target := range t.Targets {
				claim(target.span())
			}
		}
	case Static, NPTv6:
		if slices.Contains(t.Out, id) {
			claim(spanOf(t.Outside))
		}
	case Destination, Redirect:
		if len(t.In) > 0 && !slices.Contains(t.In, id) {
			break
		}
		for _, p := range t.To {
			if p.Bits() > network.Bits() {
				claim(spanOf(p))
			}
		}
		for _, p := range t.NotTo {
			all = except(all, spanOf(p))
		}
	}
	return all
}

// span returns the addresses of a target.
func (t *Target) span() addrSpan {
	if t.Last.IsValid() {
		return addrSpan{t.First, t.Last}
	}
	return addrSpan{t.First, t.First}
}
