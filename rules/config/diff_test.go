package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// diffOf returns what a policy changes of another, as words.
func diffOf(t *testing.T, before, after string) (all []string) {
	t.Helper()
	const ports = "[ports.lan]\naddresses = [\"10.0.0.1/24\"]\n[ports.wan]\naddresses = [\"203.0.113.1/24\"]\n"
	var p [2]*Policy
	for i, text := range []string{before, after} {
		var err error
		if p[i], err = ParsePolicy("p", []byte(ports+text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range Diff(p[0], p[1]) {
		all = append(all, fmt.Sprint(c.What, " ", c.Kind, " ", c.Name))
	}
	return all
}

func rulesText(ids ...string) string {
	var b strings.Builder
	for _, id := range ids {
		id, more, _ := strings.Cut(id, "|")
		fmt.Fprintf(&b, "[[rules]]\nid = %q\naction = \"pass\"\nin = \"lan\"\n%s\n", id, more)
	}
	return b.String()
}

// TestDiff_Kinds has a row for each kind of difference of each kind of object.
func TestDiff_Kinds(t *testing.T) {
	const place = "[[rules]]\nsection = \"x\"\n"
	const section = "[[sections.x.rules]]\nid = \"s\"\naction = \"pass\"\n"
	const nat = "[[nat]]\nkind = \"masquerade\"\nfrom = [\"10.0.0.0/24\"]\nout = \"wan\"\n"
	for _, row := range []struct {
		before, after string
		want          []string
	}{
		{rulesText("a", "b"), "\n\n# the same\n" + rulesText("a", "b"), nil},
		{rulesText("a", "b"), rulesText("a", "c", "b"), []string{"added rule c"}},
		{rulesText("a", "b", "c"), rulesText("c"), []string{"removed rule a", "removed rule b"}},
		{rulesText("a", "b", "c", "d"), rulesText("d", "a", "b", "c"), []string{"moved rule d"}},
		{rulesText("a", "b"), rulesText("b|proto = \"tcp\"", "a"), []string{"changed rule b"}},
		{rulesText("a"), rulesText("a|label = \"x\""), []string{"reworded rule a"}},
		{rulesText("a"), rulesText("a|on_change = \"kill\""), []string{"reworded rule a"}},
		{rulesText("a"), rulesText("a|ip_options = false"), []string{"changed rule a"}},
		{rulesText("a"), rulesText("a|state = { mode = \"strict\" }"), []string{"changed rule a"}},
		{rulesText("a"), rulesText("a|log = false"), []string{"reworded rule a"}},
		{rulesText("a", "b", "c", "d"), rulesText("b", "e", "a", "d"), []string{"moved rule b", "added rule e", "removed rule c"}},
		{"[limits.l]\nconnections = 5\n" + rulesText("a|limit = \"l\""), "[limits.l]\nconnections = 6\n" + rulesText("a|limit = \"l\""), []string{"changed rule a", "changed limit l"}},
		{"[tables.t]\n" + rulesText("a|limit = {connections = 5}"), "[tables.t]\n" + rulesText("a|limit = {connections = 5}\noverload = \"t\""), []string{"changed rule a"}},
		{
			"[tables.t]\n" + rulesText("a|limit = {connections = 5}\noverload = \"t\"\nflush = \"rule\""),
			"[tables.t]\n" + rulesText("a|limit = {connections = 5}\noverload = \"t\"\nflush = \"all\""), []string{"changed rule a"},
		},
		{"[tables.t]\n", "[tables.u]\n", []string{"added table u", "removed table t"}},
		{"[timeouts]\nudp = \"31s\"\n", "", []string{"changed timeouts of the policy"}},
		{place + section, place + "proto = \"tcp\"\n" + section, []string{"changed rule s"}},
		{place + section, "# further down\n" + place + section, nil},
		{nat + nat, "", []string{"removed nat 1", "removed nat 2"}},
		{nat + nat, nat, []string{"removed nat 2"}},
		{"[[nat]]\nkind = \"masquerade\"\nfrom = [\"10.0.0.0/24\"]\nout = \"wan\"\n", "", []string{"removed nat 1"}},
	} {
		if got := diffOf(t, row.before, row.after); !slices.Equal(got, row.want) {
			t.Errorf("%q to %q: %q, want %q", row.before, row.after, got, row.want)
		}
	}
}

// TestDiff_FewestMove: the marked numbers rise, and no longer rise is possible.
func TestDiff_FewestMove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7}).Draw(t, "list")
		best := 0
		for set := range 1 << len(list) {
			last, n := -1, 0
			for i, v := range list {
				if set>>i&1 != 0 {
					if v < last {
						n = -len(list)
					}
					last = v
					n++
				}
			}
			best = max(best, n)
		}
		last, n := -1, 0
		for i, marked := range longestRise(list) {
			if marked {
				if list[i] < last {
					t.Fatalf("%v falls", list)
				}
				last = list[i]
				n++
			}
		}
		if n != best {
			t.Fatalf("%v: %d stay, %d could", list, n, best)
		}
	})
}
