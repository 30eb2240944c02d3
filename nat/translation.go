package nat

import (
	"fmt"
	"net/netip"

	"holdfast/dataplane/packet"
)

// Kind is what a translation does to a connection. The zero value is illegal.
type Kind uint8

// The kinds. A connection meets those of the destination before it is routed and judged by
// the rules, and those of the source after. At each of the two stages the first translation
// that applies wins; so one connection may get both (twice NAT, I16).
const (
	// Masquerade: source to an address of the port that the connection leaves by.
	Masquerade Kind = iota + 1
	// Source: source to one of Targets.
	Source
	// Destination: destination to one of Targets.
	Destination
	// Redirect: destination to an address of the node itself, on the port that the
	// connection came in by.
	Redirect
	// Static: Inside and Outside, one to one, host part kept, ports kept. A connection that
	// leaves by Out has its source translated, one that comes in by it its destination.
	Static
	// NPTv6: as Static, by the algorithm of RFC 6296: transport checksums stay as they are.
	NPTv6
	// Exempt: not translated (I22). At both stages; only before routing where In says
	// something, only behind it where Out does, and behind it where both do.
	Exempt
	kindsEnd
)

// String returns the word of the configuration.
func (k Kind) String() string {
	if k < kindsEnd {
		return [...]string{"unset", "masquerade", "snat", "dnat", "redirect", "static", "nptv6", "none"}[k]
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// Translation is the blueprint of one [[nat]]: what a connection's first packet must have,
// and what becomes of it. What a kind has no use for must be left out.
//
// Which packet the conditions are compared with depends on the stage: before routing, the
// packet as it came; behind it, the packet as the rules saw it: the source as it came, the
// destination behind destination translation. So an exemption and a rule that name the same
// prefixes mean the same connections.
type Translation struct {
	Name string // where it stands, for errors; "": its number is named
	Kind Kind

	// Conditions. Empty: any.
	In        []packet.PortID // it came in by one of them. Destination, Redirect, Exempt; at Masquerade and Source a further condition
	Out       []packet.PortID // it leaves by one of them. Masquerade, Source, Exempt; Static and NPTv6: the outside, at least one
	From      []netip.Prefix  // its source
	NotFrom   []netip.Prefix  // and none of these
	To        []netip.Prefix  // its destination. Static, NPTv6: the remote end, From is not theirs
	NotTo     []netip.Prefix  // and none of these
	Protos    []packet.Proto
	FromPorts []PortSpan // needs Protos with ports
	ToPorts   []PortSpan // needs Protos with ports

	// Targets: what the end becomes.
	Targets []Target // Source: external addresses; Destination: inside ones
	// TargetPorts. Destination, Redirect: one port, or a span as long as the only one of
	// ToPorts, onto which it is mapped in order; zero: the port stays. Source, Masquerade:
	// the external ports to give; zero: by class (I2).
	TargetPorts PortSpan
	// Inside and Outside are the prefixes of Static, of equal length, and NPTv6, /64 or
	// shorter, whose shorter one is extended by zeros.
	Inside, Outside netip.Prefix

	Pick      Pick      // among several Targets
	Mapping   Mapping   // Masquerade, Source
	Filtering Filtering // Masquerade, Source
	Pooling   Pooling   // Masquerade, Source
	Hairpin   Hairpin   // Masquerade, Source, Destination with To, Static, NPTv6

	PortsPerSource uint32 // external ports that an inside address may have, per protocol; 0: no limit. Masquerade, Source (I22)
	HoldDown       int64  // ns that a port without connections waits before another endpoint gets it, 0 to HoldDownMax. Masquerade, Source (I10)
}

// HoldDownMax bounds Translation.HoldDown, in ns: an hour.
const HoldDownMax = int64(3600e9)

// Target is an address of a pool, or a range of them with both ends included.
type Target struct {
	First, Last netip.Addr // of one family; Last invalid: First alone
	Weight      uint32     // of each address, for Weighted: 1 to 1000; 0 stands for 1
}

// PrefixTarget returns the target of all addresses of a prefix.
func PrefixTarget(p netip.Prefix) Target {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(last)
	return Target{First: p.Addr(), Last: a}
}

// PortSpan is port numbers from First to Last, both included. The zero value is none.
type PortSpan struct{ First, Last uint16 }

// Len returns how many there are, 0 for the zero value.
func (s PortSpan) Len() int {
	if s == (PortSpan{}) {
		return 0
	}
	return int(s.Last) - int(s.First) + 1
}

func (s PortSpan) holds(port uint16) bool { return s.First <= port && port <= s.Last }

// Pick says which of several targets a connection gets.
type Pick uint8

// The picks. By default and with Sticky and Weighted every node picks the same.
const (
	Hash       Pick = iota // by both ends: the connections of a client spread
	Sticky                 // by the client's address alone
	RoundRobin             // in turn. Destination; a source only where Pooling and Mapping tie it to nothing
	Random                 // as RoundRobin, by lot
	Weighted               // as Sticky, in the proportion of Target.Weight
	picksEnd
)

// Mapping says how many connections one external port serves (RFC 4787 section 4.1).
type Mapping uint8

// The mappings.
const (
	EndpointIndependent     Mapping = iota // one inside endpoint, all its connections (I5)
	AddressAndPortDependent                // one connection to each remote endpoint, of whatever inside endpoints (I4, RFC 7857 section 3)
	mappingsEnd
)

// Filtering says who outside may open a connection to an inside endpoint by its external
// port (RFC 4787 section 5; I6). Rules that name such a packet still hold; the default of
// the policy does not.
type Filtering uint8

// The filterings.
const (
	FilterAddressAndPort Filtering = iota // nobody: only replies come in
	FilterAddress                         // an address that the endpoint has a connection with
	FilterNone                            // everybody
	filteringsEnd
)

// Pooling says how an inside address uses several external ones (I7).
type Pooling uint8

// The poolings.
const (
	Paired    Pooling = iota // it has one for all its connections
	Arbitrary                // each of its endpoints has one
	poolingsEnd
)

// Hairpin says whether inside hosts reach inside hosts by their external addresses (I8).
// The rules still decide: they see a connection from inside to inside.
type Hairpin uint8

// The hairpins.
const (
	HairpinOff Hairpin = iota
	HairpinOn
	hairpinsEnd
)

// Site is what translations must know of the node besides.
type Site struct {
	// Addresses of the node itself, by port: those that Masquerade gives, in this order, and
	// Redirect redirects to.
	Addresses map[packet.PortID][]netip.Addr
	// Networks are those that its ports are in, by port, and Gateways routers in them: it
	// answers for external addresses that lie there.
	Networks map[packet.PortID][]netip.Prefix
	Gateways []netip.Addr
	// Services are the ports of its own addresses that it answers on: they are never given
	// to a connection (I14).
	Services []Service
}

// Service is ports of the node that connections from elsewhere may be for.
type Service struct {
	Proto packet.Proto
	Ports PortSpan
}
