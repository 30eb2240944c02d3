package selector

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

// key is one key of the language. One that speaks of the class of a connection alone
// says so by class, and what it says of a connection follows.
type key struct {
	name    string
	noun    string // what its values are
	example string
	parse   parse                                                 // nil where class is not
	class   func(c *conntrack.Class, n *Names, value string) bool // nil: it says nothing of the class
}

// keys is the language, in the order in which it is told.
var keys = []key{
	{"label", "a label", "web", nil, mayHaveLabel},
	{"rule", "a rule id", "web-out", nil, func(c *conntrack.Class, n *Names, id string) bool {
		rule, _ := n.rule(c)
		return rule == id || rule == "" && id == config.DefaultID
	}},
	{"gateway", "a gateway", "isp1", nil, func(c *conntrack.Class, n *Names, gateway string) bool {
		return n != nil && n.Gateway != nil && n.Gateway(c.Gateway) == gateway
	}},
	{"port", "a logical port", "wan", nil, func(c *conntrack.Class, n *Names, port string) bool {
		return n.port(c.Ingress) == port || n.port(c.Egress) == port
	}},
	{"proto", "a protocol", "tcp", proto, nil},
	{"src", "an address or network", "10.0.0.0/24", network(func(v *conntrack.View, is inside) bool { return is(v.Original.Src) }), nil},
	{"dst", "an address or network", "203.0.113.9", network(func(v *conntrack.View, is inside) bool { return is(v.Original.Dst) }), nil},
	{"addr", "an address or network", "10.0.0.7", network(func(v *conntrack.View, is inside) bool {
		return is(v.Original.Src) || is(v.Original.Dst) || is(v.Reply.Src) || is(v.Reply.Dst)
	}), nil},
	{"sport", "a port number or range", "1024-65535", portNumber(func(t *packet.Tuple) uint16 { return t.SrcPort }), nil},
	{"dport", "a port number or range", "443", portNumber(func(t *packet.Tuple) uint16 { return t.DstPort }), nil},
	{"nat", "snat, dnat, none or an address", "203.0.113.2", translation, nil},
	{"state", "a state", "established", state, nil},
	{"node", "a node", "fw-a", name(func(v *conntrack.View, n *Names, node string) bool {
		number := v.Incarnation.Node()
		return n != nil && n.Node != nil && n.Node(number) == node || strconv.Itoa(int(number)) == node
	}), nil},
	{"min-age", "a duration", "90s", duration(func(v *conntrack.View, d time.Duration) bool { return v.Age >= d }), nil},
	{"max-age", "a duration", "90s", duration(func(v *conntrack.View, d time.Duration) bool { return v.Age <= d }), nil},
	{"min-idle", "a duration", "5m", duration(func(v *conntrack.View, d time.Duration) bool { return v.Idle >= d }), nil},
	{"max-idle", "a duration", "5m", duration(func(v *conntrack.View, d time.Duration) bool { return v.Idle <= d }), nil},
	{"id", "the 16 digits of a connection", "000000000001002a", identity, nil},
}

// parse is the type of key.parse.
type parse = func(value string) (canonical string, holds test, ok bool)

// name makes the parse of a key whose values are names.
func name(holds func(*conntrack.View, *Names, string) bool) parse {
	return func(value string) (string, test, bool) {
		return value, func(v *conntrack.View, n *Names) bool { return holds(v, n, value) }, true
	}
}

// network makes the parse of a key whose values are addresses or networks.
func network(holds func(*conntrack.View, inside) bool) parse {
	return func(value string) (string, test, bool) {
		p, ok := prefix(value)
		is := func(a packet.Addr) bool { return p.Contains(a.Netip()) }
		return prefixText(p), func(v *conntrack.View, _ *Names) bool { return holds(v, is) }, ok
	}
}

// inside says whether an address lies in a network.
type inside func(packet.Addr) bool

// prefix reads "10.0.0.0/24" or one address. Bits after the prefix are refused: they say
// that the writer meant something else.
func prefix(value string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(value); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), a.Zone() == ""
	}
	p, err := netip.ParsePrefix(value)
	return p, err == nil && p == p.Masked() && !p.Addr().Is4In6()
}

func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// portNumber makes the parse of a key whose values are port numbers.
func portNumber(of func(*packet.Tuple) uint16) parse {
	return func(value string) (string, test, bool) {
		r, ok := config.ParsePortRange(value)
		return r.String(), func(v *conntrack.View, _ *Names) bool {
			n := of(&v.Original)
			return config.Protocol(v.Original.Proto).HasPorts() && n >= r.First && n <= r.Last
		}, ok
	}
}

func proto(value string) (string, test, bool) {
	p, ok := config.ParseProtocol(value)
	return p.String(), func(v *conntrack.View, _ *Names) bool { return v.Original.Proto == packet.Proto(p) }, ok
}

func translation(value string) (string, test, bool) {
	const both = conntrack.SourceNAT | conntrack.DestinationNAT
	for word, holds := range map[string]func(conntrack.Flags) bool{
		"snat": func(f conntrack.Flags) bool { return f&conntrack.SourceNAT != 0 },
		"dnat": func(f conntrack.Flags) bool { return f&conntrack.DestinationNAT != 0 },
		"none": func(f conntrack.Flags) bool { return f&both == 0 },
	} {
		if value == word {
			return value, func(v *conntrack.View, _ *Names) bool { return holds(v.Flags) }, true
		}
	}
	p, ok := prefix(value)
	return prefixText(p), func(v *conntrack.View, _ *Names) bool {
		return v.Flags&conntrack.SourceNAT != 0 && p.Contains(v.Reply.Dst.Netip()) ||
			v.Flags&conntrack.DestinationNAT != 0 && p.Contains(v.Reply.Src.Netip())
	}, ok
}

func state(value string) (string, test, bool) {
	word := strings.ReplaceAll(strings.ToLower(value), "-", "_")
	flags := func(want, of conntrack.Flags) test {
		return func(v *conntrack.View, _ *Names) bool { return v.Flags&of == want }
	}
	switch word {
	case "replied":
		return word, flags(conntrack.Replied, conntrack.Replied), true
	case "unreplied":
		return word, flags(0, conntrack.Replied), true
	case "assured":
		return word, flags(conntrack.Assured, conntrack.Assured), true
	}
	for s := conntrack.SynSent; s <= conntrack.SynSent2; s++ {
		if word == strings.ToLower(s.String()) {
			return word, func(v *conntrack.View, _ *Names) bool {
				return v.Original.Proto == packet.TCP && v.TCP == s
			}, true
		}
	}
	return "", nil, false
}

// duration makes the parse of a key whose values are times.
func duration(holds func(*conntrack.View, time.Duration) bool) parse {
	return func(value string) (string, test, bool) {
		d, err := time.ParseDuration(value)
		return d.String(), func(v *conntrack.View, _ *Names) bool { return holds(v, d) }, err == nil && d >= 0
	}
}

func identity(value string) (string, test, bool) {
	n, err := strconv.ParseUint(value, 16, 64)
	id := conntrack.Incarnation(n)
	return id.String(), func(v *conntrack.View, _ *Names) bool { return v.Incarnation == id }, err == nil && len(value) == 16
}
