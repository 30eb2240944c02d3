package config

// NATKind is what a translation does. The zero value is illegal.
type NATKind uint8

// The kinds.
const (
	Masquerade NATKind = iota + 1 // source to an address of the port that a connection leaves by
	SourceNAT
	DestinationNAT
	Redirect
	StaticNAT
	NPTv6
)

// String returns the word of the file.
func (k NATKind) String() string {
	return [...]string{"unset", "masquerade", "snat", "dnat", "redirect", "static", "nptv6"}[k]
}

// MarshalText is String.
func (k NATKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// NAT is a translation. The first that applies to a connection wins.
type NAT struct {
	Pos  Position `json:"-"` // of its [[nat]]
	Kind Value[NATKind]
	From []Value[Address] // ranges and "any" only, none excluded; at least one
	Out  Value[string]    // the port that connections leave by
}

func (d *decoder) readNAT(t *table) NAT {
	n := NAT{Pos: t.pos}
	need(t, "kind", choice("a kind of nat", Masquerade, SourceNAT, DestinationNAT, Redirect, StaticNAT, NPTv6), `"masquerade"`, &n.Kind)
	if n.Kind.Written() && n.Kind.V != Masquerade {
		// Its other keys are nobody's yet, so they are not judged.
		d.refuse(n.Kind.Pos, "nat kind "+n.Kind.V.String()+" is not built yet", "use masquerade, or remove the [[nat]]")
		return n
	}
	if t.n.get("from") == nil {
		t.missing("from", `["10.0.0.0/24"]`)
	}
	many(t, "from", sourceElement, &n.From)
	need(t, "out", named("port", portNameMax), `"wan"`, &n.Out)
	t.close("")
	return n
}

// sourceElement reads an element of a translation's from: less than a rule's.
func sourceElement(n *node) (Address, *fault) {
	a, bad := addressElement(n)
	if bad == nil && (a.Sense == Exclude || a.Kind != AddressRange && a.Kind != AddressAny) {
		bad = &fault{what: n.literal() + " in a nat's from is not built yet", mend: `use prefixes, ranges or "any"`}
	}
	return a, bad
}
