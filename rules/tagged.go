package rules

import "holdfast/rules/config"

// inOrder is Match where rules ask for tags, which match rules before them have set: a rule
// that matched may not match any more, or only now, so what the trees give is gone through in
// the order of the rules. That is matchEach without the rules that cannot match: a leaf holds
// all others, and a rule that comes up twice, because two of its boxes lie in one leaf, says
// the same again.
func (s *Set) inOrder(q *query) Verdict {
	family := familyOf(q)
	var p point
	p.set(q)
	var leaves [treesMax]cursor
	n := 0
	for _, c := range [...]*classifier{s.deciders, s.speakers} {
		if c == nil {
			continue
		}
		for _, t := range c.trees[family] {
			leaves[n] = cursor{c.entries, c.leaf(t.root, &p)}
			n++
		}
	}
	state := s.unsaid()
	for {
		var next *cursor
		for i := range leaves[:n] {
			if l := &leaves[i]; next == nil || l.rule() < next.rule() {
				next = l
			}
		}
		if next == nil || next.rule() == noRule {
			return s.unspoken(q, state.Log)
		}
		rule := next.rule()
		if next.entry().holds(&p, leafWord[family]) && s.differs(&s.rules[rule], q) == FieldNone {
			if s.says[rule].action != config.Match {
				return s.verdict(rule, state)
			}
			state.inherit(&s.says[rule])
			q.tag = state.Tag
		}
		next.step()
	}
}

// treesMax is how many trees a family has: four kinds of rules that decide, and of others.
const treesMax = 8

// cursor goes through a leaf.
type cursor struct {
	entries []entry
	at      uint32
}

func (c *cursor) entry() *entry { return &c.entries[c.at] }

func (c *cursor) rule() uint32 { return c.entries[c.at].rule }

// step goes on, at the end to the entry that all classifiers have for leaves without any.
func (c *cursor) step() {
	if c.entry().mark&markLast != 0 {
		c.at = 0
		return
	}
	c.at++
}
