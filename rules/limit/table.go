package limit

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"

	"holdfast/dataplane/packet"
)

// SourcesMax is how many sources a Table counts at most.
const SourcesMax = 1 << 20

// shardsCount is how many parts lock for themselves.
const shardsCount = 64

// Table is the counts of all sources. Make it with New.
type Table struct {
	limits []compiled // by Number - 1
	rules  []Rule     // sorted by Number
	seed   maphash.Seed
	shards [shardsCount]shard
}

// New returns the counts for a plan, with room for so many sources: as many as there can be
// connections. A plan in which no rule has a limit gives nil, which limits nothing.
func New(p *Plan, sources uint32) (*Table, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	if len(p.Rules) == 0 {
		return nil, nil
	}
	t := &Table{seed: maphash.MakeSeed(), rules: slices.Clone(p.Rules)}
	for i := range p.Limits {
		t.limits = append(t.limits, compile(&p.Limits[i]))
	}
	slices.SortFunc(t.rules, func(a, b Rule) int { return cmp.Compare(a.Number, b.Number) })
	// The hash spreads sources evenly but for chance, against which each shard has room for
	// a half more than its share, and for 64 more where that is little.
	share := int(min(sources, SourcesMax))/shardsCount + 1
	share += max(share/2, 64)
	heads := 1 << bits.Len(uint(share))
	for i := range t.shards {
		s := &t.shards[i]
		s.seed, s.heads, s.all = t.seed, make([]uint32, heads), make([]source, share)
	}
	return t, nil
}

// limitOf returns what the plan says of a rule, and its limit; nil where it has none.
func (t *Table) limitOf(rule uint32) (*Rule, *compiled) {
	if t == nil {
		return nil, nil
	}
	low, high := 0, len(t.rules)
	for low < high {
		if middle := int(uint(low+high) / 2); t.rules[middle].Number < rule {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == len(t.rules) || t.rules[low].Number != rule {
		return nil, nil
	}
	r := &t.rules[low]
	return r, &t.limits[r.Limit-1]
}

// shardOf returns the part of a hash, locked. The chain is told by other bits.
func (t *Table) shardOf(h uint64) *shard {
	s := &t.shards[h>>58]
	s.mu.Lock()
	return s
}

// judge says whether one more connection is within the limit. x may be nil.
func (c *compiled) judge(x *source, now int64) Verdict {
	switch {
	case x == nil:
		return Within
	case x.connections >= c.connections:
		return TooMany
	case c.rate.Count == 0:
		return Within
	}
	x.bucket.refill(&c.rate, now)
	if !x.bucket.has(&c.rate) {
		return TooFast
	}
	return Within
}

// Ask says whether a connection that a rule admits may begin, at now (ns). Nothing is
// counted: that is for Enter, when its source has proved itself. Where the rule has an
// Overload all may begin: what its first packet says of its source would not be enough for
// that, so whether there are too many is for Enter to say too.
func (t *Table) Ask(rule uint32, src *packet.Addr, now int64) Verdict {
	r, c := t.limitOf(rule)
	if c == nil || r.Overload.Table != "" {
		return Within
	}
	k := c.keyOf(r.Limit, src)
	h := hash(t.seed, &k)
	s := t.shardOf(h)
	defer s.mu.Unlock()
	return c.judge(s.findLocked(h, &k), now)
}

// Admit is Ask that counts a connection that it lets begin. What does not begin after all is
// given back by Undo, what did, when it ends, by Leave.
func (t *Table) Admit(rule uint32, src *packet.Addr, now int64) Verdict {
	r, c := t.limitOf(rule)
	if c == nil {
		return Within
	}
	k := c.keyOf(r.Limit, src)
	h := hash(t.seed, &k)
	s := t.shardOf(h)
	defer s.mu.Unlock()
	x := s.findLocked(h, &k)
	if v := c.judge(x, now); v != Within {
		return v
	}
	if x = s.needLocked(h, &k); x == nil {
		return NoRoom
	}
	s.countLocked(h, x, 1)
	c.spend(x, now)
	return Within
}

// Enter counts a connection that is there whatever the limit says, and says whether it is
// within it. One that is not takes no part of the rate; if the caller ends it, its Leave
// follows as for every other.
func (t *Table) Enter(rule uint32, src *packet.Addr, now int64) Verdict {
	r, c := t.limitOf(rule)
	if c == nil {
		return Within
	}
	k := c.keyOf(r.Limit, src)
	h := hash(t.seed, &k)
	s := t.shardOf(h)
	defer s.mu.Unlock()
	x := s.findLocked(h, &k)
	v := c.judge(x, now)
	if x = s.needLocked(h, &k); x == nil {
		s.uncounted++
		return NoRoom
	}
	if v == Within {
		c.spend(x, now)
	}
	s.countLocked(h, x, 1)
	return v
}

// Leave uncounts a connection that Admit or Enter has counted.
func (t *Table) Leave(rule uint32, src *packet.Addr) { t.leave(rule, src, false) }

// Undo uncounts a connection that Admit has let begin and that did not, rate and all.
func (t *Table) Undo(rule uint32, src *packet.Addr) { t.leave(rule, src, true) }

func (t *Table) leave(rule uint32, src *packet.Addr, refund bool) {
	r, c := t.limitOf(rule)
	if c == nil {
		return
	}
	k := c.keyOf(r.Limit, src)
	h := hash(t.seed, &k)
	s := t.shardOf(h)
	defer s.mu.Unlock()
	x := s.findLocked(h, &k)
	if x == nil && s.uncounted <= 0 {
		x = s.needLocked(h, &k) // its Enter comes late
	}
	if x == nil {
		s.uncounted--
		return
	}
	if refund {
		x.bucket.put(&c.rate)
	}
	s.countLocked(h, x, -1)
}

// spend takes one connection off a source's rate.
func (c *compiled) spend(x *source, now int64) {
	if c.rate.Count != 0 {
		x.bucket.refill(&c.rate, now)
		x.bucket.take(&c.rate)
	}
}

// Sources returns how many sources are known.
func (t *Table) Sources() (n int) {
	if t == nil {
		return 0
	}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += s.live
		s.mu.Unlock()
	}
	return n
}
