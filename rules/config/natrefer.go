package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// referNAT checks translations against the ports and against each other.
func (p *Policy) referNAT(d *decoder) {
	var claims []claim
	masquerading := map[string]bool{} // ports whose addresses are claimed
	for i := range p.NAT {
		n := &p.NAT[i]
		faults := len(d.errs)
		for _, list := range [][]Value[string]{n.In, n.Out} {
			for _, name := range list {
				p.wantPort(d, name)
			}
		}
		switch n.Kind.V {
		case Masquerade:
			p.referMasquerade(d, n)
		case DestinationNAT:
			p.referTargets(d, n)
		}
		if !n.faulty && len(d.errs) == faults {
			claims = append(claims, p.claimsOf(n, masquerading)...)
		}
	}
	disputes(d, claims)
}

// referMasquerade: its ports have an external address for every family of its sources.
func (p *Policy) referMasquerade(d *decoder, n *NAT) {
	for _, name := range n.Out {
		port := p.Port(name.V)
		if port == nil {
			continue
		}
		if len(port.External(IPv4))+len(port.External(IPv6)) == 0 {
			d.refuse(name.Pos, fmt.Sprintf("port %s has no address to masquerade with", port.Name.V), fmt.Sprintf("add addresses to [ports.%s]", port.Name.V))
			continue
		}
		for _, from := range n.From {
			if from.V.Kind != AddressRange || from.V.Sense == Exclude {
				continue
			}
			if f := familyOf(from.V.First); len(port.External(f)) == 0 {
				d.refuse(from.Pos, fmt.Sprintf("%s is %s, and port %s has no such address to masquerade with", from.V, f, port.Name.V),
					fmt.Sprintf("add one to [ports.%s], or take the source out", port.Name.V))
			}
		}
	}
}

// referTargets: a destination is a host behind the node, not the node.
func (p *Policy) referTargets(d *decoder, n *NAT) {
	for _, t := range n.Targets {
		for i := range p.Ports {
			for _, a := range p.Ports[i].Addresses {
				if own := a.V.Addr(); t.V.holds(own) {
					d.refuse(t.Pos, fmt.Sprintf("target %s is an address of port %s, so of the node itself", own, p.Ports[i].Name.V), `use kind = "redirect", or write the address of a host`)
				}
			}
		}
	}
}

// holds reports whether an address is one of the target's.
func (t Target) holds(a netip.Addr) bool {
	return a.BitLen() == t.First.BitLen() && !a.Less(t.First) && !t.Last.Less(a)
}

// use is what a translation does with addresses that it claims. Two claims of the same
// addresses contradict each other unless both are shared.
type use uint8

const (
	sharedOutside use = iota + 1 // its ports are given to inside endpoints
	wholeOutside                 // stands for one inside address each
	wholeInside                  // is translated to one outside address each
)

// claim is addresses that a translation makes its own.
type claim struct {
	first, last netip.Addr
	use         use
	at          Position // where the file says so
	nat         *NAT
}

// claimsOf returns what a translation claims. A port that several masquerade with claims its
// addresses once.
func (p *Policy) claimsOf(n *NAT, masquerading map[string]bool) []claim {
	var all []claim
	switch n.Kind.V {
	case Masquerade:
		for _, name := range n.Out {
			port := p.Port(name.V)
			if port == nil || masquerading[name.V] {
				continue
			}
			masquerading[name.V] = true
			for _, a := range slices.Concat(port.External(IPv4), port.External(IPv6)) {
				all = append(all, claim{a, a, sharedOutside, name.Pos, n})
			}
		}
	case SourceNAT:
		for _, t := range n.Targets {
			all = append(all, claim{t.V.First, t.V.Last, sharedOutside, t.Pos, n})
		}
	case StaticNAT, NPTv6:
		from, to := n.From[0], n.Targets[0]
		all = append(all, claim{from.V.First, from.V.Last, wholeInside, from.Pos, n}, claim{to.V.First, to.V.Last, wholeOutside, to.Pos, n})
	}
	return all
}

// disputes refuses claims that contradict an earlier one. Shared ones, of which there may be
// many, are compared with whole ones alone.
func disputes(d *decoder, claims []claim) {
	var wholes []claim
	for i := range claims {
		c, earlier := &claims[i], wholes
		if c.use != sharedOutside {
			wholes, earlier = append(wholes, *c), claims[:i]
		}
		for j := range earlier {
			other := &earlier[j]
			if c.nat == other.nat || !c.disputes(other) {
				continue
			}
			d.refuse(c.at, fmt.Sprintf("the addresses %s of this %s overlap with %s of the %s at %s", rangeText(c.first, c.last), c.nat.Kind.V,
				rangeText(other.first, other.last), other.nat.Kind.V, other.at), c.mend())
			break
		}
	}
}

// disputes reports whether two claims cannot both hold.
func (c *claim) disputes(other *claim) bool {
	apart := c.first.BitLen() != other.first.BitLen() || c.last.Less(other.first) || other.last.Less(c.first)
	switch {
	case apart:
		return false
	case c.use == wholeInside && other.use == wholeInside:
		// A host may have an address to each side, and to some remote networks another.
		return len(c.nat.To)+len(other.nat.To) == 0 && shareName(c.nat.Out, other.nat.Out)
	case c.use == wholeInside || other.use == wholeInside:
		return false // several stages of address space, one behind the other
	}
	return c.use == wholeOutside || other.use == wholeOutside
}

func (c *claim) mend() string {
	if c.use == wholeInside {
		return "give each inside address one translation to a port: the second never applies"
	}
	return "give each its own addresses: a whole address stands for one host"
}

func shareName(a, b []Value[string]) bool {
	for _, x := range a {
		for _, y := range b {
			if x.V == y.V {
				return true
			}
		}
	}
	return false
}
