package config

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// AddressKind says what an element of from or to stands for. The zero value is illegal.
type AddressKind uint8

// The kinds of address elements.
const (
	AddressAny   AddressKind = iota + 1 // "any": every address of both families
	AddressSelf                         // "self": the addresses of the node's ports
	AddressRange                        // a prefix, a range or one address: First to Last
	AddressTable                        // "<name>": a dynamic table
)

// Sense says whether an element adds to its list or takes from it.
type Sense uint8

// The senses.
const (
	Include Sense = iota // as written
	Exclude              // behind a "!"
)

// Address is one element of a rule's from or to. A list of them matches an address
// that some including element holds and no excluding one does; where all elements
// exclude, every other address matches. Order does not count.
type Address struct {
	Kind        AddressKind
	Sense       Sense
	First, Last netip.Addr // AddressRange: of one family, First <= Last
	Table       string     // AddressTable
}

// String returns the element as one writes it.
func (a Address) String() string {
	s := ""
	switch a.Kind {
	case AddressAny:
		s = "any"
	case AddressSelf:
		s = "self"
	case AddressTable:
		s = "<" + a.Table + ">"
	case AddressRange:
		s = rangeText(a.First, a.Last)
	}
	if a.Sense == Exclude {
		return "!" + s
	}
	return s
}

// MarshalText is String: it is what a policy's hash speaks of.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

func rangeText(first, last netip.Addr) string {
	if first == last {
		return first.String()
	}
	if p, ok := prefixOf(first, last); ok {
		return p.String()
	}
	return first.String() + "-" + last.String()
}

// prefixOf returns the prefix that holds the addresses first to last and no others, where
// there is one: it is as long as what the two have in common.
func prefixOf(first, last netip.Addr) (netip.Prefix, bool) {
	if !first.IsValid() || first.BitLen() != last.BitLen() {
		return netip.Prefix{}, false
	}
	a, b := first.As16(), last.As16()
	common := 0
	for i := range a {
		if x := a[i] ^ b[i]; x != 0 {
			common += bits.LeadingZeros8(x)
			break
		}
		common += 8
	}
	p := netip.PrefixFrom(first, common-(128-first.BitLen()))
	low, high := prefixBounds(p)
	return p, low == first && high == last
}

// addressElement reads an element of from or to.
func addressElement(n *node) (Address, *fault) {
	if bad := wants(n, unstable.String, "an address", `"10.0.0.0/24"`); bad != nil {
		return Address{}, bad
	}
	a := Address{Kind: AddressRange}
	word, excluded := strings.CutPrefix(n.text, "!")
	if excluded {
		a.Sense = Exclude
	}
	switch {
	case word == "any" && excluded:
		return a, &fault{what: `"!any" excludes everything`, mend: "remove it, or the rule"}
	case word == "any":
		a.Kind = AddressAny
		return a, nil
	case word == "self":
		a.Kind = AddressSelf
		return a, nil
	case strings.HasPrefix(word, "$"):
		return a, &fault{what: n.literal() + " excludes a macro", mend: `write the "!" before each value inside the macro`}
	case strings.HasPrefix(word, "<"):
		name, closed := strings.CutSuffix(word[1:], ">")
		if !closed {
			return a, &fault{what: n.literal() + " is not a table", mend: `write its name between < and >, such as "<brutes>"`}
		}
		a.Kind, a.Table = AddressTable, strings.Clone(name)
		return a, nameFault(name, "table", nameMax)
	}
	var bad *fault
	a.First, a.Last, bad = bounds(word, n)
	return a, bad
}

// bounds reads "10.0.0.0/24", "10.0.0.1-10.0.0.9" or "10.0.0.1".
func bounds(word string, n *node) (first, last netip.Addr, bad *fault) {
	none := netip.Addr{}
	if low, high, isRange := strings.Cut(word, "-"); isRange {
		first, errFirst := plainAddress(low)
		last, errLast := plainAddress(high)
		if errFirst != nil || errLast != nil || first.BitLen() != last.BitLen() {
			return none, none, &fault{what: n.literal() + " is not a range of addresses", mend: `write two addresses of one family, such as "10.0.0.1-10.0.0.9"`}
		}
		if last.Less(first) {
			return none, none, &fault{what: n.literal() + " runs backwards", mend: fmt.Sprintf("write %s-%s", last, first)}
		}
		return first, last, nil
	}
	if a, err := plainAddress(word); err == nil {
		return a, a, nil
	}
	p, err := netip.ParsePrefix(word)
	if err != nil || p.Addr().Is4In6() {
		return none, none, &fault{what: n.literal() + " is not an address, prefix or range",
			mend: `write one such as "10.0.0.66", "10.0.0.0/24", "10.0.0.1-10.0.0.9", "<table>", "any" or "self"`}
	}
	if p != p.Masked() {
		return none, none, &fault{what: n.literal() + " has bits set after its prefix", mend: fmt.Sprintf("write %s for the network, %s for the host", p.Masked(), p.Addr())}
	}
	first, last = prefixBounds(p)
	return first, last, nil
}

// plainAddress parses an address without zone, of which there is one form only: IPv4
// mapped into IPv6 is written as IPv4.
func plainAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err == nil && (a.Zone() != "" || a.Is4In6()) {
		err = fmt.Errorf("%s is not a plain address", s)
	}
	return a, err
}

// prefixBounds returns the first and the last address of p.
func prefixBounds(p netip.Prefix) (first, last netip.Addr) {
	first = p.Masked().Addr()
	bytes := first.AsSlice()
	for bit := p.Bits(); bit < first.BitLen(); bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ = netip.AddrFromSlice(bytes) // as long as it came
	return first, last
}

// Prefixes returns the fewest prefixes that hold the addresses first to last, in order.
//
// Example: 10.0.0.1 to 10.0.0.6 is 10.0.0.1/32, 10.0.0.2/31, 10.0.0.4/31, 10.0.0.6/32.
func Prefixes(first, last netip.Addr) []netip.Prefix {
	if p, ok := prefixOf(first, last); ok {
		return []netip.Prefix{p} // nearly all
	}
	var all []netip.Prefix
	for first.IsValid() && !last.Less(first) {
		// The widest prefix that begins at first and does not pass last.
		bits := 0
		for ; bits < first.BitLen(); bits++ {
			low, high := prefixBounds(netip.PrefixFrom(first, bits))
			if low == first && !last.Less(high) {
				break
			}
		}
		p := netip.PrefixFrom(first, bits)
		all = append(all, p)
		_, high := prefixBounds(p)
		first = high.Next() // invalid past the last address of the family
	}
	return all
}

// PrefixesOf returns the addresses of a family that a list of ranges and "any" holds.
func PrefixesOf(list []Value[Address], f Family) []netip.Prefix {
	var all []netip.Prefix
	for _, a := range list {
		switch {
		case a.V.Kind == AddressAny && f == IPv4:
			all = append(all, netip.PrefixFrom(netip.IPv4Unspecified(), 0))
		case a.V.Kind == AddressAny:
			all = append(all, netip.PrefixFrom(netip.IPv6Unspecified(), 0))
		case a.V.Kind == AddressRange && familyOf(a.V.First) == f:
			all = append(all, Prefixes(a.V.First, a.V.Last)...)
		}
	}
	return all
}
