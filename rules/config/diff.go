package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Difference is how an object of one policy differs from that of another. The zero value is
// illegal.
type Difference uint8

// The differences.
const (
	Added Difference = iota + 1
	Removed
	Changed  // it means something else
	Reworded // another label, log or on_change: it admits what it did
	Moved    // it is the same, and stands elsewhere among those that both policies have
)

// String returns the difference in a word.
func (d Difference) String() string {
	return [...]string{"unset", "added", "removed", "changed", "reworded", "moved"}[d]
}

// Change is one difference between two policies.
type Change struct {
	What Difference
	Kind string   // rule, nat, route, table, limit, defaults, timeouts
	Name string   // its id or name; of what has none its place in the list, from 1
	Pos  Position // in the new policy; of what was removed in the old one
}

// String returns the change as `plan` prints it.
func (c Change) String() string {
	return fmt.Sprintf("%v: %s %s %v", c.Pos, c.Kind, c.Name, c.What)
}

// Diff returns what a policy changes of another: first of the rules, then of all else that a
// reload can change, each in the order of the new policy with what is gone behind. It looks
// at what is meant and not at how it is written. It is pure.
func Diff(before, after *Policy) (all []Change) {
	all = diffList(all, rulesOf(before), rulesOf(after))
	all = diffList(all, natOf(before), natOf(after))
	all = diffList(all, listOf("route", before.Routes), listOf("route", after.Routes))
	all = diffList(all, tablesOf(before), tablesOf(after))
	all = diffList(all, limitsOf(before), limitsOf(after))
	for _, part := range []struct {
		kind string
		a, b any
	}{
		{"defaults", [3]any{before.Defaults.Action, before.Defaults.Reject, before.Defaults.Log}, [3]any{after.Defaults.Action, after.Defaults.Reject, after.Defaults.Log}},
		{"timeouts", before.Timeouts, after.Timeouts},
	} {
		if !same(part.a, part.b) {
			all = append(all, Change{What: Changed, Kind: part.kind, Name: "of the policy", Pos: Position{File: after.File, Line: 1, Column: 1}})
		}
	}
	return all
}

// item is an object as Diff sees it.
type item struct {
	kind, name string
	pos        Position
	meaning    []byte // canonical; nil: it is a rule
	rule       *Rule
	of         *Policy // of a rule
}

// means reports whether two items mean the same.
func (x *item) means(y *item) bool {
	if x.rule == nil {
		return bytes.Equal(x.meaning, y.meaning)
	}
	if !x.rule.meansAs(y.rule) {
		return false
	}
	// A limit that has a name is part of what its rules mean.
	name := x.rule.Limit.V
	return name == "" || x.of.limit(name).limitsAs(y.of.limit(name))
}

// worded reports whether the rest of two items is the same too.
func (x *item) worded(y *item) bool {
	return x.rule == nil || x.rule.wordsAs(y.rule) && x.of.OnChangeOf(x.rule) == y.of.OnChangeOf(y.rule)
}

func rulesOf(p *Policy) []item {
	all := make([]item, len(p.Rules))
	for i := range p.Rules {
		r := &p.Rules[i]
		all[i] = item{kind: "rule", name: r.ID.V, pos: r.Pos, rule: r, of: p}
	}
	return all
}

func natOf(p *Policy) []item {
	all := listOf("nat", p.NAT)
	for i := range all {
		all[i].pos = p.NAT[i].Pos
	}
	return all
}

// listOf makes items of what has no names. They are known by what they mean: a change is one
// that goes and one that comes.
func listOf[T any](kind string, list []T) []item {
	all := make([]item, len(list))
	for i := range list {
		all[i] = item{kind: kind, name: fmt.Sprint(i + 1), meaning: canonical(list[i])}
	}
	return all
}

func tablesOf(p *Policy) []item {
	all := make([]item, len(p.Tables))
	for i := range p.Tables {
		t := &p.Tables[i]
		all[i] = item{kind: "table", name: t.Name.V, pos: t.Name.Pos, meaning: canonical(t)}
	}
	return all
}

func limitsOf(p *Policy) []item {
	all := make([]item, len(p.Limits))
	for i := range p.Limits {
		l := &p.Limits[i]
		all[i] = item{kind: "limit", name: l.Name.V, pos: l.Name.Pos, meaning: canonical(l)}
	}
	return all
}

// canonical is what an object means, without positions.
func canonical(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("config: an object without canonical form: %v", err)) // plain data always has one
	}
	return b
}

func same(a, b any) bool { return bytes.Equal(canonical(a), canonical(b)) }

// key is what an item is known by in both policies.
func (x *item) key() string {
	switch x.kind {
	case "nat", "route":
		return string(x.meaning)
	}
	return x.name
}

// diffList compares two lists of one kind.
func diffList(all []Change, before, after []item) []Change {
	stood := placesOf(before, after)
	var common []int // of what both have, in the order of after: where it stood
	for _, at := range stood {
		if at >= 0 {
			common = append(common, at)
		}
	}
	stays := longestRise(common)
	stay := make([]bool, len(before)) // what is still there
	for i := range after {
		x := &after[i]
		c := Change{Kind: x.kind, Name: x.name, Pos: x.pos}
		if stood[i] < 0 {
			c.What = Added
			all = append(all, c)
			continue
		}
		old, moved := &before[stood[i]], !stays[0]
		stays, stay[stood[i]] = stays[1:], true
		switch {
		case !old.means(x):
			c.What = Changed
		case moved:
			c.What = Moved
		case !old.worded(x):
			c.What = Reworded
		default:
			continue
		}
		all = append(all, c)
	}
	for i := range before {
		if x := &before[i]; !stay[i] {
			all = append(all, Change{Removed, x.kind, x.name, x.pos})
		}
	}
	return all
}

// placesOf returns for each of after's items where it stood, -1 where it is new. Of those
// that are known by one key, which only objects without names can be, the first is the first.
func placesOf(before, after []item) []int {
	stood := make([]int, len(after))
	same := 0 // how many items at the head have the same keys: mostly all, and they need no index
	for same < min(len(before), len(after)) && before[same].key() == after[same].key() {
		stood[same] = same
		same++
	}
	was := make(map[string]int, len(before)-same) // the first that is left of a key, and one more
	next := make([]int, len(before))              // and the one behind it
	for i := len(before) - 1; i >= same; i-- {
		key := before[i].key()
		next[i], was[key] = was[key], i+1
	}
	for i := same; i < len(after); i++ {
		key := after[i].key()
		at := was[key]
		if stood[i] = at - 1; at > 0 {
			was[key] = next[at-1]
		}
	}
	return stood
}

// longestRise marks the numbers of a longest rising subsequence: what stays where it is when
// the fewest are moved. Patience sorting, n log n.
func longestRise(list []int) []bool {
	var ends []int // ends[k]: index of the least number that ends a rise of k+1
	before := make([]int, len(list))
	for i, v := range list {
		k, _ := slices.BinarySearchFunc(ends, v, func(j, v int) int { return list[j] - v })
		before[i] = -1
		if k > 0 {
			before[i] = ends[k-1]
		}
		if k == len(ends) {
			ends = append(ends, i)
		} else {
			ends[k] = i
		}
	}
	marked := make([]bool, len(list))
	if len(ends) > 0 {
		for i := ends[len(ends)-1]; i >= 0; i = before[i] {
			marked[i] = true
		}
	}
	return marked
}
