package nat

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// untiedTries is how many addresses a source may try for a free port where nothing ties it
// to one.
const untiedTries = 4

// Source is the second stage: it returns the reply tuple of a new connection that leaves
// by a port, and holds what it needs of the pool. attempt 0 shares or keeps a port where
// it can; each later attempt, made because the table refused the tuple of the one before,
// draws another port. Release the refused binding after the next attempt, so that it is
// not drawn again. No allocation once the address has been used with the protocol.
//
// The outcome is of the source alone: Untranslated, Translated, Exhausted, NoTarget or
// Untranslatable. With the last three there is no reply tuple and nothing is held.
func (p *Policy) Source(t *Turn, egress packet.PortID, attempt int) (packet.Tuple, Binding, Outcome) {
	reply := t.Tuple.Reply()
	if p == nil {
		return reply, Binding{}, Untranslated
	}
	b, outcome := p.bind(t, egress, attempt, &reply)
	if outcome != Untranslated && outcome != Translated {
		return packet.Tuple{}, Binding{}, outcome
	}
	if t.Outcome != Untranslated && p.pool != nil {
		p.pool.takeDestination(&t.Original, &reply, &b)
	}
	return reply, b, outcome
}

// bind gives the reply its destination: the source's external end.
func (p *Policy) bind(t *Turn, egress packet.PortID, attempt int, reply *packet.Tuple) (Binding, Outcome) {
	r := p.match(t, egress)
	switch {
	case r == nil || r.kind == Exempt:
		if t.home != packet.NoPort && egress == t.ingress {
			// Back to where it came from: the answer must come here, not to the source itself.
			if x := p.own[egress][family(&t.Tuple.Src)]; x != nil {
				return lease(t, &rule{mapping: x.terms.Load().mapping}, x, attempt, reply)
			}
		}
		return p.keep(t, attempt, reply)
	case r.pair != nil:
		image, ok := r.pair.out(t.Tuple.Src)
		switch {
		case !ok:
			return Binding{}, Untranslatable
		case attempt > 0:
			return Binding{}, Exhausted // one to one: there is nothing else
		}
		reply.Dst = image
		return Binding{}, Translated
	}
	tries := 1
	if !r.tied {
		tries = untiedTries
	}
	for range tries {
		x := r.externalFor(&t.Tuple, p.pool)
		if x == nil {
			return Binding{}, NoTarget
		}
		if x.addr == t.Tuple.Src {
			return p.keep(t, attempt, reply)
		}
		if b, outcome := lease(t, r, x, attempt, reply); outcome == Translated {
			return b, outcome
		}
	}
	return Binding{}, Exhausted
}

// Image returns the address that NPTv6 gives the source of a packet on its way between two
// ports; ok is false where it has none, or something else translates it. That is for
// packets without a connection: for those of one it is in its tuples.
func (p *Policy) Image(t *packet.Tuple, ingress, egress packet.PortID) (image packet.Addr, ok bool) {
	if p == nil {
		return packet.Addr{}, false
	}
	r := p.match(&Turn{Original: *t, Tuple: *t, ingress: ingress, home: packet.NoPort}, egress)
	if r == nil || r.kind != NPTv6 {
		return packet.Addr{}, false
	}
	return r.pair.out(t.Src)
}

// match returns the first rule that applies to the source, or nil. A hairpin that no rule
// of its way applies to has the translation of the port that it looks as if it had left by.
//
// What the node itself sends has the address that its kernel chose, and keeps it; what is
// for the node has the address of who sent it.
func (p *Policy) match(t *Turn, egress packet.PortID) *rule {
	if t.ingress == packet.Self || egress == packet.Self {
		return nil
	}
	if egress < drop.PortsMax {
		for _, r := range p.source[egress] {
			if r.when.holds(&t.Tuple, t.ingress) {
				return r
			}
		}
	}
	if t.home < drop.PortsMax {
		for _, r := range p.source[t.home] {
			if r.when.holds(&t.Original, t.ingress) {
				return r
			}
		}
	}
	return nil
}

// externalFor chooses an external address for a source.
func (r *rule) externalFor(t *packet.Tuple, pool *Pool) *external {
	f := family(&t.Src)
	if x := r.external[f]; x != nil {
		return x
	}
	all := r.targets[f]
	if all == nil {
		return nil
	}
	key := packet.Tuple{Src: t.Src, Dst: t.Dst, SrcPort: t.SrcPort, DstPort: t.DstPort}
	if r.tied { // whatever the remote end, and on every node the same (I5, I7)
		key.Dst, key.DstPort = packet.Addr{}, 0
	}
	addr := all.of(&key)
	return pool.find(&addr)
}

// lease holds a port of an external address for a source.
func lease(t *Turn, r *rule, x *external, attempt int, reply *packet.Tuple) (Binding, Outcome) {
	reply.Dst = x.addr
	k := spaceOf(t.Tuple.Proto)
	if k == noPorts {
		if attempt > 0 {
			return Binding{}, Exhausted // the address is all that can be changed
		}
		return Binding{}, Translated
	}
	w := want{Endpoint: Endpoint{t.Tuple.Src, t.Tuple.SrcPort}, mapping: r.mapping, limit: r.limit}
	if attempt > 0 {
		w.freshness = Fresh
	}
	if k != identifiers {
		w.span = r.ports
	}
	m := x.portMap(k)
	if t.purpose == toLook {
		port, ok := m.foresee(&w)
		if !ok {
			return Binding{}, Exhausted
		}
		setSourcePort(reply, k, port)
		return Binding{}, Translated
	}
	port, ok := m.acquire(&w)
	if !ok {
		return Binding{}, Exhausted
	}
	if x.terms.Load().filtering == FilterAddress {
		m.meet(port, t.Original.Dst)
	}
	setSourcePort(reply, k, port)
	return Binding{source: share{x.position, k, port}, remote: t.Original.Dst}, Translated
}

// keep leaves a source as it is, if it can. An address of the pool, this node's own for
// instance, is in the account as everybody else, so no port is given twice. Any other
// source whose reply tuple clashed gets another port of its own address (I19): the table
// proves that one free too.
func (p *Policy) keep(t *Turn, attempt int, reply *packet.Tuple) (Binding, Outcome) {
	k := spaceOf(t.Tuple.Proto)
	if x := p.pool.find(&t.Tuple.Src); x != nil && k != noPorts {
		if t.purpose == toLook {
			if attempt == 0 && x.portMap(k).mayTake(Endpoint{t.Tuple.Src, t.Tuple.SrcPort}, t.Tuple.SrcPort, x.terms.Load().mapping) {
				return Binding{}, Untranslated
			}
			return lease(t, &rule{mapping: x.terms.Load().mapping}, x, attempt, reply)
		}
		if attempt == 0 && x.take(k, Endpoint{t.Tuple.Src, t.Tuple.SrcPort}, t.Tuple.SrcPort, &t.Original.Dst) {
			return Binding{source: share{x.position, k, t.Tuple.SrcPort}, remote: t.Original.Dst}, Untranslated
		}
		return lease(t, &rule{mapping: x.terms.Load().mapping}, x, attempt, reply)
	}
	switch {
	case attempt == 0:
		return Binding{}, Untranslated
	case k == noPorts:
		return Binding{}, Exhausted
	}
	setSourcePort(reply, k, p.substitute(&t.Tuple, k, attempt))
	return Binding{}, Translated
}

// substitute draws a port of the same class for a source whose own has clashed.
func (p *Policy) substitute(t *packet.Tuple, k space, attempt int) uint16 {
	c := classFor(k, t.SrcPort)
	seed := hashEnds(t) ^ p.pool.secret.seed
	return c.low + uint16(share64(mix(seed+uint64(attempt)), uint64(c.high-c.low)+1))
}

// setSourcePort writes the external port of a source into the reply tuple.
func setSourcePort(reply *packet.Tuple, k space, port uint16) {
	if k == identifiers {
		reply.SrcPort = port
		return
	}
	reply.DstPort = port
}
