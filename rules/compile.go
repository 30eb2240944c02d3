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
func Compile(p *config.Policy) (*Set, error) { return CompileAfter(p, &Former{}) }

// CompileAfter is Compile for a Set that follows another while connections live on.
func CompileAfter(p *config.Policy, former *Former) (*Set, error) {
	base, err := Timeouts(p)
	if err != nil {
		return nil, err
	}
	s := &Set{otherwise: actions[p.Defaults.Action.V], answer: p.Defaults.Reject.V, synProxy: p.Defaults.SynProxy.V, proxies: p.Defaults.SynProxy.V != config.SynProxyNever,
		log: p.Defaults.Log.V, logSpoken: p.Defaults.Log.Written()}
	s.seatTimeouts(p, base, former)
	var faults config.Errors
	c := &compiler{Set: s, policy: p, self: selfSpans(p.Self()), tags: s.numberTags(p.Rules), places: map[placeKey]uint32{}}
	numbers := numbersOf(p.Rules)
	s.addresses = make([]span, 0, 2*len(p.Rules)) // mostly
	s.rules, s.says, s.listed = make([]rule, 0, len(p.Rules)), make([]says, 0, len(p.Rules)), make([]Rule, 0, len(p.Rules)+1)
	for i := range p.Rules {
		faults = append(faults, c.add(&p.Rules[i], numbers[i])...)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	s.plant()
	s.listed = append(s.listed, Rule{ID: config.DefaultID, Action: p.Defaults.Action.V})
	s.byNumber = orderOf(append(numbers, 0))
	return s, nil
}

// orderOf returns the indices of numbers in the order of those.
func orderOf(numbers []uint32) []uint32 {
	pairs := make([]uint64, len(numbers)) // a number above its index: sorted in place of being looked up
	for i, n := range numbers {
		pairs[i] = uint64(n)<<32 | uint64(i)
	}
	slices.Sort(pairs)
	order := make([]uint32, len(numbers))
	for i, p := range pairs {
		order[i] = uint32(p)
	}
	return order
}

// Number returns the number of a rule's id: its xxHash64 folded to 32 bits.
func Number(id string) uint32 {
	h := xxhash.Sum64String(id)
	return uint32(h ^ h>>32)
}

// numbersOf returns the number of each rule: it is made from the id, so a rule has the
// same on every node and after a reload. Where two ids have one number by chance, among
// 100,000 once in a policy, the id that sorts behind the other is hashed anew with a
// counter; zero is the default's.
func numbersOf(rules []config.Rule) []uint32 {
	numbers := make([]uint32, len(rules))
	for i := range rules {
		numbers[i] = Number(rules[i].ID.V)
	}
	sorted := slices.Sorted(slices.Values(numbers))
	shared := map[uint32]bool{0: true}
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			shared[sorted[i]] = true
		}
	}
	var few, all []int
	for i, n := range numbers {
		if shared[n] {
			few = append(few, i)
		}
	}
	if renumber(rules, numbers, few, sorted) {
		return numbers
	}
	for i := range rules {
		all = append(all, i)
	}
	renumber(rules, numbers, all, nil)
	return numbers
}

// renumber writes the numbers of those rules, no two alike. It reports whether none of them,
// hashed anew, has got a number that other rules have by their ids: those may have to give it.
func renumber(rules []config.Rule, numbers []uint32, those []int, others []uint32) bool {
	slices.SortFunc(those, func(a, b int) int { return cmp.Compare(rules[a].ID.V, rules[b].ID.V) })
	taken := make(map[uint32]bool, len(those))
	for _, i := range those {
		id := rules[i].ID.V
		n := Number(id)
		for again := 1; n == 0 || taken[n]; again++ {
			n = Number(fmt.Sprintf("%s\x00%d", id, again))
			if _, other := slices.BinarySearch(others, n); other {
				return false
			}
		}
		numbers[i], taken[n] = n, true
	}
	return true
}

// add appends a rule.
func (c *compiler) add(r *config.Rule, number uint32) config.Errors {
	says, faults := c.saysOf(r, uint32(len(c.rules)), number)
	wants := c.wants(r, c.placeOf(r))
	wants.name(r)
	c.rules, c.says = append(c.rules, wants), append(c.says, says)
	listed := Rule{ID: r.ID.V, Number: number, Action: r.Action.V, Pos: r.Pos}
	for _, l := range r.Labels {
		listed.Labels = append(listed.Labels, l.V)
	}
	c.listed = append(c.listed, listed)
	return faults
}

// saysOf returns what a rule says, with its timeouts as the number of a set.
func (c *compiler) saysOf(r *config.Rule, rule, number uint32) (says, config.Errors) {
	v := says{action: r.Action.V}
	v.verdict.State = State{Sync: conntrack.SyncMode(r.Sync.V), Mode: r.Mode.V, PickUp: r.PickUp.V, SynProxy: c.synProxy}
	if r.Action.V != config.Match {
		v.verdict.Action, v.verdict.Rule, v.verdict.Number, v.answer = actions[r.Action.V], rule, number, c.answer
		if r.Reject.Written() {
			v.answer = r.Reject.V
		}
	}
	if r.Sync.Written() {
		v.spoken |= partSync
	}
	if r.Mode.Written() {
		v.spoken |= partMode
	}
	if r.PickUp.Written() {
		v.spoken |= partPickUp
		c.picksUp = c.picksUp || r.PickUp.V
	}
	if r.SynProxy.Written() {
		v.spoken |= partSynProxy
		v.verdict.SynProxy = r.SynProxy.V
		c.proxies = c.proxies || r.SynProxy.V != config.SynProxyNever
	}
	if r.Tag.Written() {
		v.spoken |= partTag
		v.verdict.Tag = uint8(c.tags[r.Tag.V])
	}
	if r.Log.Written() {
		v.spoken |= partLog
		v.verdict.Log = r.Log.V
		c.logsAhead = c.logsAhead || r.Action.V == config.Match
	}
	if len(r.Timers) == 0 {
		return v, nil
	}
	v.spoken |= partTimeouts
	var faults config.Errors
	v.verdict.Timeouts, faults = c.setOf(r)
	return v, faults
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

// addPortRanges adds ports.
func (s *Set) addPortRanges(ports []config.Value[config.PortRange]) list {
	start := len(s.ports)
	for _, p := range ports {
		s.ports = append(s.ports, portSpan{p.V.First, p.V.Last})
	}
	return s.portsFrom(start)
}

// addDestinations adds the destination ports that a rule wants; an ICMP type with any
// code is a range of them, because a tuple has type<<8 | code in their place.
func (s *Set) addDestinations(r *config.Rule) list {
	start := len(s.ports)
	s.addPortRanges(r.ToPorts)
	for _, t := range r.ICMPTypes {
		s.ports = append(s.ports, portSpan{uint16(t.V) << 8, uint16(t.V)<<8 | 0xff})
	}
	return s.portsFrom(start)
}

// portsFrom is what has been added to the ports since there were start: nothing is any.
func (s *Set) portsFrom(start int) list {
	if len(s.ports) == start {
		return anyList
	}
	return list{uint32(start), uint32(len(s.ports))}
}

// addAddresses adds the spans of a list, and returns what they leave to tables. Of a list
// that includes a table the spans cannot tell what it does not hold, so all of them are left.
func (s *Set) addAddresses(p *config.Policy, addresses []config.Value[config.Address], self []span) (list, asked) {
	if len(addresses) == 0 {
		return anyList, asked{}
	}
	if a := &addresses[0].V; len(addresses) == 1 && a.Kind == config.AddressRange && a.Sense == config.Include && a.First.Is4() {
		s.addresses = append(s.addresses, span{numberFrom(a.First), numberFrom(a.Last)}) // most lists are one such
		return list{uint32(len(s.addresses) - 1), uint32(len(s.addresses))}, asked{}
	}
	with, without := resolve(addresses, self)
	spans := subtract(with, without)
	var a asked
	for _, e := range addresses {
		if e.V.Kind != config.AddressTable {
			continue
		}
		number, ok := p.TableNumber(e.V.Table)
		switch {
		case !ok:
		case e.V.Sense == config.Exclude:
			a.out = append(a.out, uint8(number))
		default:
			a.in = append(a.in, uint8(number))
		}
	}
	if len(a.in) > 0 {
		a.with, a.without = spans, without
		return anyList, a
	}
	if slices.Equal(spans, []span{everything}) {
		return anyList, a
	}
	start := len(s.addresses)
	s.addresses = append(s.addresses, spans...)
	return list{uint32(start), uint32(len(s.addresses))}, a
}
