package rules

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

// number is an address as a number of 128 bits; IPv4 lies at ::ffff:0:0/96 as in
// packet.Addr, so one order holds both families.
type number struct{ high, low uint64 }

var highest = number{^uint64(0), ^uint64(0)}

func numberOf(a *packet.Addr) number {
	return number{binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])}
}

func numberFrom(a netip.Addr) number {
	addr := packet.AddrFrom(a)
	return numberOf(&addr)
}

func (n number) less(m number) bool {
	return n.high < m.high || n.high == m.high && n.low < m.low
}

func (n number) compare(m number) int {
	return cmp.Or(cmp.Compare(n.high, m.high), cmp.Compare(n.low, m.low))
}

// is4 reports whether n is an address of IPv4.
func (n number) is4() bool { return n.high == 0 && n.low>>32 == 0xffff }

// next returns n+1, previous n-1; both wrap.
func (n number) next() number {
	low, carry := bits.Add64(n.low, 1, 0)
	return number{n.high + carry, low}
}

func (n number) previous() number {
	low, borrow := bits.Sub64(n.low, 1, 0)
	return number{n.high - borrow, low}
}

// span is the addresses first to last.
type span struct{ first, last number }

var everything = span{last: highest}

// allSpans is everything as a list.
var allSpans = []span{everything}

// ipv4 is where IPv4 lies among the numbers: ::ffff:0:0/96. No IPv6 packet has such an
// address (the decoder refuses them, RFC 4291 section 2.5.5.2), and no IPv6 range means it.
var ipv4 = []span{{number{0, 0xffff << 32}, number{0, 0xffff<<32 | 0xffffffff}}}

// resolve turns the elements of a from or to into unions: what the including elements hold
// together, and what the excluding ones do. self are the node's addresses. What tables hold
// is not known here; see Set.addAddresses.
func resolve(list []config.Value[config.Address], self []span) (with, without []span) {
	includes := false
	for _, a := range list {
		var held []span
		switch a.V.Kind {
		case config.AddressAny:
			held = []span{everything}
		case config.AddressSelf:
			held = self
		case config.AddressRange:
			held = []span{{numberFrom(a.V.First), numberFrom(a.V.Last)}}
			if a.V.First.Is6() {
				held = subtract(held, ipv4) // ::/0 is IPv6 alone
			}
		}
		if a.V.Sense == config.Exclude {
			without = append(without, held...)
			continue
		}
		includes = true
		with = append(with, held...)
	}
	if !includes {
		with = []span{everything}
	}
	return union(with), union(without)
}

// union sorts spans and joins those that touch or overlap.
func union(spans []span) []span {
	spans = slices.SortedFunc(slices.Values(spans), func(a, b span) int { return a.first.compare(b.first) })
	var joined []span
	for _, s := range spans {
		if n := len(joined); n > 0 && (joined[n-1].last == highest || !joined[n-1].last.next().less(s.first)) {
			if joined[n-1].last.less(s.last) {
				joined[n-1].last = s.last
			}
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// subtract returns what of with is not in without. Both are unions.
func subtract(with, without []span) []span {
	var left []span
	for _, s := range with {
		gone := false
		for _, cut := range without {
			if cut.last.less(s.first) || s.last.less(cut.first) {
				continue
			}
			if s.first.less(cut.first) {
				left = append(left, span{s.first, cut.first.previous()})
			}
			if gone = !cut.last.less(s.last); gone {
				break
			}
			s.first = cut.last.next()
		}
		if !gone {
			left = append(left, s)
		}
	}
	return left
}

// selfSpans returns the node's addresses as spans.
func selfSpans(self []netip.Addr) []span {
	spans := make([]span, len(self))
	for i, a := range self {
		spans[i] = span{numberFrom(a), numberFrom(a)}
	}
	return spans
}
