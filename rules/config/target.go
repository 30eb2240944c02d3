package config

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Target is an address that an end of a connection can become, or a range or prefix of
// them:
//
//	"203.0.113.5"   "203.0.113.8-203.0.113.11"   "203.0.113.8/30"
//	{ address = "10.0.0.8", weight = 3 }
//
// "<name>" is the written entries of a table, which stand in its place: see fillPools.
type Target struct {
	First, Last netip.Addr // of one family, First <= Last
	Weight      uint32     // of each of them, for pick = "weighted"; 0: none is written, which counts as 1
	Table       string     `json:"-"` // that they are written in; "": in the target itself
}

// Bounds of a target.
const (
	targetWeightMax = 1000
	targetBitsMax   = 32 // it is at most 2^32 addresses, so that sums of weights fit a word
)

// wider reports whether first to last are more than 2^targetBitsMax addresses.
func wider(first, last netip.Addr) bool {
	a, b := first.As16(), last.As16()
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(a[8:]), 0)
	high, _ := bits.Sub64(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(a[:8]), borrow)
	return high != 0 || low>>targetBitsMax != 0
}

// String returns the target's addresses as one writes them, and the table that they are of.
func (t Target) String() string {
	if t.Table != "" {
		return rangeText(t.First, t.Last) + " of <" + t.Table + ">"
	}
	return rangeText(t.First, t.Last)
}

// prefix returns the one prefix that a target is.
func (t Target) prefix() netip.Prefix { return Prefixes(t.First, t.Last)[0] }

// target reads a target of a pool.
func target(n *node) (t Target, bad *fault) {
	if n.kind == unstable.Table {
		return weightedTarget(n)
	}
	return plainTarget(n)
}

// plainTarget reads a target without a weight.
func plainTarget(n *node) (t Target, bad *fault) {
	const example = `"203.0.113.5" or "203.0.113.8-203.0.113.11"`
	if bad = wants(n, unstable.String, "an address, prefix, range or table", example); bad != nil {
		return t, bad
	}
	if strings.HasPrefix(n.text, "<") {
		a, bad := addressElement(n)
		return Target{Table: a.Table}, bad
	}
	t.First, t.Last, bad = bounds(n.text, n)
	if bad == nil && wider(t.First, t.Last) {
		bad = tooWide(n.literal())
	}
	if bad != nil {
		if n.text == "any" || n.text == "self" || n.text != "" && n.text[0] == '!' {
			bad.mend = "write one such as " + example
		}
		return t, bad
	}
	return t, unroutable(t.First, t.Last, n.literal())
}

func tooWide(literal string) *fault {
	return &fault{what: fmt.Sprintf("%s has more than 2^%d addresses", literal, targetBitsMax), mend: "write a smaller pool"}
}

// weightedTarget reads { address = ..., weight = ... }.
func weightedTarget(n *node) (t Target, bad *fault) {
	known := []string{"address", "weight"}
	for _, f := range n.fields {
		switch f.name {
		case "address":
			weight := t.Weight
			if t, bad = plainTarget(f.value); bad != nil {
				bad.at = f.value.pos
				return t, bad
			}
			t.Weight = weight
		case "weight":
			if t.Weight, bad = integer[uint32]("a weight", 1, targetWeightMax)(f.value); bad != nil {
				bad.at = f.value.pos
				return t, bad
			}
		default:
			return t, &fault{at: f.pos, what: fmt.Sprintf("unknown key %q in a target", clip(f.name)), mend: suggest(f.name, known, "known keys")}
		}
	}
	if !t.First.IsValid() && t.Table == "" {
		return t, &fault{what: `a target has no "address"`, mend: `write { address = "10.0.0.8", weight = 3 }`}
	}
	return t, nil
}

// prefixTarget reads the outside prefix of a static or nptv6 translation.
func prefixTarget(n *node) (t Target, bad *fault) {
	if bad = wants(n, unstable.String, "a prefix", `"198.51.100.0/24"`); bad != nil {
		return t, bad
	}
	t.First, t.Last, bad = onePrefix(n)
	return t, bad
}

// insidePrefix reads the inside prefix of a static or nptv6 translation.
func insidePrefix(n *node) (Address, *fault) {
	a := Address{Kind: AddressRange}
	bad := wants(n, unstable.String, "a prefix", `"10.1.0.0/24"`)
	if bad == nil {
		a.First, a.Last, bad = onePrefix(n)
	}
	return a, bad
}

// onePrefix reads addresses that are one prefix.
func onePrefix(n *node) (first, last netip.Addr, bad *fault) {
	first, last, bad = bounds(n.text, n)
	if bad != nil || len(Prefixes(first, last)) != 1 {
		if bad == nil || n.text == "any" || n.text == "self" || n.text != "" && (n.text[0] == '!' || n.text[0] == '<') {
			bad = &fault{what: n.literal() + " is not a prefix", mend: `a translation of one to one is from prefix to prefix: write one such as "10.1.0.0/24"`}
		}
		return first, last, bad
	}
	return first, last, unroutable(first, last, n.literal())
}

// notRouted are the addresses that no packet is routed to or from (RFC 6890, RFC 1112
// section 4, RFC 4291 section 2).
var notRouted = []struct {
	prefix netip.Prefix
	noun   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// unroutable refuses addresses, which literal names, to or from which nothing is routed.
func unroutable(first, last netip.Addr, literal string) *fault {
	for _, not := range notRouted {
		low, high := prefixBounds(not.prefix)
		if low.BitLen() == first.BitLen() && !last.Less(low) && !high.Less(first) {
			holds := "is"
			if first.Less(low) || high.Less(last) {
				holds = "holds"
			}
			return &fault{what: fmt.Sprintf("%s %s %s (%s), which is not routed", literal, holds, not.noun, not.prefix), mend: "write unicast addresses that packets can be routed to"}
		}
	}
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
