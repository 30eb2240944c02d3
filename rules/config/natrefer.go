package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// referNAT checks translations against the ports and against each other.
func (p *Policy) referNAT(d *decoder) {
	var claims []claim
	masquerading := map[portTerms]bool{}
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
		case Redirect:
			p.referRedirect(d, n)
		}
		if !n.faulty && len(d.errs) == faults {
			claims = append(claims, p.claimsOf(n, masquerading)...)
		}
	}
	disputes(d, claims)
	countExternals(d, claims)
}

// externalsMax is how many external addresses a node shares among inside endpoints: package
// nat keeps account of the ports of each.
const externalsMax = 1024

func countExternals(d *decoder, claims []claim) {
	all := map[netip.Addr]bool{}
	for _, c := range claims {
		if c.use != sharedOutside {
			continue
		}
		for a := c.first; ; a = a.Next() {
			if all[a] = true; len(all) > externalsMax {
				d.refuse(c.at, fmt.Sprintf("more than %d external addresses", externalsMax), "write a smaller pool: each address serves 65535 ports")
				return
			}
			if a == c.last {
				break
			}
		}
	}
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

// referRedirect: the ports that it names have an address to redirect to.
func (p *Policy) referRedirect(d *decoder, n *NAT) {
	for _, name := range n.In {
		if port := p.Port(name.V); port != nil && len(port.External(IPv4))+len(port.External(IPv6)) == 0 {
			d.refuse(name.Pos, fmt.Sprintf("port %s has no address to redirect to", port.Name.V), fmt.Sprintf("add addresses to [ports.%s]", port.Name.V))
		}
	}
}

// holds reports whether an address is one of the target's.
func (t Target) holds(a netip.Addr) bool {
	return a.BitLen() == t.First.BitLen() && !a.Less(t.First) && !t.Last.Less(a)
}

// use is what a translation does with addresses that it claims. Two claims of the same
// addresses contradict each other unless both are shared, and on the same terms: whom a
// port belongs to is settled for an address, not for a connection.
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

// terms is what a translation says of whose a port is.
type terms struct {
	mapping   Mapping
	filtering Filtering
}

func (c *claim) terms() terms { return terms{c.nat.Mapping.V, c.nat.Filtering.V} }

// portTerms is a port that is masqueraded with, on certain terms.
type portTerms struct {
	port string
	terms
}

// claimsOf returns what a translation claims. The addresses of a port that several masquerade
// with, on the same terms, are claimed once.
func (p *Policy) claimsOf(n *NAT, masquerading map[portTerms]bool) []claim {
	var all []claim
	switch n.Kind.V {
	case Masquerade:
		for _, name := range n.Out {
			port := p.Port(name.V)
			on := portTerms{name.V, terms{n.Mapping.V, n.Filtering.V}}
			if port == nil || masquerading[on] {
				continue
			}
			masquerading[on] = true
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
// many, are compared with those alone that they can contradict.
func disputes(d *decoder, claims []claim) {
	var wholes []claim
	shared := map[terms][]claim{}
	for i := range claims {
		c := &claims[i]
		against := [][]claim{claims[:i]}
		if c.use == sharedOutside {
			against = [][]claim{wholes}
			for other, theirs := range shared {
				if other != c.terms() {
					against = append(against, theirs)
				}
			}
			shared[c.terms()] = append(shared[c.terms()], *c)
		} else {
			wholes = append(wholes, *c)
		}
		c.judge(d, against)
	}
}

// judge refuses a claim that contradicts one of others, naming the earliest.
func (c *claim) judge(d *decoder, others [][]claim) {
	var earliest *claim
	for _, list := range others {
		for j := range list {
			other := &list[j]
			if c.nat == other.nat || !c.disputes(other) {
				continue
			}
			if earliest == nil || other.at.compare(earliest.at) < 0 {
				earliest = other
			}
			break
		}
	}
	if earliest != nil {
		d.refuse(c.at, fmt.Sprintf("the addresses %s of this %s overlap with %s of the %s at %s", rangeText(c.first, c.last), c.nat.Kind.V,
			rangeText(earliest.first, earliest.last), earliest.nat.Kind.V, earliest.at), c.mend(earliest))
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
	return c.use == wholeOutside || other.use == wholeOutside || c.terms() != other.terms()
}

func (c *claim) mend(other *claim) string {
	switch {
	case c.use == wholeInside:
		return "give each inside address one translation to a port: the second never applies"
	case c.use == sharedOutside && other.use == sharedOutside:
		return "say the same mapping and filtering in both, or give each addresses of its own"
	case c.nat.Kind.V == Masquerade || other.nat.Kind.V == Masquerade:
		return `give each its own addresses: use kind = "snat" with those that are left, in place of masquerade`
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
