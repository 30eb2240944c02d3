package rules

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

// Compile makes a Set of a policy's rules. The policy must be one that package config
// returned without error; the error is a config.Errors.
func Compile(p *config.Policy) (*Set, error) {
	base, err := Timeouts(p)
	if err != nil {
		return nil, err
	}
	s := &Set{timeouts: []*conntrack.Timeouts{base}}
	self := selfSpans(p.Self())
	var faults config.Errors
	seen := map[uint32]*config.Rule{}
	for i := range p.Rules {
		r := &p.Rules[i]
		n := Number(r.ID.V)
		if other := seen[n]; other != nil || n == 0 {
			faults = append(faults, clash(r, other))
		}
		seen[n] = r
		if err := s.add(p, r, n, self); err != nil {
			faults = append(faults, err...)
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	s.listed = append(s.listed, Rule{ID: config.DefaultID, Action: config.Block})
	for i := range s.listed {
		s.byNumber = append(s.byNumber, uint32(i))
	}
	slices.SortFunc(s.byNumber, func(a, b uint32) int { return cmp.Compare(s.listed[a].Number, s.listed[b].Number) })
	return s, nil
}

// Number returns the stable number of a rule's id: its xxHash64 folded to 32 bits. About
// one policy of a thousand rules in ten thousand has two with one number; Compile refuses it.
func Number(id string) uint32 {
	h := xxhash.Sum64String(id)
	return uint32(h ^ h>>32)
}

func clash(r, other *config.Rule) config.Error {
	with := "the default"
	if other != nil {
		with = fmt.Sprintf("rule %q at %s", other.ID.V, other.ID.Pos)
	}
	return config.Error{
		Pos:  r.ID.Pos,
		What: fmt.Sprintf("rule %q has by chance the same number as %s", r.ID.V, with),
		Mend: "give the rule another id",
	}
}

// add appends a rule.
func (s *Set) add(p *config.Policy, r *config.Rule, number uint32, self []span) config.Errors {
	says, faults := s.saysOf(r, number)
	c := rule{
		in: portsOf(p, r.In), out: portsOf(p, r.Out), protos: protosOf(r.Protos),
		fromPorts: s.addPorts(spansOf(r.FromPorts)), toPorts: s.addPorts(destinationsOf(r)),
		from: s.addAddresses(r.From, self), to: s.addAddresses(r.To, self),
		says: says,
	}
	s.rules = append(s.rules, c)
	listed := Rule{ID: r.ID.V, Number: number, Action: r.Action.V, Pos: r.Pos}
	for _, l := range r.Labels {
		listed.Labels = append(listed.Labels, l.V)
	}
	s.listed = append(s.listed, listed)
	return faults
}

// saysOf returns what a rule says, with its timeouts as the number of a set.
func (s *Set) saysOf(r *config.Rule, number uint32) (says, config.Errors) {
	c := says{action: r.Action.V, number: number, state: State{
		Sync: conntrack.SyncMode(r.Sync.V), Mode: r.Mode.V, PickUp: r.PickUp.V,
	}}
	if r.Sync.Written() {
		c.spoken |= partSync
	}
	if r.Mode.Written() {
		c.spoken |= partMode
	}
	if r.PickUp.Written() {
		c.spoken |= partPickUp
		s.picksUp = s.picksUp || r.PickUp.V
	}
	if len(r.Timers) == 0 {
		return c, nil
	}
	c.spoken |= partTimeouts
	var faults config.Errors
	c.state.Timeouts, faults = s.setOf(r)
	return c, faults
}

// portsOf returns the set of named logical ports.
func portsOf(p *config.Policy, names []config.Value[string]) portSet {
	var set portSet
	for _, name := range names {
		if id, ok := p.PortID(name.V); ok {
			set |= 1 << packet.PortID(id)
		}
	}
	return set
}

// protosOf returns the set of protocols, all of them where none is named.
func protosOf(protos []config.Value[config.Protocol]) (set [4]uint64) {
	if len(protos) == 0 {
		return [4]uint64{math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64}
	}
	for _, p := range protos {
		set[p.V>>6] |= 1 << (p.V & 63)
	}
	return set
}

func spansOf(ports []config.Value[config.PortRange]) []portSpan {
	spans := make([]portSpan, len(ports))
	for i, p := range ports {
		spans[i] = portSpan{p.V.First, p.V.Last}
	}
	return spans
}

// destinationsOf returns the destination ports that a rule wants; an ICMP type with any
// code is a range of them, because a tuple has type<<8 | code in their place.
func destinationsOf(r *config.Rule) []portSpan {
	spans := spansOf(r.ToPorts)
	for _, t := range r.ICMPTypes {
		spans = append(spans, portSpan{uint16(t.V) << 8, uint16(t.V)<<8 | 0xff})
	}
	return spans
}

func (s *Set) addPorts(spans []portSpan) list {
	if len(spans) == 0 {
		return anyList
	}
	start := len(s.ports)
	s.ports = append(s.ports, spans...)
	return list{uint32(start), uint32(len(s.ports))}
}

func (s *Set) addAddresses(addresses []config.Value[config.Address], self []span) list {
	spans := resolve(addresses, self)
	if slices.Equal(spans, []span{everything}) {
		return anyList
	}
	start := len(s.addresses)
	s.addresses = append(s.addresses, spans...)
	return list{uint32(start), uint32(len(s.addresses))}
}
