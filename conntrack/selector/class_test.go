package selector

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// TestOfClass reads as: the selector, and whether the class alone decides.
func TestOfClass(t *testing.T) {
	for _, row := range []struct {
		text string
		want bool
	}{
		{"all", true},
		{"rule=web-out", true},
		{"gateway=isp1", true},
		{"port=wan gateway=isp1 rule=default", true},
		{"label=web", true},
		{"label=lan-wan", true},
		{"label=web gateway=isp1", true},
		{"label=tcp/443", false},           // {proto}/{port}
		{"label=10.0.0.7>10.0.0.9", false}, // {src}>{dst}
		{"label=a/b", false},               // it might be filled in to that, for all that is known here
		{"label={src}>{dst}", true},        // the file's own words: every connection of the rule has them
		{"label=nobody", true},
		{"proto=tcp", false},
		{"gateway=isp1 proto=tcp", false},
		{"state=established", false},
		{"node=fw-a", false},
		{"id=000000000001002a", false},
		{"max-idle=1s", false},
	} {
		s, err := ParseText(row.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.OfClass(names); got != row.want {
			t.Errorf("%s: of class %v", row.text, got)
		}
	}
	if s, _ := ParseText("label=web"); s.OfClass(nil) || s.OfClass(&Names{}) {
		t.Error("a label that nobody knows is decided by the class")
	}
	if new(Selector).OfClass(names) || new(Selector).MatchClass(&web.Class, names) {
		t.Error("the zero selector chooses")
	}
}

// TestMatchClassAgreesWithMatch compares the two over random connections: equal where the
// selector is of class, and never narrower otherwise.
func TestMatchClassAgreesWithMatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	labels := map[uint32][]string{1: {"web", "{in}-{out}"}, 2: {"{id}", "to-{dst}", "x{port}y"}, 3: {"{in}{out}", "{", "}{in}", "{nothing}"}}
	n := &Names{
		Rule: func(number uint32) (string, []string) {
			if labels[number] == nil {
				return "", nil
			}
			return fmt.Sprintf("rule-%d", number), labels[number]
		},
		Labels: func() (all []string) {
			for _, l := range labels {
				all = append(all, l...)
			}
			return all
		},
		Port:    func(id packet.PortID) string { return fmt.Sprintf("p%d", id) },
		Gateway: func(g uint8) string { return []string{"", "isp1", "isp2"}[g] },
	}
	words := []string{"rule=rule-1", "rule=default", "rule=rule-2", "label=web", "label=p0-p1", "label=rule-2", "label=to-10.0.0.1",
		"label=x53y", "label=xy", "label=p1p2", "label={", "label=}p1", "label={nothing}", "gateway=isp1", "gateway=isp2", "port=p1", "port=p0",
		"proto=tcp", "dport=53", "state=replied", "max-age=1m"}
	of, chosen := 0, 0
	for range 20000 {
		picked := []string{words[rng.IntN(len(words))]}
		if rng.IntN(2) == 0 {
			picked = append(picked, words[rng.IntN(len(words))])
		}
		s, err := Parse(picked)
		if err != nil {
			t.Fatal(err)
		}
		v := conntrack.View{
			Class: conntrack.Class{Rule: rng.Uint32N(5), Ingress: packet.PortID(rng.IntN(3)), Egress: packet.PortID(rng.IntN(3)), Gateway: uint8(rng.IntN(3))},
			Flags: conntrack.Flags(rng.IntN(2)), Age: time.Duration(rng.IntN(2)) * time.Hour,
		}
		v.Original = tuple([]packet.Proto{packet.TCP, packet.UDP}[rng.IntN(2)], "10.0.0.7:40000", fmt.Sprintf("10.0.0.%d:%d", 1+rng.IntN(2), 53+rng.IntN(2)))
		v.Reply = v.Original.Reply()
		byClass, match := s.MatchClass(&v.Class, n), s.Match(&v, n)
		if s.OfClass(n) {
			of++
			if byClass != match {
				t.Fatalf("%v: the class says %v, the connection %v: %+v", s, byClass, match, v)
			}
		}
		if match && !byClass {
			t.Fatalf("%v chooses a connection whose class it does not: %+v", s, v)
		}
		if match {
			chosen++
		}
	}
	if of < 1000 || chosen < 1000 {
		t.Errorf("%d were of class, %d chosen", of, chosen)
	}
}

// TestQ1_SelectorMakesNoGarbage: a kill asks about a million connections.
func TestQ1_SelectorMakesNoGarbage(t *testing.T) {
	for _, text := range []string{"label=10.0.0.7>203.0.113.9", "src=10.0.0.0/24 state=established", "label=tcp/443", "addr=203.0.113.2 min-age=1s"} {
		s, err := ParseText(text)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			if !s.Match(&web, names) {
				t.Fatal(text)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}
