package config

import (
	"fmt"
	"net/netip"
)

// refer checks what names something else, and what must be unique or agree across tables.
func (p *Policy) refer(d *decoder) {
	p.referGroups(d)
	p.referAddresses(d)
	p.referGateways(d)
	for i := range p.Routes {
		p.referRoute(d, &p.Routes[i])
	}
	p.referNAT(d)
	first := make(map[string]int, len(p.Rules))
	for i := range p.Rules {
		r := &p.Rules[i]
		if !r.ID.Written() {
			continue // told already
		}
		if before, ok := first[r.ID.V]; ok {
			d.refuse(r.ID.Pos, fmt.Sprintf("rule id %q is used twice, first at %s", r.ID.V, p.Rules[before].ID.Pos), "give each rule an id of its own")
			continue
		}
		first[r.ID.V] = i
	}
	p.eachRule(func(r *Rule) { p.referRule(d, r) })
	p.referLimits(d)
	p.referTags(d)
}

// wantPort refuses the name of a port that is not there.
func (p *Policy) wantPort(d *decoder, name Value[string]) *Port {
	if !name.Written() {
		return nil // told already
	}
	port := p.Port(name.V)
	if port == nil {
		d.refuse(name.Pos, fmt.Sprintf("unknown port %q", name.V), suggest(name.V, p.portNames(), "ports"))
	}
	return port
}

// referGroups: every port is in exactly one group.
func (p *Policy) referGroups(d *decoder) {
	if !p.Groups[0].Name.Written() {
		return // the default group holds every port
	}
	if len(p.Groups) > 1 {
		d.refuse(p.Groups[1].Name.Pos, "more than one group is not built yet", "put all ports into one group")
		return
	}
	in := map[string]Position{}
	for _, g := range p.Groups {
		for _, name := range g.Ports {
			if p.wantPort(d, name) == nil {
				continue
			}
			if at, ok := in[name.V]; ok {
				d.refuse(name.Pos, fmt.Sprintf("port %s is in a group twice, first at %s", name.V, at), "remove one of the two")
			}
			in[name.V] = name.Pos
		}
	}
	for _, port := range p.Ports {
		if _, ok := in[port.Name.V]; !ok {
			d.refuse(port.Name.Pos, fmt.Sprintf("port %s is in no group", port.Name.V), fmt.Sprintf("add it to the ports of [groups.%s]", p.Groups[0].Name.V))
		}
	}
}

// referAddresses: no address stands on two ports, or twice on one.
func (p *Policy) referAddresses(d *decoder) {
	first := map[netip.Addr]Position{}
	for _, port := range p.Ports {
		for _, a := range port.Addresses {
			if at, ok := first[a.V.Addr()]; ok {
				d.refuse(a.Pos, fmt.Sprintf("address %s is used twice, first at %s", a.V.Addr(), at), "remove one of the two")
				continue
			}
			first[a.V.Addr()] = a.Pos
		}
	}
}

// referGateways: a gateway is a neighbour on its port, and each is another one.
func (p *Policy) referGateways(d *decoder) {
	type router struct {
		port    string
		address netip.Addr
	}
	first := map[router]string{}
	for _, g := range p.Gateways {
		port := p.wantPort(d, g.Port)
		if at := (router{g.Port.V, g.Address.V}); port != nil && g.Address.Written() {
			if other, taken := first[at]; taken {
				d.refuse(g.Address.Pos, fmt.Sprintf("gateway %s has the port and address of gateway %s", g.Name.V, other), "remove one of the two")
			}
			first[at] = g.Name.V
		}
		if port == nil || !g.Address.Written() || g.Address.V.IsLinkLocalUnicast() {
			continue
		}
		near := false
		for _, a := range port.Addresses {
			near = near || a.V.Contains(g.Address.V)
			if a.V.Addr() == g.Address.V {
				d.refuse(g.Address.Pos, fmt.Sprintf("gateway %s has the address of port %s itself", g.Name.V, port.Name.V), "write the router's address")
			}
		}
		if !near {
			d.refuse(g.Address.Pos, fmt.Sprintf("gateway %s (%s) lies in no network of port %s", g.Name.V, g.Address.V, port.Name.V),
				"give the port an address in the gateway's network, or name another port")
		}
	}
}

func (p *Policy) referRule(d *decoder, r *Rule) {
	for _, list := range [][]Value[string]{r.In, r.Out} {
		for _, name := range list {
			p.wantPort(d, name)
		}
	}
	if r.Gateway.Written() {
		known(d, "gateway", r.Gateway, p.gatewayNames())
	}
	for _, list := range [][]Value[Address]{r.From, r.To} {
		for _, a := range list {
			p.referTable(d, a)
		}
	}
}

// known refuses a name that is not one of names.
func known(d *decoder, kind string, name Value[string], names []string) {
	for _, n := range names {
		if n == name.V {
			return
		}
	}
	d.refuse(name.Pos, fmt.Sprintf("unknown %s %q", kind, name.V), suggest(name.V, names, kind+"s"))
}

// Family is one of the two families of addresses. The zero value is illegal.
type Family uint8

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String returns the family's name.
func (f Family) String() string { return fmt.Sprintf("IPv%d", uint8(f)) }

func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// External returns the port's addresses of a family that other networks can answer:
// what a masquerade uses.
func (p *Port) External(f Family) []netip.Addr {
	var all []netip.Addr
	for _, a := range p.Addresses {
		if addr := a.V.Addr(); familyOf(addr) == f && addr.IsGlobalUnicast() {
			all = append(all, addr)
		}
	}
	return all
}
