package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"holdfast/dataplane/drop"
)

// check refuses what cannot be compiled, or would mean nothing.
func (t *Translation) check() error {
	if t.Kind == 0 || t.Kind >= kindsEnd || t.Pick >= picksEnd || t.Mapping >= mappingsEnd || t.Filtering >= filteringsEnd ||
		t.Pooling >= poolingsEnd || t.Hairpin >= hairpinsEnd {
		return fmt.Errorf("%v: unknown kind or option", t.Kind)
	}
	for _, id := range slices.Concat(t.In, t.Out) {
		if id >= drop.PortsMax {
			return fmt.Errorf("port %d is not one of the %d that a node can have", id, drop.PortsMax)
		}
	}
	for _, p := range slices.Concat(t.From, t.NotFrom, t.To, t.NotTo) {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("%v is not a prefix of IPv4 or IPv6", p)
		}
	}
	if err := t.checkPorts(); err != nil {
		return err
	}
	for _, target := range t.Targets {
		if !target.First.IsValid() || target.First.Is4In6() {
			return fmt.Errorf("target %v is not an address of IPv4 or IPv6", target.First)
		}
	}
	switch t.Kind {
	case Masquerade, Source:
		return t.checkSource()
	case Destination, Redirect:
		return t.checkDestination()
	case Static, NPTv6:
		if len(t.Out) == 0 || len(t.In)+len(t.From)+len(t.NotFrom)+len(t.Protos)+len(t.Targets) > 0 || t.hasOptions() {
			return fmt.Errorf("%v takes inside, outside, the outside ports, remote ends and hairpin only", t.Kind)
		}
	default:
		if len(t.Targets) > 0 || t.TargetPorts != (PortSpan{}) || t.hasOptions() || t.Hairpin != HairpinOff {
			return errors.New("an exemption translates nothing: take the targets and options out")
		}
	}
	return nil
}

// hasOptions reports whether it says how ports of external addresses are given.
func (t *Translation) hasOptions() bool {
	return t.Mapping != EndpointIndependent || t.Filtering != FilterAddressAndPort || t.Pooling != Paired || t.PortsPerSource != 0 || t.HoldDown != 0
}

// checkPorts looks at protocols and port numbers.
func (t *Translation) checkPorts() error {
	spans := slices.Concat(t.FromPorts, t.ToPorts)
	if t.TargetPorts != (PortSpan{}) {
		spans = append(spans, t.TargetPorts)
	}
	for _, s := range spans {
		if s.First == 0 || s.Last < s.First {
			return fmt.Errorf("ports %d-%d are no range of 1 to 65535", s.First, s.Last)
		}
	}
	needs := len(t.FromPorts)+len(t.ToPorts) > 0 || t.TargetPorts != (PortSpan{}) && (t.Kind == Destination || t.Kind == Redirect)
	if !needs {
		return nil
	}
	if len(t.Protos) == 0 {
		return errors.New("ports need a protocol: name those that are meant")
	}
	for _, p := range t.Protos {
		if k := spaceOf(p); k == noPorts || k == identifiers {
			return fmt.Errorf("%v has no ports: take it or the ports out", p)
		}
	}
	return nil
}

// checkSource looks at what is said of external addresses.
func (t *Translation) checkSource() error {
	switch {
	case t.Kind == Masquerade && (len(t.Out) == 0 || len(t.Targets) > 0):
		return errors.New("a masquerade takes the ports that connections leave by, and their addresses")
	case t.Kind == Source && len(t.Targets) == 0:
		return errors.New("it has no target: give external addresses")
	case len(t.Out) == 0 && (t.Filtering != FilterAddressAndPort || t.Hairpin == HairpinOn):
		return errors.New("filtering and hairpin need the ports that connections leave by: they are the outside")
	case t.Mapping == AddressAndPortDependent && (t.Filtering != FilterAddressAndPort || t.Hairpin == HairpinOn || t.PortsPerSource > 0 || t.HoldDown > 0):
		return errors.New("where a port belongs to several endpoints, filtering, hairpin, limits and hold-down have no owner to serve")
	case (t.Pick == RoundRobin || t.Pick == Random) && (t.Pooling == Paired || t.Mapping == EndpointIndependent):
		return errors.New("round robin and random need pooling arbitrary and a mapping that depends on address and port: else a source keeps its address")
	case (t.Pick == Sticky || t.Pick == Weighted) && t.Pooling == Arbitrary:
		return errors.New("sticky and weighted picks pair a source with its address: take pooling arbitrary out")
	case t.HoldDown < 0 || t.HoldDown > HoldDownMax:
		return fmt.Errorf("hold-down of %d ns: give 0 to %d", t.HoldDown, HoldDownMax)
	case t.Inside != netip.Prefix{} || t.Outside != netip.Prefix{}:
		return fmt.Errorf("%v takes no inside and outside", t.Kind)
	}
	return nil
}

// checkDestination looks at what connections are forwarded to.
func (t *Translation) checkDestination() error {
	length := t.TargetPorts.Len()
	switch {
	case len(t.Out) > 0:
		return fmt.Errorf("%v comes before the route is known: take the port that connections leave by out", t.Kind)
	case t.Kind == Redirect && len(t.Targets) > 0:
		return errors.New("a redirect goes to the node itself: take the targets out")
	case t.hasOptions() || t.Inside != netip.Prefix{} || t.Outside != netip.Prefix{}:
		return fmt.Errorf("%v gives no external ports: take the options for them out", t.Kind)
	case length > 1 && (len(t.ToPorts) != 1 || t.ToPorts[0].Len() != length):
		return fmt.Errorf("%d target ports stand for one range of ports that is as long: give such a range, or one target port", length)
	case t.Hairpin == HairpinOn && (t.Kind == Redirect || len(t.To) == 0):
		return errors.New("hairpin needs the external addresses that it is about: give the destination")
	}
	return nil
}
