package fib

import (
	"fmt"
	"net/netip"

	"holdfast/dataplane/packet"
)

// Kind says what becomes of packets to an address. The zero value is illegal.
type Kind uint8

const (
	kindUnset   Kind = iota
	Unroutable       // no route, or none over a port
	Local            // one of the node's own addresses
	Forward          // to MAC through Port
	Unresolved       // through Port, once the MAC of Via is known
	Broadcast        // the broadcast address of a connected network
	Blackhole        // a route that discards (RTN_BLACKHOLE)
	Unreachable      // a route that refuses as unreachable (RTN_UNREACHABLE)
	Prohibited       // a route that refuses as prohibited (RTN_PROHIBIT)
)

var kindNames = [...]string{"unset", "unroutable", "local", "forward", "unresolved", "broadcast", "blackhole", "unreachable", "prohibited"}

// String names the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// Hop is where packets to an address go next.
type Hop struct {
	Kind Kind
	Port packet.PortID // of Forward and Unresolved; else NoPort
	MAC  packet.MAC    // of Forward
	Via  packet.Addr   // of Forward and Unresolved: the neighbour, gateway or destination itself

	Gateway uint8 // its number where Via is one of the policy's gateways, and not the destination; else 0
}

// unroutable is the hop where no route is.
var unroutable = Hop{Kind: Unroutable, Port: packet.NoPort}

// Neighbor is an address on a port's link and its Ethernet address.
type Neighbor struct {
	Port packet.PortID
	Addr packet.Addr
	MAC  packet.MAC
}

// Gateway is a router that the policy names. Gateways are numbered from 1 by their place
// in a list, in which each is another one.
type Gateway struct {
	Port packet.PortID
	Addr packet.Addr
}

// key names a neighbour: link-local addresses are the same on every link.
func (n Neighbor) key() neighborKey { return neighborKey{n.Port, n.Addr} }

type neighborKey struct {
	port packet.PortID
	addr packet.Addr
}

// Route is one route as the table needs it.
type Route struct {
	Prefix netip.Prefix
	Kind   Kind          // Forward for one that leads to a port; never Unresolved
	Port   packet.PortID // of Forward
	Via    packet.Addr   // the gateway; the zero address: the prefix is on the link
}
