package rules

import (
	"fmt"
	"strings"

	"holdfast/conntrack"
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

// Timeouts returns the defaults with what the policy sets put over them, for plain and
// translated connections alike.
func Timeouts(p *config.Policy) (*conntrack.Timeouts, error) {
	t := conntrack.DefaultTimeouts()
	byName := map[string]conntrack.Timer{}
	for _, timer := range conntrack.Timers() {
		byName[timer.String()] = timer
	}
	for _, set := range p.Timeouts {
		timer, ok := byName[strings.ReplaceAll(set.Name, "_", "-")]
		if !ok {
			return nil, fmt.Errorf("rules: %s: no timer %s: remove it from [timeouts]", set.Idle.Pos, set.Name)
		}
		t.Plain[timer], t.Translated[timer] = set.Idle.V, set.Idle.V
	}
	return t, nil
}
