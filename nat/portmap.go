package nat

import (
	"math/bits"
	"net/netip"
	"sync"

	"holdfast/dataplane/packet"
)

// Endpoint is an inside address with the port, or ICMP identifier, that it sends from.
type Endpoint struct {
	Addr packet.Addr
	Port uint16
}

// String returns "10.0.0.2:40000".
func (e Endpoint) String() string { return netip.AddrPortFrom(e.Addr.Netip(), e.Port).String() }

// Freshness says whether a connection may use a port that its endpoint already has.
type Freshness uint8

const (
	// Shared gives an endpoint the port it has, or else tries its own number first.
	Shared Freshness = iota
	// Fresh gives it another port, at random: the one it has made a tuple clash.
	Fresh
)

// class is a range of ports that stand for one another, both ends included.
type class struct{ low, high uint16 }

// The classes of I2, as nf_nat has them: a port below 512 stays below 512, one below
// 1024 gets 600 to 1023 (some servers demand a reserved port, but those near 512 have
// services), every other one 1024 and up. A port that is free keeps its number, also
// one of 512 to 599. Number 0 is never given.
var (
	portClasses       = []class{{1, 511}, {600, 1023}, {1024, 65535}}
	identifierClasses = []class{{1, 65535}} // of ICMP queries
)

// owner says who has a port.
type owner struct {
	endpoint Endpoint // valid while refs > 0
	refs     uint32   // connections that use the port
}

// indexSize is twice the number of ports, so that chains in the index stay short.
const indexSize = 1 << 17

// PortMap is the account of the ports of one external address and protocol. Make one
// with newPortMap; it is safe for concurrent use.
//
// index finds a port by its owner: open addressing, a slot holds a port number or 0 for
// empty, the home slot of a port is the hash of its owner, and removal moves later
// entries back instead of leaving marks. An endpoint may own several ports.
//
//	for every port p: refs(p) > 0 <=> used has p <=> p is in index, once
//	free[c][q] = ports of class c and parity q that are not in used
type PortMap struct {
	secret  secret
	classes []class
	byPair  bool // parity is kept (I3)

	mu     sync.Mutex // guards what follows
	owners []owner    // by port
	index  []uint16
	used   portSet
	count  int
	free   [3][2]int
	random uint64 // state of the generator that draws where to look
}

// newPortMap returns a map with all ports free.
func newPortMap(s secret, k kind) *PortMap {
	m := &PortMap{secret: s, classes: portClasses, byPair: true, owners: make([]owner, 1<<16), index: make([]uint16, indexSize), random: s.seed}
	if k == identifiers {
		m.classes, m.byPair = identifierClasses, false
	}
	for i, c := range m.classes {
		for p := int(c.low); p <= int(c.high); p++ {
			m.free[i][p&1]++
		}
	}
	return m
}

// Acquire gives e a port for one more connection, or refuses where its class is
// exhausted.
func (m *PortMap) Acquire(e Endpoint, f Freshness) (port uint16, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f == Shared {
		if port, ok := m.portOfLocked(e); ok {
			m.owners[port].refs++
			return port, true
		}
		if e.Port != 0 && !m.used.has(e.Port) {
			m.giveLocked(e, e.Port)
			return e.Port, true
		}
	}
	port, ok = m.pickLocked(e.Port)
	if ok {
		m.giveLocked(e, port)
	}
	return port, ok
}

// Take gives e this very port for one more connection, or refuses where another
// endpoint has it.
func (m *PortMap) Take(e Endpoint, port uint16) bool {
	if port == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o := &m.owners[port]
	switch {
	case o.refs == 0:
		m.giveLocked(e, port)
	case o.endpoint == e:
		o.refs++
	default:
		return false
	}
	return true
}

// Release gives back one connection's share of a port. It reports false where nobody
// had the port, which is a defect of the caller.
func (m *PortMap) Release(port uint16) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := &m.owners[port]
	if o.refs == 0 {
		return false
	}
	if o.refs--; o.refs == 0 {
		m.unindexLocked(port)
		m.used.remove(port)
		m.adjustFreeLocked(port, 1)
		m.count--
		*o = owner{}
	}
	return true
}

// Holder returns whose port it is and for how many connections; 0 when it is free.
func (m *PortMap) Holder(port uint16) (e Endpoint, connections uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := &m.owners[port]
	return o.endpoint, o.refs
}

// Used returns how many ports have an owner.
func (m *PortMap) Used() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

// giveLocked makes e the owner of a free port.
func (m *PortMap) giveLocked(e Endpoint, port uint16) {
	m.owners[port] = owner{endpoint: e, refs: 1}
	m.used.add(port)
	m.adjustFreeLocked(port, -1)
	m.count++
	slot := m.home(e)
	for m.index[slot] != 0 {
		slot = (slot + 1) % indexSize
	}
	m.index[slot] = port
}

// pickLocked draws a free port to stand for like.
func (m *PortMap) pickLocked(like uint16) (uint16, bool) {
	i := m.classOf(like)
	c := m.classes[i]
	span := uint64(c.high-c.low) + 1
	start, _ := bits.Mul64(m.drawLocked(), span) // uniform below span, within 2^-48
	from := c.low + uint16(start)
	want := anyParity
	switch {
	case m.free[i][0]+m.free[i][1] == 0:
		return 0, false
	case m.byPair && m.free[i][like&1] > 0:
		want = parityOf(like)
	}
	return m.used.nextAbsent(from, c.low, c.high, want)
}

// classOf returns the class whose ports may stand for port.
func (m *PortMap) classOf(port uint16) int {
	if len(m.classes) == 1 || port != 0 && port < 512 {
		return 0
	}
	if port != 0 && port < 1024 {
		return 1
	}
	return 2
}

// adjustFreeLocked counts a port that is given (-1) or comes back (+1). Ports that no
// search may draw (0, 512 to 599) are not counted.
func (m *PortMap) adjustFreeLocked(port uint16, by int) {
	i := m.classOf(port)
	if c := m.classes[i]; port >= c.low && port <= c.high {
		m.free[i][port&1] += by
	}
}

// drawLocked is SplitMix64 (Steele, Lea, Flood 2014).
func (m *PortMap) drawLocked() uint64 {
	m.random += 0x9e3779b97f4a7c15
	z := m.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// portOfLocked finds a port that e owns.
func (m *PortMap) portOfLocked(e Endpoint) (uint16, bool) {
	for slot := m.home(e); ; slot = (slot + 1) % indexSize {
		port := m.index[slot]
		if port == 0 {
			return 0, false
		}
		if m.owners[port].endpoint == e {
			return port, true
		}
	}
}

// unindexLocked takes a port out of the index while its owner still stands in owners.
// A later entry of the chain moves into the hole unless its home lies behind the hole.
func (m *PortMap) unindexLocked(port uint16) {
	hole := m.home(m.owners[port].endpoint)
	for m.index[hole] != port {
		hole = (hole + 1) % indexSize
	}
	for slot := (hole + 1) % indexSize; m.index[slot] != 0; slot = (slot + 1) % indexSize {
		home := m.home(m.owners[m.index[slot]].endpoint)
		if (slot-home)%indexSize >= (slot-hole)%indexSize {
			m.index[hole], hole = m.index[slot], slot
		}
	}
	m.index[hole] = 0
}

// home is where the search for e's ports begins.
func (m *PortMap) home(e Endpoint) uint32 { return uint32(m.secret.hash(e)) % indexSize }
