package rules

import (
	"net/netip"

	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules/config"
)

// Translations returns a policy's translations as package nat wants them. The policy must
// be one that package config returned without error.
func Translations(p *config.Policy) []nat.Translation {
	var all []nat.Translation
	for i := range p.NAT {
		n := &p.NAT[i]
		if n.Kind.V != config.Masquerade {
			if t, applies := translation(p, n, portIDs(p, n.Out), poolFamilies(n)); applies {
				all = append(all, t)
			}
			continue
		}
		// One for each port: each may have addresses of other families.
		for _, out := range n.Out {
			port := p.Port(out.V)
			var families []config.Family
			for _, f := range bothFamilies {
				if len(port.External(f)) > 0 {
					families = append(families, f)
				}
			}
			if t, applies := translation(p, n, portIDs(p, []config.Value[string]{out}), families); applies {
				all = append(all, t)
			}
		}
	}
	return all
}

// CheckNAT says what package nat refuses of a policy's translations, with the place.
func CheckNAT(p *config.Policy) error {
	_, err := nat.Compile(Translations(p), Site(p), nat.NewPool())
	return err
}

// Site returns what translations must know of the ports of a policy, and of what the node answers.
func Site(p *config.Policy) nat.Site {
	site := nat.Site{Addresses: map[packet.PortID][]netip.Addr{}, Networks: map[packet.PortID][]netip.Prefix{}, Services: services(p)}
	for _, g := range p.Gateways {
		site.Gateways = append(site.Gateways, g.Address.V)
	}
	for i := range p.Ports {
		for _, a := range p.Ports[i].Addresses {
			id := packet.PortID(i)
			site.Addresses[id] = append(site.Addresses[id], a.V.Addr())
			site.Networks[id] = append(site.Networks[id], a.V.Masked())
		}
	}
	return site
}

var bothFamilies = []config.Family{config.IPv4, config.IPv6}

// poolFamilies returns the families that a translation has targets of; both where it has none.
func poolFamilies(n *config.NAT) []config.Family {
	var families []config.Family
	for _, f := range bothFamilies {
		for _, t := range n.Targets {
			if t.V.First.Is4() == (f == config.IPv4) {
				families = append(families, f)
				break
			}
		}
	}
	if len(families) == 0 {
		return bothFamilies
	}
	return families
}

// The words of the file as package nat has them.
var (
	natKinds = [...]nat.Kind{
		config.Masquerade: nat.Masquerade, config.SourceNAT: nat.Source, config.DestinationNAT: nat.Destination,
		config.Redirect: nat.Redirect, config.StaticNAT: nat.Static, config.NPTv6: nat.NPTv6, config.NoNAT: nat.Exempt,
	}
	natPicks = [...]nat.Pick{
		config.PickHash: nat.Hash, config.PickSticky: nat.Sticky, config.PickRoundRobin: nat.RoundRobin,
		config.PickRandom: nat.Random, config.PickWeighted: nat.Weighted,
	}
	natMappings = [...]nat.Mapping{
		config.MappingEndpointIndependent: nat.EndpointIndependent, config.MappingAddressAndPort: nat.AddressAndPortDependent,
	}
	natFilterings = [...]nat.Filtering{
		config.FilteringAddressAndPort: nat.FilterAddressAndPort, config.FilteringAddress: nat.FilterAddress,
		config.FilteringNone: nat.FilterNone,
	}
	natPoolings = [...]nat.Pooling{config.PoolingPaired: nat.Paired, config.PoolingArbitrary: nat.Arbitrary}
)

// translation makes the blueprint of one translation, for the ports that connections leave
// by and the families that it can give addresses of. One whose conditions no connection of
// these families meets does not apply; its empty lists would say the opposite.
func translation(p *config.Policy, n *config.NAT, out []packet.PortID, families []config.Family) (t nat.Translation, applies bool) {
	t = nat.Translation{
		Name: n.Pos.String(), Kind: natKinds[n.Kind.V], In: portIDs(p, n.In), Out: out,
		FromPorts: portSpans(n.FromPorts), ToPorts: portSpans(n.ToPorts),
		Pick: natPicks[n.Pick.V], Mapping: natMappings[n.Mapping.V],
		Filtering: natFilterings[n.Filtering.V], Pooling: natPoolings[n.Pooling.V],
		PortsPerSource: n.PortsPerSource.V, HoldDown: n.HoldDown.V.Nanoseconds(),
	}
	for _, proto := range n.Protos {
		t.Protos = append(t.Protos, packet.Proto(proto.V))
	}
	if n.TargetPort.Written() {
		t.TargetPorts = nat.PortSpan(n.TargetPort.V)
	}
	if n.Hairpin.V {
		t.Hairpin = nat.HairpinOn
	}
	t.To, t.NotTo = prefixes(p, n.To, families)
	applies = len(t.To) > 0 || len(n.To) == 0
	if n.Kind.V == config.StaticNAT || n.Kind.V == config.NPTv6 {
		t.Inside = config.Prefixes(n.From[0].V.First, n.From[0].V.Last)[0]
		t.Outside = config.Prefixes(n.Targets[0].V.First, n.Targets[0].V.Last)[0]
		return t, applies
	}
	t.From, t.NotFrom = prefixes(p, n.From, families)
	applies = applies && (len(t.From) > 0 || len(n.From) == 0)
	for _, target := range n.Targets {
		t.Targets = append(t.Targets, nat.Target{First: target.V.First, Last: target.V.Last, Weight: target.V.Weight})
	}
	return t, applies
}

// prefixes returns what a list includes and what it excludes, of the families. A list that
// only excludes includes everything; an empty one says nothing.
func prefixes(p *config.Policy, list []config.Value[config.Address], families []config.Family) (with, without []netip.Prefix) {
	includes := false
	for _, a := range list {
		into := &without
		if a.V.Sense == config.Include {
			into, includes = &with, true
		}
		for _, f := range families {
			if a.V.Kind == config.AddressSelf {
				*into = append(*into, ownPrefixes(p, f)...)
				continue
			}
			*into = append(*into, config.PrefixesOf([]config.Value[config.Address]{a}, f)...)
		}
	}
	if len(list) > 0 && !includes {
		for _, f := range families {
			with = append(with, config.PrefixesOf(anywhere, f)...)
		}
	}
	return with, without
}

var anywhere = []config.Value[config.Address]{{V: config.Address{Kind: config.AddressAny}}}

// ownPrefixes returns the node's addresses of a family.
func ownPrefixes(p *config.Policy, f config.Family) []netip.Prefix {
	var all []netip.Prefix
	for _, a := range p.Self() {
		if a.Is4() == (f == config.IPv4) {
			all = append(all, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return all
}

func portIDs(p *config.Policy, names []config.Value[string]) []packet.PortID {
	var ids []packet.PortID
	for _, name := range names {
		if id, ok := p.PortID(name.V); ok {
			ids = append(ids, packet.PortID(id))
		}
	}
	return ids
}

func portSpans(ports []config.Value[config.PortRange]) []nat.PortSpan {
	var spans []nat.PortSpan
	for _, r := range ports {
		spans = append(spans, nat.PortSpan(r.V))
	}
	return spans
}
