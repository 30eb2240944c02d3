package rules

// The classifier finds the first rule that matches a packet without asking the others. It
// is a few decision trees over boxes: a rule is one or more boxes in a space whose
// dimensions are what a rule can look at, cut into words of 32 bits, and a node cuts one
// dimension into up to eight parts.
//
//	               to < 10.1.0.0 | to < 10.2.0.0 | ...            node: one cache line
//	              /                     |
//	to_port < 80 | < 443 | ...        leaf: rules 7, 12, 40       entries: 36 bytes each
//
// Rules that say little of an address would lie in every part of a cut along it, so there
// is in a set of many rules a tree for each of four kinds, by whether source and destination are narrow (as in
// EffiCuts: Vamanan, Voskuilen, Vijaykumar, SIGCOMM 2010), for each family. A tree whose
// first rule comes after one that has matched already is not looked at.
//
// A dozen rules or less are one leaf: its entries tell a packet's rule without a branch for
// each field, which is faster than asking the rules themselves.
//
// A box may hold more than its rule does: what a leaf gives is asked with Set.differs. That keeps the trees simple and the answer
// exactly that of asking one after the other, which is the twin they are tested against.
type classifier struct {
	nodes   []node
	entries []entry
	trees   [families][]tree // by the first rule in each
}

// Families of addresses, as trees are sorted by.
const (
	inIPv6 = iota
	inIPv4
	families
)

// The dimensions. Of an IPv4 address only the last word tells anything.
const (
	dimFrom     = 0 // four words, the first is the highest
	dimTo       = 4
	dimFromPort = 8
	dimToPort   = 9
	dimProto    = 10
	dimIn       = 11
	dimOut      = 12
	dimensions  = 13

	dimensionsRoom = 16 // a power of two, so that an index needs no check
)

// point is a packet as the trees see it.
type point [dimensionsRoom]uint32

// familyOf returns the family of a packet.
func familyOf(q *query) int {
	if q.src.is4() {
		return inIPv4
	}
	return inIPv6
}

// set makes p the point of a packet.
func (p *point) set(q *query) {
	p[dimFrom], p[dimFrom+1] = uint32(q.src.high>>32), uint32(q.src.high)
	p[dimFrom+2], p[dimFrom+3] = uint32(q.src.low>>32), uint32(q.src.low)
	p[dimTo], p[dimTo+1] = uint32(q.dst.high>>32), uint32(q.dst.high)
	p[dimTo+2], p[dimTo+3] = uint32(q.dst.low>>32), uint32(q.dst.low)
	p[dimFromPort], p[dimToPort], p[dimProto] = uint32(q.tuple.SrcPort), uint32(q.tuple.DstPort), uint32(q.tuple.Proto)
	p[dimIn], p[dimOut] = uint32(q.in), uint32(q.out)
}

// fanOut is into how many parts a node cuts at most.
const fanOut = 8

// node cuts one dimension. It is one cache line.
//
//	0                        28                            60    61  62  64
//	+------------------------+-----------------------------+-----+---+---+
//	| keys: 7                | parts: 8                    | dim | 0     |
//	+------------------------+-----------------------------+-----+---+---+
type node struct {
	keys  [fanOut - 1]uint32 // part i is below keys[i], and not below keys[i-1]
	parts [fanOut]ref        // behind the last key that is used all are alike
	dim   uint8
	_     [3]uint8
}

// ref is where the search goes on: a node, or with the high bit the first entry of a leaf.
type ref uint32

const refLeaf ref = 1 << 31

// entry is a rule in a leaf, with enough of its box to pass over it without a look at the
// rule itself. Entries of a leaf are in the order of the rules.
type entry struct {
	rule             uint32
	from, to         reach // of the word that leafWord names
	fromPort, toPort shortReach
	proto, in, out   byteReach
	mark             mark
	_                uint8
}

// A reach is an interval as its first number and how many lie behind that.
type reach struct{ first, more uint32 }

type shortReach struct{ first, more uint16 }

type byteReach struct{ first, more uint8 }

// outside returns 1 for a number outside the interval, else 0, without a branch.
func (r reach) outside(v uint32) uint64 { return (uint64(r.more) - uint64(v-r.first)) >> 63 }

func (r shortReach) outside(v uint16) uint64 { return (uint64(r.more) - uint64(v-r.first)) >> 63 }

func (r byteReach) outside(v uint8) uint64 { return (uint64(r.more) - uint64(v-r.first)) >> 63 }

// mark says what else there is to know of an entry.
type mark uint8

const (
	markLast  mark = 1 << iota // of its leaf
	markExact                  // it holds nothing that its rule does not
)

// leafWord is the word of an address that entries hold: the only one of IPv4; of IPv6 the
// second, where the networks of a site part.
var leafWord = [families]int{inIPv6: 1, inIPv4: 3}

// tree is where a search begins.
type tree struct {
	root  ref
	first uint32 // no rule of it comes before this one
}

// noRule ends a leaf without entries.
const noRule = ^uint32(0)

// first returns the first rule that matches, at most limit.
func (c *classifier) first(s *Set, q *query, limit uint32) uint32 {
	family := familyOf(q)
	var p point
	p.set(q)
	for _, t := range c.trees[family] {
		if t.first >= limit {
			break
		}
		limit = c.firstOf(t.root, s, q, &p, leafWord[family], limit)
	}
	return limit
}

// firstOf is first for one tree.
func (c *classifier) firstOf(at ref, s *Set, q *query, p *point, word int, limit uint32) uint32 {
	to, toPort := p[dimTo+word&3], uint16(p[dimToPort])
	leaf := c.entries[c.leaf(at, p):]
	for i := range leaf {
		e := &leaf[i]
		if e.rule >= limit {
			return limit
		}
		if e.leads(to, toPort) && e.suits(p, word) && (e.mark&markExact != 0 || s.differs(&s.rules[e.rule], q) == FieldNone) {
			return e.rule
		}
		if e.mark&markLast != 0 {
			break
		}
	}
	return limit
}

// part returns in which part of a node's cut a point lies: how many keys are not above its
// number, without a branch, a loop or an index to check.
func (n *node) part(p *point) uint64 {
	v, k := uint64(p[n.dim&(dimensionsRoom-1)]), &n.keys
	return (uint64(k[0])-v-1)>>63 + (uint64(k[1])-v-1)>>63 + (uint64(k[2])-v-1)>>63 + (uint64(k[3])-v-1)>>63 +
		(uint64(k[4])-v-1)>>63 + (uint64(k[5])-v-1)>>63 + (uint64(k[6])-v-1)>>63
}

// leaf returns the first entry of the leaf where a point lies.
func (c *classifier) leaf(at ref, p *point) uint32 {
	for at&refLeaf == 0 {
		n := &c.nodes[at]
		at = n.parts[n.part(p)%fanOut]
	}
	return uint32(at &^ refLeaf)
}

// leads reports whether a packet goes where those in the box do: nearly all of the others
// are told by that alone.
func (e *entry) leads(to uint32, toPort uint16) bool {
	return e.to.outside(to)|e.toPort.outside(toPort) == 0
}

// holds reports whether a point may lie in the box of an entry.
func (e *entry) holds(p *point, word int) bool {
	return e.leads(p[dimTo+word&3], uint16(p[dimToPort])) && e.suits(p, word)
}

// suits is the rest of holds.
func (e *entry) suits(p *point, word int) bool {
	return e.from.outside(p[dimFrom+word&3])|e.fromPort.outside(uint16(p[dimFromPort]))|
		e.proto.outside(uint8(p[dimProto]))|e.in.outside(uint8(p[dimIn]))|e.out.outside(uint8(p[dimOut])) == 0
}

// spoken adds what the match rules before limit say of a packet that they match.
func (c *classifier) spoken(s *Set, q *query, limit uint32, state *State) {
	family := familyOf(q)
	var p point
	p.set(q)
	var from [partsMax]uint32 // the rule, and one more, that each part is from: the last to speak of it counts
	for _, t := range c.trees[family] {
		if t.first >= limit {
			break
		}
		for i := c.leaf(t.root, &p); ; i++ {
			e := &c.entries[i]
			if e.rule >= limit {
				break
			}
			if e.holds(&p, leafWord[family]) && (e.mark&markExact != 0 || s.differs(&s.rules[e.rule], q) == FieldNone) {
				told := s.says[e.rule].spoken
				for i := range from {
					if told>>i&1 != 0 {
						if from[i] > e.rule {
							told &^= 1 << i
						} else {
							from[i] = e.rule + 1
						}
					}
				}
				state.take(&s.says[e.rule], told)
			}
			if e.mark&markLast != 0 {
				break
			}
		}
	}
}
