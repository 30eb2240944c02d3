package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Protocol is an IP protocol number (IANA "Assigned Internet Protocol Numbers").
type Protocol uint8

// The protocols that have something to say about ports or types.
const (
	ICMP    Protocol = 1
	TCP     Protocol = 6
	UDP     Protocol = 17
	ICMPv6  Protocol = 58
	SCTP    Protocol = 132
	UDPLite Protocol = 136
)

// protocolNames are the words for protocols; the first of a number is what String says.
var protocolNames = []struct {
	name   string
	number Protocol
}{
	{"tcp", TCP}, {"udp", UDP}, {"icmp", ICMP}, {"icmpv6", ICMPv6}, {"ipv6-icmp", ICMPv6}, {"gre", 47},
	{"esp", 50}, {"ah", 51}, {"igmp", 2}, {"ospf", 89}, {"vrrp", 112}, {"sctp", SCTP}, {"udplite", UDPLite},
}

// ParseProtocol returns the protocol of a name or a decimal number.
func ParseProtocol(s string) (Protocol, bool) {
	for _, p := range protocolNames {
		if p.name == s {
			return p.number, true
		}
	}
	v, err := strconv.ParseUint(s, 10, 8)
	return Protocol(v), err == nil
}

// ProtocolNames returns the words that ParseProtocol knows.
func ProtocolNames() []string {
	names := make([]string, len(protocolNames))
	for i, p := range protocolNames {
		names[i] = p.name
	}
	return names
}

// String returns the protocol's name, or its number where it has none.
func (p Protocol) String() string {
	for _, known := range protocolNames {
		if known.number == p {
			return known.name
		}
	}
	return strconv.Itoa(int(p))
}

// MarshalText is String.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// HasPorts reports whether packets of the protocol carry port numbers.
func (p Protocol) HasPorts() bool { return p == TCP || p == UDP || p == SCTP || p == UDPLite }

// protocol reads "tcp", "47" or 47.
func protocol(n *node) (Protocol, *fault) {
	if n.kind == unstable.String || n.kind == unstable.Integer {
		if p, ok := ParseProtocol(n.text); ok {
			return p, nil
		}
	}
	mend := `write a name such as "tcp", "udp", "icmp", or a number from 0 to 255`
	if near := Nearest(n.text, ProtocolNames()); n.kind == unstable.String && near != "" {
		mend = fmt.Sprintf("did you mean %q?", near)
	}
	return 0, &fault{what: n.literal() + " is not a protocol", mend: mend}
}

// PortRange is the port numbers First to Last.
type PortRange struct{ First, Last uint16 }

// String returns "80" or "8000-8080".
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// MarshalText is String.
func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// length returns how many ports there are.
func (r PortRange) length() int { return int(r.Last) - int(r.First) + 1 }

// ParsePortRange reads "80" or "8000-8080". Port 0 names no service (RFC 6335 section 6).
func ParsePortRange(s string) (PortRange, bool) {
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		high = low
	}
	first, errFirst := strconv.ParseUint(low, 10, 16)
	last, errLast := strconv.ParseUint(high, 10, 16)
	r := PortRange{uint16(first), uint16(last)}
	return r, errFirst == nil && errLast == nil && first >= 1 && first <= last
}

// portRange reads 80, "80" or "8000-8080".
func portRange(n *node) (PortRange, *fault) {
	if n.kind == unstable.String || n.kind == unstable.Integer {
		if r, ok := ParsePortRange(n.text); ok {
			return r, nil
		}
	}
	return PortRange{}, &fault{what: n.literal() + " is not a port", mend: `write a number from 1 to 65535, or a range such as "8000-8080"`}
}

// icmpNames are the queries that open a pseudo-connection; errors belong to the
// connection they quote and never meet a rule (RFC 792, RFC 4443).
var icmpNames = map[Protocol]map[string]uint8{
	ICMP:   {"echo-request": 8, "timestamp-request": 13},
	ICMPv6: {"echo-request": 128},
}

// icmpType reads a query type of proto by name or number.
func icmpType(proto Protocol) parser[uint8] {
	return func(n *node) (uint8, *fault) {
		if v, ok := icmpNames[proto][n.text]; ok && n.kind == unstable.String {
			return v, nil
		}
		if v, err := strconv.ParseUint(n.text, 0, 8); err == nil && n.kind == unstable.Integer {
			return uint8(v), nil
		}
		return 0, &fault{what: fmt.Sprintf("%s is not a type of %s", n.literal(), proto), mend: `write "echo-request" or a number from 0 to 255`}
	}
}
