package fib

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"holdfast/dataplane/packet"
)

// snapshot is one state of a table; nothing in it changes once it is published.
type snapshot struct {
	tree       *bart.Table[entry] // routes, and the neighbours beneath connected networks
	routes     *bart.Table[entry] // routes alone; shared by all snapshots of one fold
	gateways   []Hop              // Forward or Unresolved, by entry.gateway-1; the policy's first
	named      int                // how many of gateways are the policy's
	position   map[neighborKey]uint32
	generation uint64
}

// entry is the value of a prefix.
type entry struct {
	gateway uint32 // 1 + position in gateways; 0: hop holds
	hop     Hop    // Unresolved without Via: on the link
}

// fold makes a snapshot of routes and neighbours. Of routes with the same prefix the
// first wins. The policy's gateways have a place whether a route leads to them or not.
func fold(routes []Route, neighbors map[neighborKey]packet.MAC, gateways []Gateway) *snapshot {
	s := &snapshot{routes: &bart.Table[entry]{}, position: map[neighborKey]uint32{}, named: len(gateways)}
	for _, g := range gateways {
		k := neighborKey{g.Port, g.Addr}
		mac, resolved := neighbors[k]
		hop := hopTo(k, mac, resolved)
		hop.Gateway = uint8(len(s.gateways) + 1)
		s.gateways = append(s.gateways, hop)
		s.position[k] = uint32(hop.Gateway)
	}
	for _, r := range routes {
		prefix := r.Prefix.Masked()
		if _, taken := s.routes.Get(prefix); !taken {
			s.routes.Insert(prefix, s.entryOf(&r, neighbors))
		}
	}
	s.tree = s.routes.Clone()
	for k, mac := range neighbors {
		if s.onLink(k) {
			s.tree.Insert(hostPrefix(k.addr), neighborEntry(k, mac))
		}
	}
	return s
}

// entryOf turns a route into an entry; a new gateway gets its place.
func (s *snapshot) entryOf(r *Route, neighbors map[neighborKey]packet.MAC) entry {
	switch {
	case r.Kind != Forward:
		return entry{hop: Hop{Kind: r.Kind, Port: packet.NoPort}}
	case r.Via == packet.Addr{}:
		return entry{hop: Hop{Kind: Unresolved, Port: r.Port}}
	}
	k := neighborKey{r.Port, r.Via}
	place, known := s.position[k]
	if !known {
		mac, resolved := neighbors[k]
		s.gateways = append(s.gateways, hopTo(k, mac, resolved))
		place = uint32(len(s.gateways))
		s.position[k] = place
	}
	return entry{gateway: place}
}

// hopTo is the hop to a neighbour.
func hopTo(k neighborKey, mac packet.MAC, resolved bool) Hop {
	if !resolved {
		return Hop{Kind: Unresolved, Port: k.port, Via: k.addr}
	}
	return Hop{Kind: Forward, Port: k.port, MAC: mac, Via: k.addr}
}

func neighborEntry(k neighborKey, mac packet.MAC) entry { return entry{hop: hopTo(k, mac, true)} }

// hostPrefix is the longest prefix, of addr alone.
func hostPrefix(addr packet.Addr) netip.Prefix {
	a := addr.Netip()
	return netip.PrefixFrom(a, a.BitLen())
}

// onLink reports whether packets to the neighbour's address go straight to it: the
// route that covers it is that of its port's own network.
func (s *snapshot) onLink(k neighborKey) bool {
	e, ok := s.routes.Lookup(k.addr.Netip())
	return ok && e.gateway == 0 && e.hop.Kind == Unresolved && e.hop.Port == k.port
}

// with returns a snapshot in which a neighbour has the MAC, or is not known; s itself
// where that makes no difference.
func (s *snapshot) with(k neighborKey, mac packet.MAC, resolved bool) *snapshot {
	next := *s
	changed := false
	if place, ok := s.position[k]; ok {
		hop := hopTo(k, mac, resolved)
		hop.Gateway = s.gateways[place-1].Gateway
		if s.gateways[place-1] != hop {
			next.gateways = slices.Clone(s.gateways)
			next.gateways[place-1] = hop
			changed = true
		}
	}
	if s.onLink(k) {
		prefix := hostPrefix(k.addr)
		before, had := s.tree.Get(prefix)
		route, isRoute := s.routes.Get(prefix) // a route to this host alone, on the link
		switch after := neighborEntry(k, mac); {
		case resolved && !(had && before == after):
			next.tree = s.tree.InsertPersist(prefix, after)
			changed = true
		case !resolved && isRoute && before != route:
			next.tree = s.tree.InsertPersist(prefix, route)
			changed = true
		case !resolved && !isRoute && had:
			next.tree = s.tree.DeletePersist(prefix)
			changed = true
		}
	}
	if !changed {
		return s
	}
	return &next
}
