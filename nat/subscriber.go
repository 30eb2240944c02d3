package nat

import "holdfast/dataplane/packet"

// subscribers counts the ports of a map by the inside address that has them, once some
// translation limits them (I22, RFC 6888 REQ-4). The zero value counts nothing. Not safe
// for concurrent use: the map's lock guards it. It is bounded by the ports of the map.
type subscribers struct {
	ports map[packet.Addr]uint32 // nil: not counted
}

// mayHave reports whether an address may have one more port under a limit, 0 for none.
func (s *subscribers) mayHave(a *packet.Addr, limit uint32) bool {
	return limit == 0 || s.ports == nil || s.ports[*a] < limit
}

func (s *subscribers) join(a *packet.Addr) {
	if s.ports != nil {
		s.ports[*a]++
	}
}

func (s *subscribers) leave(a *packet.Addr) {
	if s.ports == nil {
		return
	}
	if n := s.ports[*a]; n > 1 {
		s.ports[*a] = n - 1
	} else {
		delete(s.ports, *a)
	}
}

// countSources begins counting, with what is owned already.
func (m *PortMap) countSources() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sources.ports != nil {
		return
	}
	m.sources.ports = map[packet.Addr]uint32{}
	for port := 1; port < 1<<16; port++ {
		if o := &m.owners[port]; o.endpoint != (Endpoint{}) && m.ownedLocked(uint16(port)) {
			m.sources.join(&o.endpoint.Addr)
		}
	}
}
