package gateway

import (
	"fmt"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// Number names a gateway in a connection: 1 is the first of the policy's gateways sorted
// by name, so all nodes agree on it. The zero value is none.
type Number uint8

// None is no gateway.
const None Number = 0

// Max is how many gateways a policy may have.
const Max = 127

// Gateway is a router on the link of a port.
type Gateway struct {
	Name string
	Port packet.PortID
	Addr packet.Addr
}

// family tells the two families apart as an index: 0 is IPv6, 1 is IPv4.
func family(a *packet.Addr) int {
	if a.Is4() {
		return 1
	}
	return 0
}

// Set is a policy's gateways. It is immutable; nil has none.
type Set struct {
	all []Gateway                  // by Number-1
	on  [drop.PortsMax][2][]Number // by port and family
}

// NewSet makes a set of gateways in the order of their numbers.
func NewSet(gateways []Gateway) (*Set, error) {
	if len(gateways) > Max {
		return nil, fmt.Errorf("%d gateways: a policy has at most %d", len(gateways), Max)
	}
	s := &Set{all: gateways}
	for i, g := range gateways {
		if g.Port >= drop.PortsMax {
			return nil, fmt.Errorf("gateway %s: port %d is not one of the %d that a node can have", g.Name, g.Port, drop.PortsMax)
		}
		on := &s.on[g.Port][family(&g.Addr)]
		*on = append(*on, Number(i+1))
	}
	return s, nil
}

// All returns the gateways by Number-1. The caller must not change them.
func (s *Set) All() []Gateway {
	if s == nil {
		return nil
	}
	return s.all
}

// Port returns the port of a gateway, packet.NoPort where there is no such gateway: a peer
// with another policy may tell of one.
func (s *Set) Port(n Number) packet.PortID {
	if s == nil || n == None || int(n) > len(s.all) {
		return packet.NoPort
	}
	return s.all[n-1].Port
}

// On returns the gateways of an address's family on a port, in the order of their names.
func (s *Set) On(port packet.PortID, addr *packet.Addr) []Number {
	if s == nil || port >= drop.PortsMax {
		return nil
	}
	return s.on[port][family(addr)]
}

// Down is the set of gateways that must not get new connections. The zero value is none:
// a gateway that nobody asks counts as up.
type Down [2]uint64

// With returns the set with one more gateway in it.
func (d Down) With(n Number) Down {
	d[n>>6&1] |= 1 << (n & 63)
	return d
}

// Without returns the set with one gateway less.
func (d Down) Without(n Number) Down {
	d[n>>6&1] &^= 1 << (n & 63)
	return d
}

// Has reports whether a gateway is down.
func (d Down) Has(n Number) bool { return d[n>>6&1]>>(n&63)&1 != 0 }
