package nat

import "holdfast/dataplane/packet"

// Binding is what one connection holds of a pool. The zero value is nothing.
//
// It follows from the connection's two tuples, so no connection stores it:
//
//	original: Src:SrcPort > Dst:DstPort     reply: Src:SrcPort > Dst:DstPort
//	          A                  B                 C                  D
//
//	source       D is of the pool, and A owns its port: an inside endpoint, or the node
//	             itself, whose own connections are in the same account (A = D)
//	destination  B is of the pool and lets connections in, and C owns its port: the
//	             connection was let in (I6), and keeps the port of who it was let in to
//
// For ICMP the port is the identifier, SrcPort of either tuple.
type Binding struct {
	source, destination share
	remote              packet.Addr // B of the source share: whom its owner talks to
	caller              packet.Addr // A of the destination share
}

// share is a place in the account of one port. The zero value is none.
type share struct {
	external uint32 // position in the pool, which only grows
	space    space  // noPorts: no share
	port     uint16
}

// Held reports whether b is anything.
func (b Binding) Held() bool { return b.source.space != noPorts || b.destination.space != noPorts }

// Port returns the external port or identifier of the source; 0 where there is none.
func (b Binding) Port() uint16 { return b.source.port }

// sourceOf returns the two ends of a source translation: inside and outside are the same
// where there is none. The protocol must have ports.
func sourceOf(original, reply *packet.Tuple) (inside, outside Endpoint) {
	inside = Endpoint{original.Src, original.SrcPort}
	outside = Endpoint{reply.Dst, reply.DstPort}
	if spaceOf(original.Proto) == identifiers {
		outside.Port = reply.SrcPort
	}
	return inside, outside
}

// destinationOf returns the two ends of a destination translation. ok is false where there
// is none, or the protocol has no ports of the destination.
func destinationOf(original, reply *packet.Tuple) (inside, outside Endpoint, ok bool) {
	inside = Endpoint{reply.Src, reply.SrcPort}
	outside = Endpoint{original.Dst, original.DstPort}
	k := spaceOf(original.Proto)
	return inside, outside, k != noPorts && k != identifiers && inside.Addr != outside.Addr
}

// Take holds what a connection made elsewhere needs. It returns the zero Binding and true
// where the connection needs nothing, and false where its external port belongs to another
// endpoint (the connection must not be entered) or the address is one too many.
func (p *Pool) Take(original, reply packet.Tuple) (Binding, bool) {
	k := spaceOf(original.Proto)
	if k == noPorts {
		return Binding{}, true
	}
	var b Binding
	inside, outside := sourceOf(&original, &reply)
	x := p.find(&outside.Addr)
	if x == nil && inside.Addr != outside.Addr && !p.current.Load().isStatic(&outside.Addr) {
		var err error
		if x, err = p.external(outside.Addr); err != nil {
			return Binding{}, false
		}
	}
	if x != nil {
		if !x.take(k, inside, outside.Port, &original.Dst) {
			return Binding{}, false
		}
		b.source, b.remote = share{x.position, k, outside.Port}, original.Dst
	}
	p.takeDestination(&original, &reply, &b)
	return b, true
}

// takeDestination holds a connection's share of the port that it was let in by. One that
// somebody else owns by now is not held.
func (p *Pool) takeDestination(original, reply *packet.Tuple, b *Binding) {
	inside, outside, ok := destinationOf(original, reply)
	if !ok {
		return
	}
	x, k := p.find(&outside.Addr), spaceOf(original.Proto)
	if x == nil || !x.terms.Load().opens || x.terms.Load().serves(k, outside.Port) || !x.take(k, inside, outside.Port, &original.Src) {
		return
	}
	b.destination, b.caller = share{x.position, k, outside.Port}, original.Src
}

// take gives an endpoint its port for one more connection, with a remote address.
func (x *external) take(k space, e Endpoint, port uint16, remote *packet.Addr) bool {
	m, t := x.portMap(k), x.terms.Load()
	if t.mapping == AddressAndPortDependent {
		return m.takeOver(port)
	}
	if !m.take(e, port) {
		return false
	}
	if t.filtering == FilterAddress {
		m.meet(port, *remote)
	}
	return true
}

// serves reports whether a port is closed because it leads to a service.
func (t *terms) serves(k space, port uint16) bool {
	for _, s := range t.services {
		if s.space == k && s.ports.holds(port) {
			return true
		}
	}
	return false
}

// BindingOf tells from a connection's tuples what Source or Take held for it; the zero
// Binding where that is nothing. It changes nothing.
func (p *Pool) BindingOf(original, reply packet.Tuple) (b Binding) {
	k := spaceOf(original.Proto)
	if k == noPorts {
		return b
	}
	inside, outside := sourceOf(&original, &reply)
	if x := p.find(&outside.Addr); x != nil && x.owns(k, inside, outside.Port) {
		b.source, b.remote = share{x.position, k, outside.Port}, original.Dst
	}
	if inside, outside, ok := destinationOf(&original, &reply); ok {
		x := p.find(&outside.Addr)
		if x != nil && x.terms.Load().opens && !x.terms.Load().serves(k, outside.Port) && x.owns(k, inside, outside.Port) {
			b.destination, b.caller = share{x.position, k, outside.Port}, original.Src
		}
	}
	return b
}

// owns reports whether a port in use is an endpoint's, or one that nobody owns alone.
func (x *external) owns(k space, e Endpoint, port uint16) bool {
	holder, connections := x.portMap(k).Holder(port)
	return connections > 0 && (holder == e || holder == Endpoint{})
}

// Release gives back what a connection held; with its last connection a port is free. It
// does nothing for the zero Binding, and reports false where nobody had a port, which is a
// defect of the caller.
func (p *Pool) Release(b Binding) bool {
	if !b.Held() {
		return true
	}
	source, destination := p.release(b.source, &b.remote), p.release(b.destination, &b.caller)
	return source && destination
}

func (p *Pool) release(s share, remote *packet.Addr) bool {
	if s.space == noPorts {
		return true
	}
	all := p.current.Load().all
	if int(s.external) >= len(all) || s.space >= spaces {
		return false
	}
	x := all[s.external]
	m := x.portMap(s.space)
	if x.terms.Load().filtering == FilterAddress {
		m.part(s.port, *remote)
	}
	return m.Release(s.port)
}
