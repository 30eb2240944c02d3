package rules

import (
	"cmp"
	"slices"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/rules/config"
	"holdfast/rules/table"
)

// Set is a compiled filter. The zero value blocks everything.
type Set struct {
	rules      []rule
	says       []says     // of each rule, apart from what it wants: one in 100,000 is looked at
	addresses  []span     // of all rules, each rule's lists beside each other
	ports      []portSpan // likewise
	asks       []asks     // of the rules that ask tables
	listed     []Rule     // in the order of the policy, the default behind them
	byNumber   []uint32   // indices into listed, sorted by Rule.Number
	timeouts   []*conntrack.Timeouts
	conditions []conditions    // of the rules that have some
	tags       []string        // by number, from 1
	places     []place         // of sections, the outer before the inner
	otherwise  Action          // of what no rule matches
	answer     config.Answer   // to that, if it is rejected
	deciders   *classifier     // of the rules that decide; nil: there are no rules
	speakers   *classifier     // of the match rules; nil: there are none, or deciders is nil
	picksUp    bool            // some rule admits connections in mid-stream
	proxies    bool            // some rule has the firewall answer SYNs
	synProxy   config.SynProxy // of rules that do not say
	asksTags   bool            // some rule matches by what match rules before it have set
	log        config.Log      // of what no rule matches, where match rules have no say in it
	logSpoken  bool            // the policy says what of that is logged
	logsAhead  bool            // match rules say what is logged, and may say it of that
}

// rule is what a rule wants of a packet, in the order in which it is compared: what is
// cheap and tells most apart stands first.
type rule struct {
	in, out    portSet // empty: any
	protos     [4]uint64
	toPorts    list // into Set.ports
	fromPorts  list
	to, from   list   // into Set.addresses
	conditions uint32 // into Set.conditions, and one more; 0: it has none
	asks       uint32 // into Set.asks, and one more; 0: it asks no table
}

// says is what a rule says of a packet that matches.
type says struct {
	verdict Verdict // of a rule that decides, where no match rule has spoken before; of one that does not its State alone
	action  config.Action
	answer  config.Answer // of a rule that decides, should it reject
	spoken  part          // of the verdict's State; the rest is inherited
}

// part is a set of State's fields.
type part uint8

const (
	partSync part = 1 << iota
	partMode
	partPickUp
	partTimeouts
	partTag
	partLog
	partSynProxy
)

// partsMax is how many parts there can be.
const partsMax = 8

// inherit takes the parts that a rule speaks of over from it.
func (s *State) inherit(r *says) { s.take(r, r.spoken) }

// take takes some of them over.
func (s *State) take(r *says, parts part) {
	if parts == 0 {
		return
	}
	if parts&partSync != 0 {
		s.Sync = r.verdict.Sync
	}
	if parts&partMode != 0 {
		s.Mode = r.verdict.Mode
	}
	if parts&partPickUp != 0 {
		s.PickUp = r.verdict.PickUp
	}
	if parts&partTimeouts != 0 {
		s.Timeouts = r.verdict.Timeouts
	}
	if parts&partTag != 0 {
		s.Tag = r.verdict.Tag
	}
	if parts&partLog != 0 {
		s.Log = r.verdict.Log
	}
	if parts&partSynProxy != 0 {
		s.SynProxy = r.verdict.SynProxy
	}
}

// portSet is a set of logical ports, one bit each.
type portSet uint64

// holds reports whether the set is empty, or has id. A shift by packet.NoPort gives no
// bit, so packets that come from nowhere match only the empty set.
func (s portSet) holds(id packet.PortID) bool { return s == 0 || s>>id&1 != 0 }

// list is a part of one of the Set's slices; one whose end lies before its start holds
// everything.
type list struct{ start, end uint32 }

var anyList = list{start: 1}

func (l list) any() bool { return l.end < l.start }

// portSpan is port numbers, or an ICMP query's type and code as packet.Tuple has them.
type portSpan struct{ first, last uint16 }

// query is a packet as rules compare it.
type query struct {
	src, dst number
	tuple    *packet.Tuple
	facts    *Facts // nil: not known any more
	in, out  packet.PortID
	answers  *answers // nil: no rule asks tables
	tag      uint8    // what match rules have set so far
}

// queryOf puts a packet into the form in which rules compare it.
func queryOf(t *packet.Tuple, in, out packet.PortID, facts *Facts) query {
	return query{src: numberOf(&t.Src), dst: numberOf(&t.Dst), tuple: t, facts: facts, in: in, out: out}
}

// Rule is a rule as listings name it.
type Rule struct {
	ID     string
	Number uint32 // made from the ID alone, so the same on every node; 0 is the default
	Action config.Action
	Labels []string // with placeholders
	Pos    config.Position
}

// Len returns how many rules there are, without the default.
func (s *Set) Len() int { return len(s.rules) }

// Rules returns the rules in order and the default, whose index is Len, behind them. The
// caller must not change them.
func (s *Set) Rules() []Rule { return s.listed }

// Timeouts returns the sets of timeouts by Verdict.Timeouts: the policy's own first, and at
// most conntrack.TimeoutSetsMax. The caller must not change them. Of a Set that follows
// another (CompileAfter) some may be of no rule, but of connections that live on.
func (s *Set) Timeouts() []*conntrack.Timeouts { return s.timeouts }

// PicksUp reports whether any rule admits connections in mid-stream. Where none does, the
// path need not ask about packets that begin none.
func (s *Set) PicksUp() bool { return s.picksUp }

// Proxies reports whether any rule has the firewall answer SYNs. Where none does, the path
// need not look for cookies.
func (s *Set) Proxies() bool { return s.proxies }

// ByNumber returns the rule of a number.
func (s *Set) ByNumber(n uint32) (Rule, bool) {
	i, ok := slices.BinarySearchFunc(s.byNumber, n, func(index, n uint32) int {
		return cmp.Compare(s.listed[index].Number, n)
	})
	if !ok {
		return Rule{}, false
	}
	return s.listed[s.byNumber[i]], true
}

// Match says what becomes of the first packet of a connection, which came in by one
// logical port and would leave by the other; packet.Self stands for the node itself, see
// self.go. facts are what the packet itself said, nil where it is gone. The tables are those
// that Tables planned for the same policy; nil ones hold nothing. It does not allocate.
func (s *Set) Match(t *packet.Tuple, in, out packet.PortID, facts *Facts, tables *table.Tables) (v Verdict) {
	if len(s.asks) != 0 {
		s.matchAsking(t, in, out, facts, tables, &v)
		return v
	}
	var q query // filled where it lies: a copy of what has just been written waits for the processor's stores
	q.src, q.dst, q.tuple, q.facts, q.in, q.out = numberOf(&t.Src), numberOf(&t.Dst), t, facts, in, out
	s.match(&q, &v)
	return v
}

// matchAsking is Match for a Set that asks tables. It is apart for the room that answers take.
//
//go:noinline
func (s *Set) matchAsking(t *packet.Tuple, in, out packet.PortID, facts *Facts, tables *table.Tables, v *Verdict) {
	q := queryOf(t, in, out, facts)
	q.answers = &answers{tables: tables}
	s.match(&q, v)
}

// match writes what a verdict is to where it is wanted: copied twice it costs as much as
// finding it among ten rules.
func (s *Set) match(q *query, v *Verdict) {
	switch {
	case s.deciders == nil || q.src.is4() != q.dst.is4():
		*v = s.matchEach(q)
		return
	case s.asksTags:
		*v = s.inOrder(q)
		return
	}
	none := uint32(len(s.rules))
	decider := s.deciders.first(s, q, none)
	switch {
	case decider == none:
		var state State
		if s.speakers != nil && s.logsAhead && !s.logSpoken {
			s.speakers.spoken(s, q, none, &state)
		}
		*v = s.unspoken(q, state.Log)
	case s.speakers == nil:
		*v = s.says[decider].verdict
	default:
		state := s.unsaid()
		s.speakers.spoken(s, q, decider, &state)
		*v = s.verdict(decider, state)
	}
}

// MatchEach is Match, but asks one rule after the other: what the classifier is held
// against, in tests and in the benchmark.
func (s *Set) MatchEach(t *packet.Tuple, in, out packet.PortID, facts *Facts, tables *table.Tables) Verdict {
	q := queryOf(t, in, out, facts)
	q.answers = &answers{tables: tables}
	return s.matchEach(&q)
}

// matchEach is Match without the classifier.
func (s *Set) matchEach(q *query) Verdict {
	state := s.unsaid()
	for i := range s.rules {
		r := &s.rules[i]
		if s.differs(r, q) != FieldNone {
			continue
		}
		if s.says[i].action != config.Match {
			return s.verdict(uint32(i), state)
		}
		state.inherit(&s.says[i])
		q.tag = state.Tag
	}
	return s.unspoken(q, state.Log)
}

// unsaid is what holds of a connection before any rule has spoken.
func (s *Set) unsaid() State { return State{SynProxy: s.synProxy} }

// verdict is what a rule decides, after what the match rules before it have said.
func (s *Set) verdict(rule uint32, state State) Verdict {
	says := &s.says[rule]
	state.inherit(says)
	v := says.verdict
	v.State = state
	return v
}

// actions translates what decides.
var actions = [...]Action{config.Pass: Pass, config.Block: Block, config.Reject: Reject}

// differs returns the first field in which a packet is not what the rule wants.
func (s *Set) differs(r *rule, q *query) Field {
	proto := q.tuple.Proto
	switch {
	case !r.in.holds(q.in):
		return FieldIn
	case !r.out.holds(q.out):
		return FieldOut
	case r.protos[proto>>6]>>(proto&63)&1 == 0:
		return FieldProto
	case !r.toPorts.any() && !holdsPort(s.ports[r.toPorts.start:r.toPorts.end], q.tuple.DstPort):
		return FieldToPort
	case !r.fromPorts.any() && !holdsPort(s.ports[r.fromPorts.start:r.fromPorts.end], q.tuple.SrcPort):
		return FieldFromPort
	case !r.to.any() && !holdsAddress(s.addresses[r.to.start:r.to.end], q.dst):
		return FieldTo
	case !r.from.any() && !holdsAddress(s.addresses[r.from.start:r.from.end], q.src):
		return FieldFrom
	case r.conditions|r.asks != 0:
		return s.differsFurther(r, q)
	}
	return FieldNone
}

// differsFurther is differs for what few rules have.
func (s *Set) differsFurther(r *rule, q *query) Field {
	if r.conditions != 0 {
		c := &s.conditions[r.conditions-1]
		if f := c.differs(q); f != FieldNone {
			return f
		}
		if c.within != 0 && !s.reaches(c.within, q) {
			return FieldSection
		}
	}
	if r.asks != 0 {
		return s.asks[r.asks-1].differs(q)
	}
	return FieldNone
}

func holdsPort(spans []portSpan, n uint16) bool {
	for _, s := range spans {
		if n >= s.first && n <= s.last {
			return true
		}
	}
	return false
}

// holdsAddress looks for n by halving: spans are sorted and disjoint.
func holdsAddress(spans []span, n number) bool {
	for len(spans) > 0 {
		middle := len(spans) / 2
		switch s := &spans[middle]; {
		case n.less(s.first):
			spans = spans[:middle]
		case s.last.less(n):
			spans = spans[middle+1:]
		default:
			return true
		}
	}
	return false
}
