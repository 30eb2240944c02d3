package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// NATKind is what a translation does. The zero value is illegal.
type NATKind uint8

// The kinds.
const (
	Masquerade     NATKind = iota + 1 // source to an address of the port that a connection leaves by
	SourceNAT                         // source to an address of a pool
	DestinationNAT                    // destination to an address of a pool
	Redirect                          // destination to the node itself
	StaticNAT                         // prefix to prefix, one to one, both ways
	NPTv6                             // likewise, without touching transport checksums (RFC 6296)
	NoNAT                             // not translated, whatever stands below
)

var natKinds = []NATKind{Masquerade, SourceNAT, DestinationNAT, Redirect, StaticNAT, NPTv6, NoNAT}

// String returns the word of the file.
func (k NATKind) String() string {
	return [...]string{"unset", "masquerade", "snat", "dnat", "redirect", "static", "nptv6", "none"}[k]
}

// MarshalText is String.
func (k NATKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// NAT is a translation. Before routing and behind it the first that applies to a
// connection wins. Every list of conditions that is empty holds for everything; which keys
// a kind has, and which it needs, is the table natKeys.
type NAT struct {
	Pos     Position `json:"-"` // of its [[nat]]
	Kind    Value[NATKind]
	In, Out []Value[string]  // the ports that connections come in and leave by
	From    []Value[Address] // their source; StaticNAT and NPTv6: one prefix, the inside
	To      []Value[Address] // their destination, as it is where the translation happens

	Protos             []Value[Protocol]
	FromPorts, ToPorts []Value[PortRange] // with protocols that have ports

	Targets    []Value[Target]  // what the end becomes; StaticNAT and NPTv6: one prefix, the outside
	TargetPort Value[PortRange] // not Written: ports stay where they can

	Pick      Value[Pick]
	Mapping   Value[Mapping]
	Filtering Value[Filtering]
	Pooling   Value[Pooling]
	Hairpin   Value[bool]

	PortsPerSource Value[uint32]        // external ports of an inside address, for each protocol; 0: no limit
	HoldDown       Value[time.Duration] // how long a port rests before another endpoint gets it

	faulty bool // something in it was refused: what it claims is not known
}

// Bounds of a translation.
const (
	portsPerSourceMax = 65535
	holdDownMax       = time.Hour
)

// natKey is a key of a [[nat]].
type natKey struct {
	name    string
	kinds   []NATKind // that have it
	needs   []NATKind // that cannot be without
	example string    // of a value, for those
	read    func(*table, *NAT)
}

// The kinds that a key means something to.
var (
	ofSource      = []NATKind{Masquerade, SourceNAT}
	ofDestination = []NATKind{DestinationNAT, Redirect}
	ofPrefix      = []NATKind{StaticNAT, NPTv6}
	ofPool        = []NATKind{SourceNAT, DestinationNAT}
	notRedirected = []NATKind{Masquerade, SourceNAT, StaticNAT, NPTv6, NoNAT}
	notOfPrefix   = []NATKind{Masquerade, SourceNAT, DestinationNAT, Redirect, NoNAT}
)

// natKeys are the keys of a [[nat]] besides kind.
var natKeys = []natKey{
	{"in", notOfPrefix, nil, "", func(t *table, n *NAT) { many(t, "in", named("port", portNameMax), &n.In) }},
	{"out", notRedirected, slices.Concat(ofSource, ofPrefix), `"wan"`, func(t *table, n *NAT) { many(t, "out", named("port", portNameMax), &n.Out) }},
	{"from", natKinds, slices.Concat(ofSource, ofPrefix), `["10.0.0.0/24"]`, func(t *table, n *NAT) { many(t, "from", natSource(n.Kind.V), &n.From) }},
	{"to", natKinds, []NATKind{DestinationNAT}, `"203.0.113.2"`, func(t *table, n *NAT) { many(t, "to", natDestination(n.Kind.V), &n.To) }},
	{"proto", notOfPrefix, nil, "", func(t *table, n *NAT) { many(t, "proto", protocol, &n.Protos) }},
	{"from_port", notOfPrefix, nil, "", func(t *table, n *NAT) { many(t, "from_port", portRange, &n.FromPorts) }},
	{"to_port", notOfPrefix, nil, "", func(t *table, n *NAT) { many(t, "to_port", portRange, &n.ToPorts) }},
	{"target", slices.Concat(ofPool, ofPrefix), slices.Concat(ofPool, ofPrefix), `"198.51.100.5"`, readTargets},
	{"target_port", slices.Concat(ofSource, ofDestination), nil, "", func(t *table, n *NAT) { one(t, "target_port", portRange, &n.TargetPort) }},
	{"pick", ofPool, nil, "", func(t *table, n *NAT) { one(t, "pick", choice("a pick", picks...), &n.Pick) }},
	{"mapping", ofSource, nil, "", func(t *table, n *NAT) { one(t, "mapping", choice("a mapping", mappings...), &n.Mapping) }},
	{"filtering", ofSource, nil, "", func(t *table, n *NAT) { one(t, "filtering", choice("a filtering", filterings...), &n.Filtering) }},
	{"pooling", ofSource, nil, "", func(t *table, n *NAT) { one(t, "pooling", choice("a pooling", poolings...), &n.Pooling) }},
	{"hairpin", []NATKind{Masquerade, SourceNAT, DestinationNAT, StaticNAT, NPTv6}, nil, "", func(t *table, n *NAT) { one(t, "hairpin", boolean, &n.Hairpin) }},
	{"ports_per_source", ofSource, nil, "", func(t *table, n *NAT) {
		one(t, "ports_per_source", integer[uint32]("a number of ports", 1, portsPerSourceMax), &n.PortsPerSource)
	}},
	{"hold_down", ofSource, nil, "", func(t *table, n *NAT) { one(t, "hold_down", duration(0, holdDownMax), &n.HoldDown) }},
}

// readTargets reads target: prefixes for the kinds of prefixes, pools for the others.
func readTargets(t *table, n *NAT) {
	parse := target
	if slices.Contains(ofPrefix, n.Kind.V) {
		parse = prefixTarget
	}
	many(t, "target", parse, &n.Targets)
}

// readNAT reads a [[nat]] of a policy whose tables have been read.
func (d *decoder) readNAT(t *table, p *Policy) NAT {
	n := NAT{Pos: t.pos}
	faults := len(d.errs)
	need(t, "kind", choice("a kind of nat", natKinds...), `"masquerade"`, &n.Kind)
	for i := range natKeys {
		k := &natKeys[i]
		switch here := t.n.get(k.name) != nil; {
		case !n.Kind.Written():
			t.value(k.name) // a key, but of what nobody knows
		case slices.Contains(k.kinds, n.Kind.V):
			if !here && slices.Contains(k.needs, n.Kind.V) {
				t.missing(k.name, k.example)
			}
			k.read(t, &n)
		case here:
			t.value(k.name)
			t.refuse(t.n.keyPos(k.name), fmt.Sprintf("kind %s has no %q", n.Kind.V, k.name), "remove it: "+kindList(k.kinds)+" have it")
		}
	}
	t.close("")
	whole := n.fillPools(d, p)
	if whole && len(d.errs) == faults {
		n.check(d)
	}
	n.faulty = !whole || len(d.errs) > faults
	return n
}

// kindList joins the words of kinds.
func kindList(kinds []NATKind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = k.String()
	}
	return strings.Join(words, ", ")
}

// natSource reads an element of a translation's from.
func natSource(k NATKind) parser[Address] {
	if slices.Contains(ofPrefix, k) {
		return insidePrefix
	}
	return func(n *node) (Address, *fault) {
		a, bad := natAddress(n)
		if bad == nil && a.Kind == AddressSelf {
			bad = &fault{what: `"self" as the source of a nat: what the node sends has its addresses already`, mend: `use prefixes, ranges or "any"`}
		}
		return a, bad
	}
}

// natDestination reads an element of a translation's to. What is for the node itself leaves
// by no port, so behind routing "self" means nothing.
func natDestination(k NATKind) parser[Address] {
	if k == NoNAT || slices.Contains(ofDestination, k) {
		return natAddress
	}
	return func(n *node) (Address, *fault) {
		a, bad := natAddress(n)
		if bad == nil && a.Kind == AddressSelf {
			bad = &fault{what: fmt.Sprintf(`"self" as the destination of kind %s: what is for the node itself is not forwarded`, k), mend: `use prefixes, ranges or "any"`}
		}
		return a, bad
	}
}

// natAddress reads an element of from or to that a translation may have.
func natAddress(n *node) (Address, *fault) {
	a, bad := addressElement(n)
	if bad == nil && a.Kind == AddressTable {
		bad = &fault{what: n.literal() + " in a nat is not built yet", mend: `use prefixes, ranges or "any"`}
	}
	return a, bad
}
