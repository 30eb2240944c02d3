package rules

import (
	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules/config"
)

// Masquerades returns a policy's translations as package nat wants them.
func Masquerades(p *config.Policy) []nat.Masquerade {
	var all []nat.Masquerade
	for _, n := range p.NAT {
		port, id := p.Port(n.Out.V), packet.NoPort
		if i, ok := p.PortID(n.Out.V); ok {
			id = packet.PortID(i)
		}
		if n.Kind.V != config.Masquerade || port == nil {
			continue // config refuses these
		}
		m := nat.Masquerade{Out: id}
		for _, family := range []config.Family{config.IPv4, config.IPv6} {
			external := port.External(family)
			for _, a := range external {
				m.External = append(m.External, packet.AddrFrom(a))
			}
			if len(external) > 0 {
				m.From = append(m.From, config.PrefixesOf(n.From, family)...)
			}
		}
		all = append(all, m)
	}
	return all
}
