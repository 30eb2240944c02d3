package rules

import (
	"net/netip"

	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules/config"
)

// Translations returns a policy's translations as package nat wants them.
func Translations(p *config.Policy) []nat.Translation {
	var all []nat.Translation
	for _, n := range p.NAT {
		port := p.Port(n.Out.V)
		id, ok := p.PortID(n.Out.V)
		if n.Kind.V != config.Masquerade || port == nil || !ok {
			continue // config refuses these
		}
		t := nat.Translation{Kind: nat.Masquerade, Out: []packet.PortID{packet.PortID(id)}}
		for _, family := range []config.Family{config.IPv4, config.IPv6} {
			if len(port.External(family)) > 0 {
				t.From = append(t.From, config.PrefixesOf(n.From, family)...)
			}
		}
		all = append(all, t)
	}
	return all
}

// Site returns what translations must know of the ports of a policy.
func Site(p *config.Policy) nat.Site {
	site := nat.Site{Addresses: map[packet.PortID][]netip.Addr{}}
	for i := range p.Ports {
		for _, a := range p.Ports[i].Addresses {
			id := packet.PortID(i)
			site.Addresses[id] = append(site.Addresses[id], a.V.Addr())
		}
	}
	return site
}
