package rules

import (
	"slices"

	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules/config"
)

// services returns what rules let in to the node itself: ports of its addresses that no
// translation may give to a connection, or whoever got one could take the answers of, or
// the calls to, a service (I14). A rule without to_port lets everything in, and keeps
// nothing back: there would be nothing left to give.
func services(p *config.Policy) (all []nat.Service) {
	for i := range p.Rules {
		r := &p.Rules[i]
		to, protos, toPorts := r.To, r.Protos, r.ToPorts
		for _, w := range r.Within { // what the place of its section asks, it asks too
			to = slices.Concat(to, w.Asks.To)
			if len(protos) == 0 {
				protos = w.Asks.Protos
			}
			if len(toPorts) == 0 {
				toPorts = w.Asks.ToPorts
			}
		}
		if r.Action.V != config.Pass || !names(to) || !slices.ContainsFunc(to, func(a config.Value[config.Address]) bool { return meansNode(p, &a.V) }) {
			continue
		}
		for _, proto := range protos {
			if !proto.V.HasPorts() {
				continue
			}
			for _, ports := range toPorts {
				all = append(all, nat.Service{Proto: packet.Proto(proto.V), Ports: nat.PortSpan{First: ports.V.First, Last: ports.V.Last}})
			}
		}
	}
	return all
}

// meansNode reports whether an element of a rule's to holds an address of the node.
func meansNode(p *config.Policy, a *config.Address) bool {
	if a.Sense == config.Exclude {
		return false
	}
	for i := range p.Ports {
		for _, own := range p.Ports[i].Addresses {
			addr := own.V.Addr()
			if a.Kind == config.AddressSelf || a.Kind == config.AddressRange && addr.BitLen() == a.First.BitLen() && !addr.Less(a.First) && !a.Last.Less(addr) {
				return true
			}
		}
	}
	return false
}
