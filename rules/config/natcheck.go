package config

import (
	"fmt"
	"slices"
)

// check finds what is wrong with a translation whose values are right one by one.
func (n *NAT) check(d *decoder) {
	ports := slices.Concat(n.FromPorts, n.ToPorts)
	if n.TargetPort.Written() && slices.Contains(ofDestination, n.Kind.V) {
		ports = append(ports, n.TargetPort)
	}
	wantPorts(d, "the "+n.Kind.V.String(), n.Protos, ports, "write two [[nat]], one without ports")
	n.checkFamilies(d)
	switch n.Kind.V {
	case StaticNAT, NPTv6:
		n.checkPrefixes(d)
	case DestinationNAT, Redirect:
		n.checkTargetPort(d)
	case Masquerade, SourceNAT:
		n.checkSource(d)
	case NoNAT:
		if len(n.In)+len(n.Out)+len(n.From)+len(n.To)+len(n.Protos) == 0 {
			d.refuse(n.Kind.Pos, "kind none without a condition, which would leave nothing to those below it", "say which connections: from, to, in, out or proto")
		}
	}
	switch n.Kind.V {
	case SourceNAT:
		n.checkPool(d, "from", n.From)
		n.checkWeights(d)
	case DestinationNAT:
		n.checkPool(d, "to", n.To)
		n.checkWeights(d)
		if n.Hairpin.V && len(n.In) == 0 {
			d.refuse(n.Hairpin.Pos, "hairpin of a dnat that does not say where the outside is", `add in = "wan"`)
		}
	}
}

// nptv6BitsMax is the longest prefix of NPTv6: the adjustment needs bits behind it, and those
// of a /64 are the interface identifier (RFC 6296 section 3.5; docs/behaviour.md J2).
const nptv6BitsMax = 64

// checkPrefixes: a translation of one to one has one inside and one outside of one length.
func (n *NAT) checkPrefixes(d *decoder) {
	kind := n.Kind.V
	for _, more := range [][]Position{positions(n.From), positions(n.Targets)} {
		if len(more) > 1 {
			d.refuse(more[1], fmt.Sprintf("kind %s has one inside and one outside prefix, and this is another", kind), "write another [[nat]] for it")
			return
		}
	}
	from, to := n.From[0], n.Targets[0]
	inside, outside := Prefixes(from.V.First, from.V.Last)[0], to.V.prefix()
	families := []Family{familyOf(inside.Addr()), familyOf(outside.Addr())}
	switch {
	case kind == NPTv6 && slices.Contains(families, IPv4):
		at := from.Pos
		if families[0] == IPv6 {
			at = to.Pos
		}
		d.refuse(at, "kind nptv6 with an IPv4 prefix", `use kind = "static" for IPv4`)
	case families[0] != families[1]:
		d.refuse(to.Pos, fmt.Sprintf("%s is %s, and the inside %s is %s", outside, families[1], inside, families[0]), "write prefixes of one family: Holdfast does not translate between families")
	case inside.Bits() != outside.Bits():
		d.refuse(to.Pos, fmt.Sprintf("%s has %d bits, and the inside %s has %d", outside, outside.Bits(), inside, inside.Bits()), "write prefixes of equal length, so that every address has one of its own")
	case kind == NPTv6 && inside.Bits() > nptv6BitsMax:
		d.refuse(from.Pos, fmt.Sprintf("kind nptv6 with prefixes longer than /%d", nptv6BitsMax), `use kind = "static", which keeps the host part`)
	case inside.Overlaps(outside):
		d.refuse(to.Pos, fmt.Sprintf("%s is inside and outside at once", outside), "write an outside prefix apart from the inside one")
	}
}

// checkTargetPort: ports map to one port, or one range in order to another as long.
func (n *NAT) checkTargetPort(d *decoder) {
	if !n.TargetPort.Written() {
		if n.Kind.V == Redirect && len(n.To) == 0 && len(n.ToPorts) == 0 && len(n.Protos) == 0 && len(n.In) == 0 {
			d.refuse(n.Kind.Pos, "kind redirect without a condition, which would leave nothing to forward", "say which connections: to, in, proto, to_port")
		}
		return
	}
	wide := n.TargetPort.V.length()
	switch {
	case wide == 1:
	case len(n.ToPorts) != 1:
		d.refuse(n.TargetPort.Pos, fmt.Sprintf("target_port is a range of %d, and to_port is %s", wide, plural(len(n.ToPorts), "value")), "write one range of to_port as long, or one target_port")
	case n.ToPorts[0].V.length() != wide:
		d.refuse(n.TargetPort.Pos, fmt.Sprintf("target_port is a range of %d, and to_port %s of %d", wide, n.ToPorts[0].V, n.ToPorts[0].V.length()), "write ranges of equal length, or one target_port")
	}
}

// checkSource: options of a source translation that contradict each other.
func (n *NAT) checkSource(d *decoder) {
	if n.Mapping.V == MappingAddressAndPort {
		for _, o := range []struct {
			key string
			at  Position
			on  bool
		}{
			{"filtering", n.Filtering.Pos, n.Filtering.V != FilteringAddressAndPort},
			{"hairpin", n.Hairpin.Pos, n.Hairpin.V},
			{"ports_per_source", n.PortsPerSource.Pos, n.PortsPerSource.V != 0},
			{"hold_down", n.HoldDown.Pos, n.HoldDown.V != 0},
		} {
			if o.on {
				d.refuse(o.at, fmt.Sprintf("%s with mapping %s: a port that several endpoints share belongs to none of them", o.key, n.Mapping.V),
					`use mapping = "endpoint-independent", or take `+o.key+" out")
			}
		}
	}
	switch n.Pick.V {
	case PickRoundRobin, PickRandom:
		if n.Mapping.V != MappingAddressAndPort || n.Pooling.V == PoolingPaired {
			d.refuse(n.Pick.Pos, fmt.Sprintf("pick %s for sources whose external address is fixed by pooling or mapping", n.Pick.V),
				`add pooling = "arbitrary" and mapping = "address-and-port-dependent", or use hash, sticky or weighted`)
		}
	case PickSticky, PickWeighted:
		if n.Pooling.V == PoolingArbitrary {
			d.refuse(n.Pooling.Pos, fmt.Sprintf("pooling arbitrary with pick %s, which pairs a source with its address", n.Pick.V), "remove one of the two")
		}
	}
}

// families is the families of addresses that a list can hold: bit 0 is IPv4, bit 1 IPv6.
type families uint8

const everyFamily families = 3

func familyBit(f Family) families {
	if f == IPv4 {
		return 1
	}
	return 2
}

// familiesOf returns what families a list of conditions has addresses of.
func familiesOf(list []Value[Address]) families {
	has, includes := families(0), false
	for _, a := range list {
		if a.V.Sense == Exclude {
			continue
		}
		includes = true
		if a.V.Kind != AddressRange {
			return everyFamily
		}
		has |= familyBit(familyOf(a.V.First))
	}
	if !includes {
		return everyFamily
	}
	return has
}

// checkFamilies: some family stands in every list. Between families nothing is translated.
func (n *NAT) checkFamilies(d *decoder) {
	from, to := familiesOf(n.From), familiesOf(n.To)
	if from&to == 0 {
		d.refuse(n.To[0].Pos, "from and to have no family in common, so no connection is meant", "write addresses of one family, or two [[nat]]")
	}
}

// checkPool: the pool has addresses of every family that the conditions of key name, and
// none of another.
func (n *NAT) checkPool(d *decoder, key string, list []Value[Address]) {
	pool := families(0)
	for _, t := range n.Targets {
		pool |= familyBit(familyOf(t.V.First))
	}
	for _, a := range list {
		if a.V.Sense == Include && a.V.Kind == AddressRange && pool&familyBit(familyOf(a.V.First)) == 0 {
			d.refuse(a.Pos, fmt.Sprintf("%s is %s, and target has no such address", a.V, familyOf(a.V.First)), "add one to target, or take "+a.V.String()+" out")
		}
	}
	has := familiesOf(list)
	for _, t := range n.Targets {
		if f := familyOf(t.V.First); has&familyBit(f) == 0 {
			d.refuse(t.Pos, fmt.Sprintf("%s is %s, and %s has no such address", t.V, f, key), "add one to "+key+", or take the target out")
		}
	}
}

// checkWeights: weights count where they are asked for.
func (n *NAT) checkWeights(d *decoder) {
	for _, t := range n.Targets {
		if t.V.Weight != 0 && n.Pick.V != PickWeighted {
			d.refuse(t.Pos, "a weight without pick = \"weighted\" does nothing", `add pick = "weighted", or write the address alone`)
			return
		}
	}
}

func positions[T any](list []Value[T]) []Position {
	all := make([]Position, len(list))
	for i, v := range list {
		all[i] = v.Pos
	}
	return all
}
