package nat

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"holdfast/dataplane/packet"
)

// maxExternals bounds the external addresses of a pool. One costs about 1.8 MiB for
// each protocol that uses it.
const maxExternals = 1024

// ErrTooManyExternals is returned for an address beyond the bound of 1,024.
var ErrTooManyExternals = errors.New("more than 1024 external addresses")

// kind is a space of port numbers. ICMP and ICMPv6 are one, because an address has
// either.
type kind uint8

const (
	noPorts kind = iota
	tcpPorts
	udpPorts
	udpLitePorts
	sctpPorts
	dccpPorts
	identifiers
	kinds
)

func kindOf(p packet.Proto) kind {
	switch p {
	case packet.TCP:
		return tcpPorts
	case packet.UDP:
		return udpPorts
	case packet.UDPLite:
		return udpLitePorts
	case packet.SCTP:
		return sctpPorts
	case packet.DCCP:
		return dccpPorts
	case packet.ICMP, packet.ICMPv6:
		return identifiers
	}
	return noPorts
}

// proto is the inverse of kindOf for an address of one family.
func (k kind) proto(a *packet.Addr) packet.Proto {
	switch k {
	case tcpPorts:
		return packet.TCP
	case udpPorts:
		return packet.UDP
	case udpLitePorts:
		return packet.UDPLite
	case sctpPorts:
		return packet.SCTP
	case dccpPorts:
		return packet.DCCP
	}
	if a.Is4() {
		return packet.ICMP
	}
	return packet.ICMPv6
}

// Binding is one connection's share of a port of a pool. The zero value is none.
type Binding struct {
	external uint32 // position in the pool, which only grows
	kind     kind   // noPorts: no binding
	port     uint16
}

// Held reports whether b is a share of a port.
func (b Binding) Held() bool { return b.kind != noPorts }

// Port returns the external port or identifier; 0 for the zero Binding.
func (b Binding) Port() uint16 { return b.port }

// external is an address of the pool.
type external struct {
	addr     packet.Addr
	position uint32
	secret   secret
	maps     [kinds]struct {
		once sync.Once
		m    atomic.Pointer[PortMap] // nil until first used
	}
}

// portMap returns the account of one protocol, which is made at its first use.
func (x *external) portMap(k kind) *PortMap {
	slot := &x.maps[k]
	if m := slot.m.Load(); m != nil {
		return m
	}
	slot.once.Do(func() { slot.m.Store(newPortMap(x.secret, k)) })
	return slot.m.Load()
}

// Pool is all external addresses that have ever been used since the start. Make one
// with NewPool; it is safe for concurrent use.
type Pool struct {
	secret  secret
	mu      sync.Mutex // one writer at a time
	current atomic.Pointer[externals]
}

// externals is one immutable state of a pool; the externals themselves live on.
type externals struct {
	all    []*external
	byAddr map[packet.Addr]*external
}

// NewPool returns an empty pool.
func NewPool() *Pool { return newPool(newSecret()) }

func newPool(s secret) *Pool {
	p := &Pool{secret: s}
	p.current.Store(&externals{byAddr: map[packet.Addr]*external{}})
	return p
}

// external finds an address or adds it.
func (p *Pool) external(addr packet.Addr) (*external, error) {
	if x := p.current.Load().byAddr[addr]; x != nil {
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
	next := &externals{all: append(old.all[:len(old.all):len(old.all)], x), byAddr: maps.Clone(old.byAddr)}
	next.byAddr[addr] = x
	p.current.Store(next)
	return x, nil
}

// translated returns the two ends of a source translation: the inside endpoint and the
// external one, of a kind. ok is false where the source is not translated or the
// protocol has no ports.
//
//	original: Src:SrcPort > Dst:DstPort     inside = Src:SrcPort
//	reply:    ...         > Dst:DstPort     outside = Dst:DstPort; ICMP: Dst with SrcPort, the identifier
func translated(original, reply *packet.Tuple) (inside, outside Endpoint, k kind, ok bool) {
	k = kindOf(original.Proto)
	inside = Endpoint{original.Src, original.SrcPort}
	outside = Endpoint{reply.Dst, reply.DstPort}
	if k == identifiers {
		outside.Port = reply.SrcPort
	}
	return inside, outside, k, k != noPorts && inside != outside
}

// Take holds what a connection made elsewhere needs: the share of its external port.
// It returns the zero Binding and true where the connection needs none, and false where
// the port belongs to another endpoint (the connection must not be entered) or the
// address is one too many.
func (p *Pool) Take(original, reply packet.Tuple) (Binding, bool) {
	inside, outside, k, ok := translated(&original, &reply)
	if !ok {
		return Binding{}, true
	}
	x, err := p.external(outside.Addr)
	if err != nil || !x.portMap(k).Take(inside, outside.Port) {
		return Binding{}, false
	}
	return Binding{x.position, k, outside.Port}, true
}

// BindingOf tells from a connection's tuples what Propose or Take held for it; the zero
// Binding where that is nothing. It changes nothing.
func (p *Pool) BindingOf(original, reply packet.Tuple) Binding {
	inside, outside, k, ok := translated(&original, &reply)
	if !ok {
		return Binding{}
	}
	x := p.current.Load().byAddr[outside.Addr]
	if x == nil {
		return Binding{}
	}
	if holder, connections := x.portMap(k).Holder(outside.Port); connections == 0 || holder != inside {
		return Binding{}
	}
	return Binding{x.position, k, outside.Port}
}

// Release gives a share back; the last one frees the port. It does nothing for the zero
// Binding, and reports false where nobody had the port, which is a defect of the caller.
func (p *Pool) Release(b Binding) bool {
	if !b.Held() {
		return true
	}
	all := p.current.Load().all
	return int(b.external) < len(all) && b.kind < kinds && all[b.external].portMap(b.kind).Release(b.port)
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
		for k := tcpPorts; k < kinds; k++ {
			if m := x.maps[k].m.Load(); m != nil {
				all = append(all, Usage{x.addr, k.proto(&x.addr), m.Used()})
			}
		}
	}
	return all
}
