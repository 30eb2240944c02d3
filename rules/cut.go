package rules

import (
	"cmp"
	"math"
	"slices"

	"holdfast/rules/config"
)

// The limits of the trees, by measurement (docs/benchmarks.md, row N5).
const (
	leafMax    = 8       // a leaf with as many rules is not cut
	fewMax     = 12      // nor is a tree with as many: going through them is as fast
	hidingMax  = 256     // boxes that others are looked for behind
	hidingWide = 8192    // likewise, of those that are wide in both addresses, once
	kindsMin   = 2048    // with fewer rules one tree is faster
	cutDepth   = 24      // nor is one so deep
	boxesMax   = 32      // of one rule; one with more lists is taken for larger than it is
	sampleMax  = 4096    // boxes that are looked at to choose where to cut
	narrowBits = 24      // an IPv4 range of 2^24 addresses is narrow, a larger one wide
	copiesMax  = 4       // a cut may not make more entries than so many times the boxes
	wideIPv6   = 1 << 28 // an IPv6 range is narrow if its first word spans no more
)

// gardener grows the trees of one classifier.
type gardener struct {
	c        *classifier
	boxes    []box
	deciding bool // every rule decides, so one may hide another

	// Room for what lives no longer than a call.
	edges  []uint32
	hiding []uint32
	sample []uint32
	parts  []uint32 // what lies in the parts that grow is in, the outermost first
}

// plant makes the classifiers of all rules.
func (s *Set) plant() {
	if len(s.rules) == 0 {
		return
	}
	s.deciders = s.classify(true)
	if slices.ContainsFunc(s.says, func(r says) bool { return r.action == config.Match }) {
		s.speakers = s.classify(false)
	}
}

// classify makes the trees of the rules that decide, or of those that do not.
func (s *Set) classify(deciding bool) *classifier {
	g := &gardener{c: &classifier{}, deciding: deciding}
	g.c.entries = append(g.c.entries, entry{rule: noRule, mark: markLast})
	many := len(s.rules) > kindsMin
	for family := range families {
		var sorted [4][]uint32 // by whether source and destination are narrow
		g.boxes = g.boxes[:0]
		for i := range s.rules {
			if (s.says[i].action != config.Match) != deciding {
				continue
			}
			first := len(g.boxes)
			g.boxes = s.addBoxes(g.boxes, uint32(i), family)
			for j := first; j < len(g.boxes); j++ {
				b, kind := &g.boxes[j], 0
				if many && narrow(b, dimFrom, family) {
					kind |= 1
				}
				if many && narrow(b, dimTo, family) {
					kind |= 2
				}
				sorted[kind] = append(sorted[kind], uint32(j))
			}
		}
		sorted[0] = g.unhidden(sorted[0], &space, hidingWide)
		for _, held := range sorted {
			if len(held) > 0 {
				root := g.grow(held, space, 0, leafWord[family])
				g.c.trees[family] = append(g.c.trees[family], tree{root: root, first: g.boxes[held[0]].rule})
			}
		}
		slices.SortFunc(g.c.trees[family], func(a, b tree) int { return cmp.Compare(a.first, b.first) })
	}
	return g.c
}

// grow makes a tree of boxes, which are in the order of their rules, within a region.
func (g *gardener) grow(held []uint32, region [dimensions]interval, depth, word int) ref {
	held = g.unhidden(held, &region, hidingMax)
	if len(held) <= leafMax || depth == cutDepth || depth == 0 && len(held) <= fewMax {
		return g.plant(held, word)
	}
	d, keys := g.choose(held, &region)
	if len(keys) == 0 {
		return g.plant(held, word)
	}
	at := ref(len(g.c.nodes))
	g.c.nodes = append(g.c.nodes, node{dim: uint8(d)})
	n := node{dim: uint8(d)}
	for i := range n.keys {
		n.keys[i] = math.MaxUint32
	}
	copy(n.keys[:], keys)
	whole := region[d]
	for i := range len(keys) + 1 {
		part := whole
		if i > 0 {
			part.first = keys[i-1]
		}
		if i < len(keys) {
			part.last = keys[i] - 1
		}
		region[d] = part
		outer := len(g.parts)
		for _, b := range held {
			if g.boxes[b].dims[d].overlaps(part) {
				g.parts = append(g.parts, b)
			}
		}
		child := g.grow(g.parts[outer:len(g.parts):len(g.parts)], region, depth+1, word)
		g.parts = g.parts[:outer]
		for j := i; j < fanOut; j++ {
			n.parts[j] = child
		}
	}
	g.c.nodes[at] = n
	return at
}

// unhidden returns the boxes that matter within a region: not those that an earlier rule
// that decides hides there. It gives up where many boxes hide nothing. The list is changed.
func (g *gardener) unhidden(held []uint32, region *[dimensions]interval, most int) []uint32 {
	if !g.deciding {
		return held
	}
	seen, hiding := held[:0], g.hiding[:0]
	apart := 0
	defer func() { g.hiding = hiding }()
	for n, i := range held {
		if len(hiding) > most {
			return append(seen, held[n:]...)
		}
		b := &g.boxes[i]
		hidden := false
		for _, j := range hiding {
			if hidden, apart = g.boxes[j].covers(b, region, apart); hidden {
				break
			}
		}
		if hidden {
			continue
		}
		seen = append(seen, i)
		if b.exact {
			hiding = append(hiding, i)
		}
	}
	return seen
}

// plant makes a leaf.
func (g *gardener) plant(held []uint32, word int) ref {
	start := len(g.c.entries)
	for _, b := range held {
		g.c.entries = append(g.c.entries, entryOf(&g.boxes[b], word))
	}
	if len(g.c.entries) == start {
		return refLeaf // entries[0]
	}
	g.c.entries[len(g.c.entries)-1].mark |= markLast
	return refLeaf | ref(start)
}

func entryOf(b *box, word int) entry {
	from, to := b.dims[dimFrom+word], b.dims[dimTo+word]
	short := func(d int) shortReach {
		return shortReach{uint16(b.dims[d].first), uint16(b.dims[d].last - b.dims[d].first)}
	}
	one := func(d int) byteReach {
		return byteReach{uint8(b.dims[d].first), uint8(b.dims[d].last - b.dims[d].first)}
	}
	e := entry{
		rule: b.rule, from: reach{from.first, from.last - from.first}, to: reach{to.first, to.last - to.first},
		fromPort: short(dimFromPort), toPort: short(dimToPort), proto: one(dimProto), in: one(dimIn), out: one(dimOut),
	}
	if b.exact {
		e.mark = markExact
	}
	return e
}

// choose returns the dimension to cut and where: the one whose fullest part has the
// fewest boxes, counting what lies in several. No keys: no cut is worth it.
func (g *gardener) choose(held []uint32, region *[dimensions]interval) (d int, keys []uint32) {
	step := (len(held) + sampleMax - 1) / sampleMax
	sample := held
	if step > 1 {
		sample = g.sample[:0]
		for i := 0; i < len(held); i += step {
			sample = append(sample, held[i])
		}
		g.sample = sample
	}
	best := float64(len(sample)) * 0.9
	for dim := range dimensions {
		cuts := g.cuts(sample, dim, region[dim])
		if len(cuts) == 0 {
			continue
		}
		fullest, total := g.weigh(sample, dim, cuts)
		if total > copiesMax*len(sample) {
			continue
		}
		if score := float64(fullest) + float64(total-len(sample))/fanOut; score < best {
			best, d, keys = score, dim, cuts
		}
	}
	return d, keys
}

// cuts returns up to seven values that divide the edges of boxes in one dimension evenly.
func (g *gardener) cuts(sample []uint32, d int, region interval) []uint32 {
	if region.first == region.last {
		return nil
	}
	edges := g.edges[:0]
	for _, b := range sample {
		i := &g.boxes[b].dims[d]
		if i.first > region.first && i.first <= region.last {
			edges = append(edges, i.first)
		}
		if i.last < region.last && i.last >= region.first {
			edges = append(edges, i.last+1)
		}
	}
	g.edges = edges
	if len(edges) == 0 {
		return nil
	}
	slices.Sort(edges)
	keys := make([]uint32, 0, fanOut)
	for _, e := range edges {
		if len(keys) == 0 || e > keys[len(keys)-1] {
			if keys = append(keys, e); len(keys) == fanOut {
				break
			}
		}
	}
	if len(keys) < fanOut {
		return keys // all that differ
	}
	keys = keys[:0]
	for i := 1; i < fanOut; i++ {
		if key := edges[i*len(edges)/fanOut]; len(keys) == 0 || key > keys[len(keys)-1] {
			keys = append(keys, key)
		}
	}
	return keys
}

// weigh returns how many boxes lie in the fullest part, and in all parts together.
func (g *gardener) weigh(sample []uint32, d int, keys []uint32) (fullest, total int) {
	var counts [fanOut]int
	for _, b := range sample {
		i := &g.boxes[b].dims[d]
		for part := range len(keys) + 1 {
			if (part == 0 || i.last >= keys[part-1]) && (part == len(keys) || i.first < keys[part]) {
				counts[part]++
			}
		}
	}
	for _, n := range counts {
		fullest, total = max(fullest, n), total+n
	}
	return fullest, total
}
