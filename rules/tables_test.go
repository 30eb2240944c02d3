package rules

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/packet"
	"holdfast/rules/config"
	"holdfast/rules/table"
)

// drawn is a table of a property test, with what it holds.
type drawn struct {
	table.Plan
	elements []string // as a rule writes the same addresses
}

// drawTables draws a table of written entries, the entries of one that commands fill, and an
// empty one. Their entries do not exclude each other, so a rule can write them out.
func drawTables(rt *rapid.T, from []string) (all [3]drawn) {
	for i, name := range []string{"still", "moving", "empty"} {
		all[i].Plan = table.Plan{Name: name, Max: 100}
		if name == "empty" {
			continue
		}
		for _, s := range rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, 4, rapid.ID[string]).Draw(rt, name) {
			if s[0] == '!' {
				continue
			}
			entries, err := config.ParseTable("t", []byte(s))
			if err != nil {
				rt.Fatal(err)
			}
			all[i].elements = append(all[i].elements, s)
			for _, prefix := range config.Prefixes(entries[0].V.First, entries[0].V.Last) {
				all[i].Written = append(all[i].Written, table.WrittenEntry{Prefix: prefix})
			}
		}
	}
	return all
}

// nobody is an address that no packet of the tests has, in place of a table that holds none.
const nobody = "198.18.7.7"

// writeOut writes the table's addresses into rules in its place.
func (d *drawn) writeOut(rules, name string) string {
	with, without := []string{}, []string{}
	for _, e := range append(d.elements, nobody) {
		with, without = append(with, `"`+e+`"`), append(without, `"!`+e+`"`)
	}
	rules = strings.ReplaceAll(rules, `"<`+name+`>"`, strings.Join(with, ", "))
	return strings.ReplaceAll(rules, `"!<`+name+`>"`, strings.Join(without, ", "))
}

// bound compiles a policy and makes its tables.
func bound(t *testing.T, text string) (*Set, *table.Tables) {
	t.Helper()
	p, s := compiled(t, text)
	tables, err := table.New(Tables(p), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, tables
}

// TestTables asks tables in both senses, together with what lists say besides, as they change.
func TestTables(t *testing.T) {
	text := head + `
[tables.friends]
addresses = ["10.0.0.0/24", "!10.0.0.66", "2001:db8::/32"]
[tables.foes]
timeout = "1h"
max = 5
[[rules]]
id = "foes"
action = "block"
from = "<foes>"
[[rules]]
id = "friends"
action = "pass"
from = ["<friends>", "192.0.2.1", "!10.0.0.99"]
to = ["!<foes>", "!203.0.113.66"]
[[rules]]
id = "open"
action = "pass"
from = "<stray>"
to = "<friends>"
`
	for range fewMax {
		text += strings.Replace("[[rules]]\nid = \"fill-N\"\naction = \"block\"\nproto = \"gre\"\n", "N", string(rune('a'+strings.Count(text, "fill"))), 1)
	}
	s, tables := bound(t, text)
	if s.deciders == nil {
		t.Fatal("no classifier")
	}
	now := int64(1000)
	verdict := func(from, to string) string {
		t.Helper()
		k := packet.Tuple{Src: address(from), Dst: address(to), Proto: packet.TCP, SrcPort: 1, DstPort: 80}
		if err := same(s, &k, lan, wan, nil, tables); err != nil {
			t.Error(err)
		}
		v := s.Match(&k, lan, wan, nil, tables)
		s.Count(v.Rule, &k, tables, now)
		return s.Rules()[v.Rule].ID
	}
	want := func(from, to, want string) {
		t.Helper()
		if got := verdict(from, to); got != want {
			t.Errorf("%s to %s: %s, want %s", from, to, got, want)
		}
	}
	foes, stray := tables.ByName("foes"), tables.ByName("stray")
	want("10.0.0.1", "203.0.113.9", "friends")
	want("10.0.0.66", "203.0.113.9", "default") // the table excludes it
	want("10.0.0.99", "203.0.113.9", "default") // the rule excludes it
	want("192.0.2.1", "203.0.113.9", "friends") // the rule includes it
	want("10.0.0.1", "203.0.113.66", "default")
	want("2001:db8::1", "2001:db9::1", "friends")
	add := func(x *table.Table, s string) {
		t.Helper()
		a := address(s)
		if out := x.Add(&a, now, table.Default, table.Cause{Kind: table.Command}); out != table.Added {
			t.Fatal(out)
		}
	}
	add(foes, "203.0.113.9")
	want("10.0.0.1", "203.0.113.9", "default")
	add(foes, "10.0.0.1")
	want("10.0.0.1", "203.0.113.8", "foes")
	foes.Flush()
	want("10.0.0.1", "203.0.113.9", "friends")
	want("8.8.8.8", "10.0.0.5", "default")
	add(stray, "8.8.8.8")
	want("8.8.8.8", "10.0.0.5", "open")
	want("8.8.8.8", "10.0.0.66", "default")
	add(tables.ByName("friends"), "172.16.0.1")
	want("172.16.0.1", "203.0.113.9", "friends")

	now = 2000
	want("8.8.8.8", "10.0.0.5", "open")
	if e, _ := stray.Find(netip.MustParseAddr("8.8.8.8")); e.Matches != 2 || e.Last != 2000 {
		t.Errorf("counted %+v", e)
	}
	if e, _ := tables.ByName("friends").Find(netip.MustParseAddr("10.0.0.7")); e.Matches != 4 { // as a source twice, as a destination twice
		t.Errorf("counted %+v", e)
	}

	k := packet.Tuple{Src: address("10.0.0.99"), Dst: address("203.0.113.9"), Proto: packet.TCP}
	_, steps := s.Explain(&k, lan, wan, nil, tables)
	fields := []Field{steps[0].Differs, steps[1].Differs, steps[2].Differs}
	if !slices.Equal(fields, []Field{FieldFrom, FieldFrom, FieldTo}) {
		t.Errorf("it differs in %v", fields)
	}
	if n := testing.AllocsPerRun(100, func() {
		v := s.Match(&k, lan, wan, nil, tables)
		s.MatchEach(&k, lan, wan, nil, tables)
		s.Count(v.Rule, &k, tables, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if v := s.Match(&k, lan, wan, nil, nil); !s.Default(&v) {
		t.Errorf("without tables: %+v", v)
	}
}

// TestTablesOneAnswer: all rules see one table, though it changes while they are asked.
func TestTablesOneAnswer(t *testing.T) {
	s, tables := bound(t, head+`
[[rules]]
id = "in"
action = "block"
from = "<x>"
[[rules]]
id = "out"
action = "pass"
from = "!<x>"
`)
	k := packet.Tuple{Src: address("10.0.0.1"), Dst: address("203.0.113.9"), Proto: packet.TCP}
	q := query{src: numberOf(&k.Src), dst: numberOf(&k.Dst), tuple: &k, in: lan, out: wan, answers: &answers{tables: tables}}
	if f := s.differs(&s.rules[0], &q); f != FieldFrom {
		t.Fatalf("the empty table holds it: %v", f)
	}
	tables.At(0).Add(&k.Src, 1, table.Forever, table.Cause{Kind: table.Command}) // between two rules
	if f := s.differs(&s.rules[1], &q); f != FieldNone {
		t.Errorf("it was neither in the table nor out of it: %v", f)
	}
	if v := s.Match(&k, lan, wan, nil, tables); v.Action != Block || s.Default(&v) {
		t.Errorf("the next packet: %+v", v)
	}
}
