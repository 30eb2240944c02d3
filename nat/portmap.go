package nat

import (
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

// owner says who has a port. A port of a map that maps by both ends belongs to nobody in
// particular: its endpoint is zero (AddressAndPortDependent).
type owner struct {
	endpoint Endpoint // valid while refs > 0 or the port is held down
	refs     uint32   // connections that use the port
}

// want is what a connection asks of a map.
type want struct {
	Endpoint
	freshness Freshness
	mapping   Mapping
	span      PortSpan // the ports that it may have; zero: by class
	limit     uint32   // how many its address may have; 0: no limit
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
//	for every port p: owned(p) = refs(p) > 0 or held down <=> p is in index, once,
//	                  unless its endpoint is zero
//	taken has p <=> owned(p) or p is closed: a service's, or in another node's block
//	free[c][q] = ports of class c and parity q that are not in taken
type PortMap struct {
	secret  secret
	classes []class
	byPair  bool // parity is kept (I3)

	mu      sync.Mutex // guards what follows
	owners  []owner    // by port
	index   []uint16
	taken   portSet
	closed  portSet // taken whoever asks, but for connections that have it already
	count   int     // owned ports
	free    [3][2]int
	random  uint64      // state of the generator that draws where to look
	sources subscribers // ports by inside address
	hold    holdDown
	peers   acquaintances
}

// newPortMap returns a map with all ports free.
func newPortMap(s secret, k space) *PortMap {
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

// acquire gives an endpoint a port for one more connection, or refuses where its class is
// exhausted or it has its share.
func (m *PortMap) acquire(w *want) (port uint16, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	port, how := m.chooseLocked(w)
	switch how {
	case shares:
		m.useLocked(port)
	case gets:
		m.giveLocked(w.Endpoint, port)
	case borrows:
		m.giveLocked(Endpoint{}, port)
	}
	return port, how != refused
}

// tenure is how an endpoint comes to a port.
type tenure uint8

const (
	refused tenure = iota
	shares         // with the connections that have it already
	gets           // as its owner
	borrows        // as one of several endpoints that may have it
)

// chooseLocked chooses a port for acquire, and says how it is to be had.
func (m *PortMap) chooseLocked(w *want) (uint16, tenure) {
	if w.mapping == AddressAndPortDependent {
		return m.chooseSharedLocked(w)
	}
	if w.freshness == Shared {
		if port, ok := m.portOfLocked(w.Endpoint); ok {
			return port, shares
		}
	}
	if !m.sources.mayHave(&w.Addr, w.limit) {
		return 0, refused
	}
	if w.freshness == Shared && m.mayKeepLocked(w) {
		return w.Port, gets
	}
	if port, ok := m.pickLocked(w); ok {
		return port, gets
	}
	return 0, refused
}

// mayKeepLocked reports whether an endpoint's own number is free, and one it may have.
func (m *PortMap) mayKeepLocked(w *want) bool {
	return w.Port != 0 && !m.taken.has(w.Port) && (w.span == PortSpan{} || w.span.holds(w.Port))
}

// chooseSharedLocked chooses a port that connections of several endpoints may use at once,
// to different remote ends: the table proves each. The number itself where it is free, then
// another free one, so that each remote end sees another port, which is what the mapping
// says; where none is, by lot one that is shared already (bounded: 64 looks).
func (m *PortMap) chooseSharedLocked(w *want) (uint16, tenure) {
	if w.freshness == Shared && m.mayKeepLocked(w) {
		return w.Port, borrows
	}
	if port, ok := m.pickLocked(w); ok {
		return port, borrows
	}
	low, high := m.rangeOf(w)
	for range 64 {
		p := low + uint16(share64(m.drawLocked(), uint64(high-low)+1))
		if m.isSharedLocked(p) {
			return p, shares
		}
	}
	return 0, refused
}

// isSharedLocked reports whether a port is used, and belongs to nobody.
func (m *PortMap) isSharedLocked(port uint16) bool {
	o := &m.owners[port]
	return o.refs > 0 && o.endpoint == Endpoint{}
}

// take gives e this very port for one more connection, or refuses where another
// endpoint has it. A closed port is given: the connection was there before.
func (m *PortMap) take(e Endpoint, port uint16) bool {
	if port == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o := &m.owners[port]
	switch {
	case o.endpoint == e && m.ownedLocked(port):
		m.useLocked(port)
	case o.refs == 0 && !m.hold.holds(port):
		m.giveLocked(e, port)
	default:
		return false
	}
	return true
}

// takeOver is take for a map whose ports several endpoints share: whoever had it alone
// shares it from now on.
func (m *PortMap) takeOver(port uint16) bool {
	if port == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ownedLocked(port) {
		m.giveLocked(Endpoint{}, port)
		return true
	}
	o := &m.owners[port]
	if o.endpoint != (Endpoint{}) {
		m.unindexLocked(port)
		m.sources.leave(&o.endpoint.Addr)
		o.endpoint = Endpoint{}
	}
	m.useLocked(port)
	return true
}

// useLocked counts one more connection on a port that has an owner.
func (m *PortMap) useLocked(port uint16) {
	if m.owners[port].refs++; m.owners[port].refs == 1 {
		m.hold.forget(port)
	}
}

// ownedLocked reports whether a port has an owner, be it one that it only waits for.
func (m *PortMap) ownedLocked(port uint16) bool {
	return m.owners[port].refs > 0 || m.hold.holds(port)
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
	if o.refs--; o.refs == 0 && !m.hold.begin(port, o.endpoint) {
		m.vacateLocked(port)
	}
	return true
}

// Holder returns whose port it is and for how many connections; 0 when it has none.
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

// giveLocked makes e the owner of a port without one; the zero Endpoint is nobody.
func (m *PortMap) giveLocked(e Endpoint, port uint16) {
	m.owners[port] = owner{endpoint: e, refs: 1}
	m.takeLocked(port)
	m.count++
	if e == (Endpoint{}) {
		return
	}
	m.sources.join(&e.Addr)
	slot := m.home(e)
	for m.index[slot] != 0 {
		slot = (slot + 1) % indexSize
	}
	m.index[slot] = port
}

// vacateLocked takes a port from its owner, who has no connection left on it.
func (m *PortMap) vacateLocked(port uint16) {
	o := &m.owners[port]
	if o.endpoint != (Endpoint{}) {
		m.unindexLocked(port)
		m.sources.leave(&o.endpoint.Addr)
	}
	*o = owner{}
	m.count--
	if !m.closed.has(port) {
		m.openLocked(port)
	}
}

// takeLocked and openLocked move a port in and out of taken.
func (m *PortMap) takeLocked(port uint16) {
	if !m.taken.has(port) {
		m.taken.add(port)
		m.adjustFreeLocked(port, -1)
	}
}

func (m *PortMap) openLocked(port uint16) {
	m.taken.remove(port)
	m.adjustFreeLocked(port, 1)
}

// setClosed makes exactly the ports of a set closed: given to nobody from now on.
func (m *PortMap) setClosed(set *portSet) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := 1; p < 1<<16; p++ {
		port := uint16(p)
		switch now := set.has(port); {
		case now == m.closed.has(port):
		case now:
			m.takeLocked(port)
		case !m.ownedLocked(port):
			m.openLocked(port)
		}
	}
	m.closed = *set
}

// rangeOf returns the ports that may be given for a want's number.
func (m *PortMap) rangeOf(w *want) (low, high uint16) {
	if w.span != (PortSpan{}) {
		return w.span.First, w.span.Last
	}
	c := m.classes[m.classOf(w.Port)]
	return c.low, c.high
}

// pickLocked draws a free port to stand for a want's.
func (m *PortMap) pickLocked(w *want) (uint16, bool) {
	low, high := m.rangeOf(w)
	from := low + uint16(share64(m.drawLocked(), uint64(high-low)+1)) // even within 2^-48
	if w.span != (PortSpan{}) {
		if port, ok := m.taken.nextAbsent(from, low, high, parityOf(w.Port)); ok && m.byPair {
			return port, true
		}
		return m.taken.nextAbsent(from, low, high, anyParity)
	}
	want, free := anyParity, &m.free[m.classOf(w.Port)]
	switch {
	case free[0]+free[1] == 0:
		return 0, false
	case m.byPair && free[w.Port&1] > 0:
		want = parityOf(w.Port)
	}
	return m.taken.nextAbsent(from, low, high, want)
}

// classOf returns the class whose ports may stand for port.
func (m *PortMap) classOf(port uint16) int { return classOf(m.classes, port) }

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
	return mix(m.random)
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
