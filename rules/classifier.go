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
// is a tree for each of four kinds, by whether source and destination are narrow (as in
// EffiCuts: Vamanan, Voskuilen, Vijaykumar, SIGCOMM 2010), for each family. A tree whose
// first rule comes after one that has matched already is not looked at.
//
// A box may hold more than its rule does: what a leaf gives is asked with Set.differs, as
// every rule is where there are only a few. That keeps the trees simple and the answer
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
)

// point is a packet as the trees see it.
type point [dimensions]uint32

// familyOf returns the family of a packet.
func familyOf(q *query) int {
	if q.tuple.Src.Is4() {
		return inIPv4
	}
	return inIPv6
}

// pointOf returns the point of a packet.
func pointOf(q *query) (p point) {
	p[dimFrom], p[dimFrom+1] = uint32(q.src.high>>32), uint32(q.src.high)
	p[dimFrom+2], p[dimFrom+3] = uint32(q.src.low>>32), uint32(q.src.low)
	p[dimTo], p[dimTo+1] = uint32(q.dst.high>>32), uint32(q.dst.high)
	p[dimTo+2], p[dimTo+3] = uint32(q.dst.low>>32), uint32(q.dst.low)
	p[dimFromPort], p[dimToPort], p[dimProto] = uint32(q.tuple.SrcPort), uint32(q.tuple.DstPort), uint32(q.tuple.Proto)
	p[dimIn], p[dimOut] = uint32(q.in), uint32(q.out)
	return p
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
	p := pointOf(q)
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
	for i := c.leaf(at, p); ; i++ {
		e := &c.entries[i]
		if e.rule >= limit {
			return limit
		}
		if e.holds(p, word) && (e.mark&markExact != 0 || s.differs(&s.rules[e.rule], q) == FieldNone) {
			return e.rule
		}
		if e.mark&markLast != 0 {
			return limit
		}
	}
}

// leaf returns the first entry of the leaf where a point lies.
func (c *classifier) leaf(at ref, p *point) uint32 {
	for at&refLeaf == 0 {
		n := &c.nodes[at]
		v, part := uint64(p[n.dim%dimensions]), uint64(0)
		for _, key := range n.keys { // key <= v, without a branch
			part += (uint64(key) - v - 1) >> 63
		}
		at = n.parts[part%fanOut]
	}
	return uint32(at &^ refLeaf)
}

// holds reports whether a point may lie in the box of an entry.
func (e *entry) holds(p *point, word int) bool {
	if e.to.outside(p[dimTo+word&3])|e.toPort.outside(uint16(p[dimToPort])) != 0 {
		return false // nearly all
	}
	return e.from.outside(p[dimFrom+word&3])|e.fromPort.outside(uint16(p[dimFromPort]))|
		e.proto.outside(uint8(p[dimProto]))|e.in.outside(uint8(p[dimIn]))|e.out.outside(uint8(p[dimOut])) == 0
}

// spoken adds what the match rules before limit say of a packet that they match.
func (c *classifier) spoken(s *Set, q *query, limit uint32, state *State) {
	family := familyOf(q)
	p := pointOf(q)
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
