package nat

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"

	"holdfast/dataplane/packet"
)

// maxExternals bounds the external addresses of a pool. One costs about 1.8 MiB for
// each protocol that uses it.
const maxExternals = 1024

// ErrTooManyExternals is returned for an address beyond the bound of 1,024.
var ErrTooManyExternals = errors.New("more than 1024 external addresses")

// external is an address of the pool.
type external struct {
	addr     packet.Addr
	position uint32
	secret   secret
	terms    atomic.Pointer[terms] // never nil
	mu       sync.Mutex            // of those who make a map or change the terms
	maps     [spaces]atomic.Pointer[PortMap]
}

// terms are what the policy in force says of an external address. Immutable.
type terms struct {
	mapping   Mapping
	filtering Filtering
	opens     bool  // connections to its ports may be opened from elsewhere: by filtering or hairpin
	limited   bool  // some translation limits the ports of an inside address
	hold      int64 // ns
	blocks    blockSet
	services  []service // ports of the node itself, or forwarded: never given (I14)
}

// service is ports that are closed to translations.
type service struct {
	space space
	ports PortSpan
}

// portMap returns the account of one protocol, which is made at its first use.
func (x *external) portMap(k space) *PortMap {
	if m := x.maps[k].Load(); m != nil {
		return m
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if m := x.maps[k].Load(); m != nil {
		return m
	}
	m := newPortMap(x.secret, k)
	x.terms.Load().govern(m, k)
	x.maps[k].Store(m)
	return m
}

// change puts other terms in force. Connections keep what they have.
func (x *external) change(t *terms) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.terms.Store(t)
	for k := tcpPorts; k < spaces; k++ {
		if m := x.maps[k].Load(); m != nil {
			t.govern(m, k)
		}
	}
}

// govern applies the terms to the account of one protocol.
func (t *terms) govern(m *PortMap, k space) {
	var closed portSet
	for _, s := range t.services {
		for p := int(s.ports.First); s.space == k && p <= int(s.ports.Last); p++ {
			closed.add(uint16(p))
		}
	}
	t.blocks.addForeign(&closed)
	m.setClosed(&closed)
	m.setHold(t.hold)
	if t.limited {
		m.countSources()
	}
	if t.filtering == FilterAddress {
		m.keepAcquaintances()
	}
}

// Pool is all external addresses that have ever been used since the start. Make one
// with NewPool; it is safe for concurrent use.
type Pool struct {
	secret  secret
	ticked  atomic.Int64 // ns: when Tick last did something
	mu      sync.Mutex   // one writer at a time
	current atomic.Pointer[externals]
}

// externals is one immutable state of a pool; the externals themselves live on.
type externals struct {
	all    []*external
	byAddr map[packet.Addr]*external
	static []netip.Prefix // outside prefixes of one-to-one translations: they have no account
}

// NewPool returns an empty pool.
func NewPool() *Pool { return newPool(newSecret()) }

func newPool(s secret) *Pool {
	p := &Pool{secret: s}
	p.current.Store(&externals{byAddr: map[packet.Addr]*external{}})
	return p
}

// find returns an address of the pool, or nil.
func (p *Pool) find(addr *packet.Addr) *external {
	if p == nil {
		return nil
	}
	return p.current.Load().byAddr[*addr]
}

// external finds an address or adds it.
func (p *Pool) external(addr packet.Addr) (*external, error) {
	if x := p.find(&addr); x != nil {
		return x, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.current.Load()
	if x := old.byAddr[addr]; x != nil {
		return x, nil
	}
	if len(old.all) >= maxExternals {
		return nil, fmt.Errorf("external address %v: %w", addr, ErrTooManyExternals)
	}
	x := &external{addr: addr, position: uint32(len(old.all)), secret: p.secret}
	x.secret.seed ^= fold(uint64(x.position)+1, p.secret.key[0])
	x.terms.Store(&terms{blocks: allBlocks})
	next := &externals{all: append(old.all[:len(old.all):len(old.all)], x), byAddr: maps.Clone(old.byAddr), static: old.static}
	next.byAddr[addr] = x
	p.current.Store(next)
	return x, nil
}

// govern puts the terms of a policy in force for its addresses, and none for the others.
func (p *Pool) govern(all map[*external]*terms, static []netip.Prefix) {
	p.mu.Lock()
	next := *p.current.Load()
	next.static = static
	p.current.Store(&next)
	p.mu.Unlock()
	for _, x := range next.all {
		t := all[x]
		if t == nil {
			t = &terms{blocks: allBlocks}
		}
		x.change(t)
	}
}

// isStatic reports whether an address belongs to a one-to-one translation.
func (e *externals) isStatic(a *packet.Addr) bool {
	for _, p := range e.static {
		if p.Contains(a.Netip()) {
			return true
		}
	}
	return false
}

// Tick lets go of ports that were held down long enough. now is CLOCK_BOOTTIME in ns; it
// does something once a second at most, so any worker may call it at any time.
func (p *Pool) Tick(now int64) {
	last := p.ticked.Load()
	if now-last < tickPeriod || !p.ticked.CompareAndSwap(last, now) {
		return
	}
	for _, x := range p.current.Load().all {
		for k := tcpPorts; k < spaces; k++ {
			if m := x.maps[k].Load(); m != nil {
				m.tick(now)
			}
		}
	}
}

// Usage is how full one account is.
type Usage struct {
	Address packet.Addr
	Proto   packet.Proto
	Used    int // ports with an owner, of 65535
}

// Usage returns every account that was ever used, for status.
func (p *Pool) Usage() []Usage {
	var all []Usage
	for _, x := range p.current.Load().all {
		for k := tcpPorts; k < spaces; k++ {
			if m := x.maps[k].Load(); m != nil {
				all = append(all, Usage{x.addr, k.proto(&x.addr), m.Used()})
			}
		}
	}
	return all
}
