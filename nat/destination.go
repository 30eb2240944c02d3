package nat

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// Destination is the first stage: where a new connection goes that came in by a port. No
// allocation. Outcomes are Untranslated, Translated, Opened, NoTarget and Untranslatable;
// with the last two there is no destination, and the packet must not go on.
//
// The packets that the node itself sends come in by packet.Self, and none is translated here.
func (p *Policy) Destination(original *packet.Tuple, ingress packet.PortID) Turn {
	t := Turn{Original: *original, Tuple: *original, Outcome: Untranslated, ingress: ingress, home: packet.NoPort}
	if p == nil || ingress >= drop.PortsMax {
		return t
	}
	if r := p.first(original, ingress); r != nil {
		t.home = r.home
		t.Outcome = r.turn(&t.Tuple)
		return t
	}
	if len(p.openings) > 0 {
		p.enter(&t)
	}
	return t
}

// first returns the first rule of the first stage that applies, or nil.
func (p *Policy) first(original *packet.Tuple, ingress packet.PortID) *rule {
	for _, r := range p.destination[ingress] {
		if r.when.holds(original, ingress) {
			return r
		}
	}
	return nil
}

// turn gives a tuple the destination that the rule wants.
func (r *rule) turn(t *packet.Tuple) Outcome {
	switch r.kind {
	case Exempt:
		return Untranslated
	case Static, NPTv6:
		image, ok := r.pair.in(t.Dst)
		if !ok {
			return Untranslatable
		}
		t.Dst = image
		return Translated
	}
	pool := r.targets[family(&t.Dst)]
	if pool == nil {
		return NoTarget
	}
	t.Dst = pool.of(t)
	switch {
	case r.ports == PortSpan{}:
	case r.from == PortSpan{}:
		t.DstPort = r.ports.First
	default: // 8000 to 8009 onto 80 to 89: 8003 becomes 83
		t.DstPort = r.ports.First + (t.DstPort - r.from.First)
	}
	return Translated
}

// enter sends a connection to an external port on to the endpoint that owns the port, if
// the port lets it in: from outside as its filtering says, from elsewhere by hairpin (I6,
// I8). ICMP queries have no port of their destination, so they find nobody.
func (p *Policy) enter(t *Turn) {
	k := spaceOf(t.Tuple.Proto)
	if k == noPorts || k == identifiers {
		return
	}
	o := p.openings[t.Tuple.Dst]
	if o == nil {
		return
	}
	outside := o.outside.holds(t.ingress)
	if outside && o.filtering == FilterAddressAndPort || !outside && o.hairpin == HairpinOff {
		return
	}
	m := o.external.portMap(k)
	holder, connections := m.Holder(t.Tuple.DstPort)
	if connections == 0 || holder.Addr == o.external.addr || holder == (Endpoint{}) {
		return // nobody's, the node's own, or no one's in particular
	}
	if outside && o.filtering == FilterAddress && !m.knows(t.Tuple.DstPort, t.Tuple.Src) {
		return
	}
	t.Tuple.Dst, t.Tuple.DstPort = holder.Addr, holder.Port
	t.Outcome = Opened
	if !outside {
		// Inside hosts reach one another whatever the filtering, as far as rules let them.
		t.Outcome, t.home = Translated, o.home
	}
}
