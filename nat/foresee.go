package nat

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// purpose says why a Turn is asked for its source.
type purpose uint8

const (
	toHold purpose = iota // a connection begins: it holds what it needs
	toLook                // somebody wants to know: nothing is held, and nothing is drawn
)

// Foresee is Source for somebody who only wants to know: it returns what the first attempt
// of a new connection would get at this moment, and leaves no trace, neither a port, nor
// one that waits for its endpoint, nor a draw. It takes the locks that Source takes.
func (p *Policy) Foresee(t *Turn, egress packet.PortID) (packet.Tuple, Outcome) {
	reply := t.Tuple.Reply()
	if p == nil {
		return reply, Untranslated
	}
	look := *t
	look.purpose = toLook
	_, outcome := p.bind(&look, egress, 0, &reply)
	if outcome != Untranslated && outcome != Translated {
		return packet.Tuple{}, outcome
	}
	return reply, outcome
}

// Applied says which translation of the blueprint applies at a stage.
type Applied struct {
	Entry int // from 1; 0: none does
	Kind  Kind
}

// Applies returns what applies to a connection before routing, and behind it where it leaves
// by a port. It changes nothing.
func (p *Policy) Applies(t *Turn, egress packet.PortID) (before, behind Applied) {
	if p == nil {
		return before, behind
	}
	if t.ingress < drop.PortsMax {
		before = p.first(&t.Original, t.ingress).applied()
	}
	return before, p.match(t, egress).applied()
}

// applied is what Applies says of a rule.
func (r *rule) applied() Applied {
	if r == nil {
		return Applied{}
	}
	return Applied{r.entry, r.kind}
}

// foresee returns what acquire would, and changes nothing.
func (m *PortMap) foresee(w *want) (port uint16, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	drawn := m.random
	port, how := m.chooseLocked(w)
	m.random = drawn
	return port, how != refused
}

// mayTake reports whether an endpoint would get this very port for one more connection, as
// take and takeOver give it.
func (m *PortMap) mayTake(e Endpoint, port uint16, mapping Mapping) bool {
	if port == 0 || mapping == AddressAndPortDependent {
		return port != 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mayTakeLocked(e, port)
}

// mayTakeLocked reports whether a port is an endpoint's, or nobody's.
func (m *PortMap) mayTakeLocked(e Endpoint, port uint16) bool {
	o := &m.owners[port]
	return o.endpoint == e && m.ownedLocked(port) || o.refs == 0 && !m.hold.holds(port)
}
