package rules

import (
	"math"
	"math/bits"
)

// interval is first to last, both included.
type interval struct{ first, last uint32 }

func (i interval) overlaps(o interval) bool { return i.first <= o.last && o.first <= i.last }

// box is a part of what a rule holds, or a little more.
type box struct {
	dims  [dimensions]interval
	rule  uint32
	exact bool // it holds nothing that the rule does not
}

// spans reports whether, within a region, a box holds all of another in one dimension.
func (b *box) spans(o *box, region *[dimensions]interval, d int) bool {
	return b.dims[d].first <= max(o.dims[d].first, region[d].first) && min(o.dims[d].last, region[d].last) <= b.dims[d].last
}

// covers reports whether it does in all, and where not, in which one: apart is looked at
// first, because what tells one pair of a list apart tells most others too.
func (b *box) covers(o *box, region *[dimensions]interval, apart int) (bool, int) {
	if !b.spans(o, region, apart) {
		return false, apart
	}
	for d := range b.dims {
		if !b.spans(o, region, d) {
			return false, d
		}
	}
	return true, apart
}

// space is all points.
var space = func() (all [dimensions]interval) {
	for d := range all {
		all[d].last = math.MaxUint32
	}
	return all
}()

// narrow reports whether a box holds few addresses in the four words from d on.
func narrow(b *box, d, family int) bool {
	if family == inIPv4 {
		return b.dims[d+3].last-b.dims[d+3].first < 1<<narrowBits
	}
	return b.dims[d].last-b.dims[d].first < wideIPv6
}

// addBoxes appends boxes that hold at least what a rule holds of one family.
func (s *Set) addBoxes(all []box, rule uint32, family int) []box {
	r := &s.rules[rule]
	var room [2][1][4]interval // most lists are one span
	from, to := s.rangesOf(room[0][:0], r.from, family), s.rangesOf(room[1][:0], r.to, family)
	if len(from) == 0 || len(to) == 0 {
		return all
	}
	one := box{dims: space, rule: rule, exact: family == inIPv4 && r.asks == 0 && r.conditions == 0}
	fromPorts, toPorts := s.portsIn(r.fromPorts), s.portsIn(r.toPorts)
	for _, list := range []*[][4]interval{&from, &to} {
		if len(from)*len(to) > boxesMax {
			*list, one.exact = [][4]interval{around(*list)}, false
		}
	}
	if len(from)*len(to)*len(toPorts) > boxesMax {
		toPorts, one.exact = []interval{hull(toPorts)}, false
	}
	var exact [3]bool
	one.dims[dimProto], exact[0] = hullOf(r.protos[:])
	one.dims[dimIn], exact[1] = logicalPorts(r.in)
	one.dims[dimOut], exact[2] = logicalPorts(r.out)
	one.dims[dimFromPort] = hull(fromPorts)
	one.exact = one.exact && exact == [3]bool{true, true, true} && len(fromPorts) == 1
	for _, f := range from {
		copy(one.dims[dimFrom:], f[:])
		for _, t := range to {
			copy(one.dims[dimTo:], t[:])
			for _, p := range toPorts {
				one.dims[dimToPort] = p
				all = append(all, one)
			}
		}
	}
	return all
}

// rangesOf appends the words of the spans of a list that are of one family.
func (s *Set) rangesOf(all [][4]interval, l list, family int) [][4]interval {
	spans := allSpans
	if !l.any() {
		spans = s.addresses[l.start:l.end]
	}
	for _, sp := range spans {
		if family == inIPv4 {
			if sp.last.less(ipv4[0].first) || ipv4[0].last.less(sp.first) {
				continue
			}
			if sp.first.less(ipv4[0].first) {
				sp.first = ipv4[0].first
			}
			if ipv4[0].last.less(sp.last) {
				sp.last = ipv4[0].last
			}
		} else if !sp.first.less(ipv4[0].first) && !ipv4[0].last.less(sp.last) {
			continue
		}
		all = append(all, wordsOf(sp))
	}
	return all
}

// wordsOf returns the words of a span: as long as first and last are alike in a word the
// next one matters, and behind it every value may occur.
func wordsOf(s span) (w [4]interval) {
	first := [4]uint32{uint32(s.first.high >> 32), uint32(s.first.high), uint32(s.first.low >> 32), uint32(s.first.low)}
	last := [4]uint32{uint32(s.last.high >> 32), uint32(s.last.high), uint32(s.last.low >> 32), uint32(s.last.low)}
	alike := true
	for i := range w {
		w[i] = interval{last: math.MaxUint32}
		if alike {
			w[i] = interval{first[i], last[i]}
			alike = first[i] == last[i]
		}
	}
	return w
}

// around returns the smallest box around all.
func around(all [][4]interval) (w [4]interval) {
	w = all[0]
	for _, one := range all[1:] {
		for i := range w {
			w[i] = interval{min(w[i].first, one[i].first), max(w[i].last, one[i].last)}
		}
	}
	return w
}

// portsIn returns the port numbers of a list.
func (s *Set) portsIn(l list) []interval {
	if l.any() {
		return []interval{{0, math.MaxUint16}}
	}
	var all []interval
	for _, p := range s.ports[l.start:l.end] {
		all = append(all, interval{uint32(p.first), uint32(p.last)})
	}
	return all
}

// hull returns the smallest interval around all.
func hull(all []interval) interval {
	h := all[0]
	for _, i := range all[1:] {
		h = interval{min(h.first, i.first), max(h.last, i.last)}
	}
	return h
}

// hullOf returns the smallest interval around a set of numbers, of which each word holds
// 64, and whether it holds nothing else.
func hullOf(set []uint64) (h interval, exact bool) {
	h, n := interval{math.MaxUint32, 0}, 0
	for i, word := range set {
		if word == 0 {
			continue
		}
		h.first = min(h.first, uint32(i*64+bits.TrailingZeros64(word)))
		h.last = uint32(i*64 + bits.Len64(word) - 1)
		n += bits.OnesCount64(word)
	}
	return h, n > 0 && uint32(n) == h.last-h.first+1
}

// logicalPorts is hullOf for a set of logical ports, of which the empty one holds all.
func logicalPorts(set portSet) (h interval, exact bool) {
	if set == 0 {
		return interval{0, math.MaxUint8}, true
	}
	return hullOf([]uint64{uint64(set)})
}
