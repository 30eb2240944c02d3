package fib

import (
	"sync/atomic"

	"holdfast/dataplane/packet"
)

// Table looks hops up. The zero value has no routes. A Watcher writes it, any number
// of goroutines read it.
type Table struct {
	current atomic.Pointer[snapshot]
}

// NewTable returns a table of fixed routes and neighbours, of which nothing is followed.
func NewTable(routes []Route, neighbors []Neighbor, gateways ...Gateway) *Table {
	known := make(map[neighborKey]packet.MAC, len(neighbors))
	for _, n := range neighbors {
		known[n.key()] = n.MAC
	}
	t := &Table{}
	t.publish(fold(routes, known, gateways))
	return t
}

// Lookup returns the hop of dst by the longest prefix that covers it. It takes no lock
// and allocates nothing.
func (t *Table) Lookup(dst packet.Addr) Hop {
	s := t.current.Load()
	if s == nil {
		return unroutable
	}
	e, ok := s.tree.Lookup(dst.Netip())
	switch {
	case !ok:
		return unroutable
	case e.gateway != 0:
		return s.gateways[e.gateway-1]
	}
	if e.hop.Kind == Unresolved {
		e.hop.Via = dst
	}
	return e.hop
}

// Gateway returns the hop of one of the policy's gateways, by its number: Forward,
// Unresolved, or Unroutable where there is no such gateway. Routes do not matter to it.
func (t *Table) Gateway(number uint8) Hop {
	s := t.current.Load()
	if s == nil || number == 0 || int(number) > s.named {
		return unroutable
	}
	return s.gateways[number-1]
}

// Generation counts the snapshots published: it has changed when a lookup may give
// something else than before.
func (t *Table) Generation() uint64 {
	if s := t.current.Load(); s != nil {
		return s.generation
	}
	return 0
}

// publish makes s what Lookup reads. One writer at a time.
func (t *Table) publish(s *snapshot) {
	s.generation = t.Generation() + 1
	t.current.Store(s)
}
