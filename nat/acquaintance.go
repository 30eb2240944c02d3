package nat

import "holdfast/dataplane/packet"

// acquaintances is whom the owner of a port has connections with: whom FilterAddress lets
// in (I6, RFC 4787 section 5). An entry for each pair of port and remote address, counted,
// so connections bound it. The zero value keeps none. Not safe for concurrent use: the
// map's lock guards it.
type acquaintances struct {
	known map[acquaintance]uint32 // nil: not kept
}

type acquaintance struct {
	remote packet.Addr
	port   uint16
}

// meet notes one more connection between the owner of a port and a remote address.
func (m *PortMap) meet(port uint16, remote packet.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.peers.known != nil {
		m.peers.known[acquaintance{remote, port}]++
	}
}

// part takes one back. One that began before acquaintances were kept is not missed.
func (m *PortMap) part(port uint16, remote packet.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := acquaintance{remote, port}
	if n := m.peers.known[a]; n > 1 {
		m.peers.known[a] = n - 1
	} else if n == 1 {
		delete(m.peers.known, a)
	}
}

// knows reports whether the owner of a port has a connection with a remote address.
func (m *PortMap) knows(port uint16, remote packet.Addr) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peers.known[acquaintance{remote, port}] > 0
}

// keepAcquaintances begins to note them.
func (m *PortMap) keepAcquaintances() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.peers.known == nil {
		m.peers.known = map[acquaintance]uint32{}
	}
}
