package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// compiler turns a blueprint into a policy.
type compiler struct {
	site   *Site
	pool   *Pool
	policy *Policy
	terms  map[*external]*terms
	static []netip.Prefix
	entry  int      // of the translation at hand, from 1
	stands []string // the name of the translation of each of static
}

// Compile is Prepare, and Enforce where that found no error.
func Compile(blueprint []Translation, site Site, pool *Pool) (*Policy, error) {
	p, err := Prepare(blueprint, site, pool)
	if err != nil {
		return nil, err
	}
	p.Enforce()
	return p, nil
}

// Prepare makes a policy of translations, of which the first that applies at a stage wins,
// and adds their external addresses to the pool, where the terms of the policy in force go
// on to hold. Errors name the translation by its Name, else by its number, counted from 1;
// then the pool has at most addresses that nobody uses.
func Prepare(blueprint []Translation, site Site, pool *Pool) (*Policy, error) {
	c := &compiler{
		site: &site, pool: pool, terms: map[*external]*terms{},
		policy: &Policy{pool: pool, openings: map[packet.Addr]*opening{}, own: map[packet.PortID][2]*external{}},
	}
	for i := range blueprint {
		before := len(c.static)
		c.entry = i + 1
		err := c.add(&blueprint[i])
		for range c.static[before:] {
			c.stands = append(c.stands, blueprint[i].named(i))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", blueprint[i].named(i), err)
		}
	}
	for i := range blueprint {
		c.close(&blueprint[i])
	}
	c.closeServices()
	c.addForeign(blueprint)
	for x := range c.terms {
		for i, p := range c.static {
			if p.Contains(x.addr.Netip()) {
				return nil, fmt.Errorf("%s: external address %v also lies in %v, which is translated one to one: take it out of one of them", c.stands[i], x.addr, p)
			}
		}
	}
	c.policy.terms, c.policy.static = c.terms, c.static
	return c.policy, nil
}

// named returns what errors call the translation with index i.
func (t *Translation) named(i int) string {
	if t.Name != "" {
		return t.Name
	}
	return fmt.Sprintf("nat rule %d", i+1)
}

// Enforce puts the policy's terms in force in its pool: which ports are never given, how
// long one rests, who may open connections to it. Connections keep what they have. Where
// one policy follows another this comes just before the packets meet it.
func (p *Policy) Enforce() { p.pool.govern(p.terms, p.static) }

// add compiles one translation.
func (c *compiler) add(t *Translation) error {
	if err := t.check(); err != nil {
		return err
	}
	switch t.Kind {
	case Masquerade, Source:
		return c.addSource(t)
	case Destination, Redirect:
		return c.addDestination(t)
	case Static, NPTv6:
		return c.addPair(t)
	}
	r := &rule{kind: Exempt, home: packet.NoPort}
	r.when.set(t, [2]bool{true, true})
	if len(t.Out) == 0 {
		c.before(t.In, r)
	}
	if len(t.Out) > 0 || len(t.In) == 0 {
		c.behind(t.Out, r)
	}
	return nil
}

// before and behind put a rule at the end of the first or the second stage of some ports,
// or of all.
func (c *compiler) before(ports []packet.PortID, r *rule) {
	r.entry = c.entry
	put(&c.policy.destination, ports, r)
}

func (c *compiler) behind(ports []packet.PortID, r *rule) {
	r.entry = c.entry
	put(&c.policy.source, ports, r)
}

func put(stage *[drop.PortsMax][]*rule, ports []packet.PortID, r *rule) {
	for id := range packet.PortID(drop.PortsMax) {
		if len(ports) == 0 || slices.Contains(ports, id) {
			stage[id] = append(stage[id], r)
		}
	}
}

// set fills a condition from a blueprint.
func (c *condition) set(t *Translation, families [2]bool) {
	c.in, c.families = portsOf(t.In), families
	c.any = len(t.Protos) == 0
	for _, p := range t.Protos {
		c.protos[p>>6] |= 1 << (p & 63)
	}
	c.toPorts, c.fromPorts = t.ToPorts, t.FromPorts
	c.spans = len(t.ToPorts)+len(t.FromPorts) > 0
	c.from.set(t.From, t.NotFrom)
	c.to.set(t.To, t.NotTo)
}

// addSource compiles a masquerade or source translation. A masquerade has addresses of
// its own on each port that it is of.
func (c *compiler) addSource(t *Translation) error {
	outs := [][]packet.PortID{t.Out}
	if t.Kind == Masquerade {
		outs = nil
		for _, id := range t.Out {
			outs = append(outs, []packet.PortID{id})
		}
	}
	for _, out := range outs {
		r := &rule{
			kind: t.Kind, home: packet.NoPort, ports: t.TargetPorts, mapping: t.Mapping, limit: t.PortsPerSource,
			paired: t.Pooling == Paired, tied: t.Pooling == Paired || t.Mapping == EndpointIndependent,
		}
		all := t.Targets
		if t.Kind == Masquerade {
			all = c.ownTargets(out[0])
		}
		if err := c.setExternals(r, t, all, out); err != nil {
			return err
		}
		c.behind(out, r)
	}
	return nil
}

// ownTargets returns a port's addresses that other networks can answer (I18).
func (c *compiler) ownTargets(id packet.PortID) (all []Target) {
	for _, a := range c.site.Addresses[id] {
		if a.IsGlobalUnicast() {
			all = append(all, Target{First: a})
		}
	}
	return all
}

// setExternals gives a rule its external addresses, and them the rule's terms.
func (c *compiler) setExternals(r *rule, t *Translation, all []Target, out []packet.PortID) error {
	pick := t.Pick
	if pick == Hash && r.paired {
		pick = Sticky
	}
	var families [2]bool
	count := [2]int{}
	for _, target := range all {
		first := packet.AddrFrom(target.First)
		f := family(&first)
		if r.targets[f] == nil {
			r.targets[f] = &targets{pick: pick}
		}
		if err := r.targets[f].add(target); err != nil {
			return err
		}
		s := r.targets[f].spans[len(r.targets[f].spans)-1]
		if s.count > maxExternals {
			return fmt.Errorf("target %v-%v: %w", target.First, target.Last, ErrTooManyExternals)
		}
		for n := range s.count {
			one := targets{spans: []span{{s.first, s.count, 1}}}
			x, err := c.pool.external(one.at(n))
			if err != nil {
				return err
			}
			if err := c.agree(x, t); err != nil {
				return err
			}
			c.open(x, t, out)
			r.external[f], families[f] = x, true
			count[f]++
		}
	}
	for f := range count {
		if count[f] > 1 {
			r.external[f] = nil
		}
	}
	for _, from := range t.From {
		if a := packet.AddrFrom(from.Addr()); !families[family(&a)] {
			return fmt.Errorf("source %v has no external address of its family: give the port one, or take the source out", from)
		}
	}
	if families == [2]bool{} {
		return errors.New("it has no external address: give the port one, or a target")
	}
	r.when.set(t, families)
	return nil
}

// agree joins what a translation says of an external address with what others have said.
func (c *compiler) agree(x *external, t *Translation) error {
	old := c.terms[x]
	if old == nil {
		old = &terms{mapping: t.Mapping, filtering: t.Filtering, blocks: allBlocks}
		c.terms[x] = old
	}
	if old.mapping != t.Mapping || old.filtering != t.Filtering {
		return fmt.Errorf("external address %v has another mapping or filtering by an earlier translation: say the same in both", x.addr)
	}
	old.opens = old.opens || t.Filtering != FilterAddressAndPort || t.Hairpin == HairpinOn
	old.limited = old.limited || t.PortsPerSource > 0
	old.hold = max(old.hold, t.HoldDown)
	return nil
}

// open lets connections in by an external address, where a translation says so.
func (c *compiler) open(x *external, t *Translation, out []packet.PortID) {
	if t.Filtering == FilterAddressAndPort && t.Hairpin == HairpinOff {
		return
	}
	o := c.policy.openings[x.addr]
	if o == nil {
		o = &opening{external: x, filtering: t.Filtering, home: out[0]}
		c.policy.openings[x.addr] = o
	}
	o.outside |= portsOf(out)
	o.hairpin = max(o.hairpin, t.Hairpin)
}

// addDestination compiles a destination translation. A redirect has an address of its own
// on each port that it is of.
func (c *compiler) addDestination(t *Translation) error {
	r := rule{kind: t.Kind, home: packet.NoPort, ports: t.TargetPorts}
	if t.TargetPorts.Len() > 1 {
		r.from = t.ToPorts[0]
	}
	r.when.set(t, [2]bool{true, true})
	if t.Kind == Redirect {
		for id := range packet.PortID(drop.PortsMax) {
			if len(t.In) > 0 && !slices.Contains(t.In, id) {
				continue
			}
			one := r
			if err := one.setTargets(t, first(c.ownTargets(id))); err != nil {
				return err
			}
			c.before([]packet.PortID{id}, &one)
		}
		return nil
	}
	if err := r.setTargets(t, t.Targets); err != nil {
		return err
	}
	if r.targets != ([2]*targets{}) { // else it is an empty pool, and takes what it would translate (I15)
		r.when.families = [2]bool{r.targets[0] != nil, r.targets[1] != nil}
	}
	c.before(t.In, &r)
	if t.Hairpin == HairpinOn && len(t.In) > 0 {
		c.addHairpin(&r, t.In)
	}
	return nil
}

// first keeps the first target of each family.
func first(all []Target) (kept []Target) {
	for _, v4 := range [...]bool{false, true} {
		if i := slices.IndexFunc(all, func(t Target) bool { return t.First.Is4() == v4 }); i >= 0 {
			kept = append(kept, all[i])
		}
	}
	return kept
}

// setTargets gives a rule the addresses that a destination may become.
func (r *rule) setTargets(t *Translation, all []Target) error {
	r.targets = [2]*targets{}
	for _, target := range all {
		first := packet.AddrFrom(target.First)
		f := family(&first)
		if r.targets[f] == nil {
			r.targets[f] = &targets{pick: t.Pick}
		}
		if err := r.targets[f].add(target); err != nil {
			return err
		}
	}
	return nil
}

// addHairpin lets a rule of the first stage apply on all other ports too.
func (c *compiler) addHairpin(r *rule, outside []packet.PortID) {
	bent := *r
	bent.home, bent.when.in = outside[0], 0
	for id := range packet.PortID(drop.PortsMax) {
		if !slices.Contains(outside, id) {
			c.before([]packet.PortID{id}, &bent)
		}
	}
	for id, addresses := range c.site.Addresses {
		var pair [2]*external
		for _, a := range addresses {
			addr := packet.AddrFrom(a)
			if f := family(&addr); pair[f] == nil && a.IsGlobalUnicast() {
				pair[f], _ = c.pool.external(addr) // nil beyond the bound: then not translated
			}
		}
		c.policy.own[id] = pair
	}
}

// addPair compiles the two halves of a one-to-one translation.
func (c *compiler) addPair(t *Translation) (err error) {
	pair := &prefixPair{inside: t.Inside, outside: t.Outside}
	if t.Kind == NPTv6 {
		pair.nptv6, err = newNPTv6(t.Inside, t.Outside)
	} else {
		pair, err = newStatic(t.Inside, t.Outside)
	}
	if err != nil {
		return err
	}
	c.static = append(c.static, t.Outside)
	leaves, comes := *t, *t
	leaves.From = []netip.Prefix{t.Inside}
	out := &rule{kind: t.Kind, home: packet.NoPort, pair: pair}
	out.when.set(&leaves, [2]bool{true, true})
	c.behind(t.Out, out)

	comes.From, comes.NotFrom = t.To, t.NotTo
	comes.To, comes.NotTo = []netip.Prefix{t.Outside}, nil
	in := &rule{kind: t.Kind, home: packet.NoPort, pair: pair}
	in.when.set(&comes, [2]bool{true, true})
	c.before(t.Out, in)
	if t.Hairpin == HairpinOn {
		c.addHairpin(in, t.Out)
	}
	return nil
}

// close keeps the ports that a translation forwards from being given out (I14). One that
// forwards every port keeps none: then nothing would be left to give.
func (c *compiler) close(t *Translation) {
	if t.Kind != Destination && t.Kind != Redirect {
		return
	}
	var to addressSet
	to.set(t.To, t.NotTo)
	for x, terms := range c.terms {
		if !to.holds(&x.addr) || len(t.To) == 0 && len(t.In) > 0 && !c.isOf(x, t.In) {
			continue
		}
		for _, proto := range t.Protos {
			for _, span := range t.ToPorts {
				terms.services = append(terms.services, service{spaceOf(proto), span})
			}
		}
	}
}

// isOf reports whether an external address is the node's own on one of some ports.
func (c *compiler) isOf(x *external, ports []packet.PortID) bool {
	for _, id := range ports {
		if slices.Contains(c.site.Addresses[id], x.addr.Netip()) {
			return true
		}
	}
	return false
}

// closeServices keeps the node's own services from being given out (I14).
func (c *compiler) closeServices() {
	for id := range c.site.Addresses {
		for x, terms := range c.terms {
			if !c.isOf(x, []packet.PortID{id}) {
				continue
			}
			for _, s := range c.site.Services {
				terms.services = append(terms.services, service{spaceOf(s.Proto), s.Ports})
			}
		}
	}
}
