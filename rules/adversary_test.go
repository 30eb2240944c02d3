package rules

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"holdfast/bench/ruleset"
	"holdfast/dataplane/packet"
	"holdfast/internal/race"
)

// work is what the classifier does for a packet, apart from time: cache lines of nodes and
// entries, and rules asked. It goes the way of classifier.first.
func (s *Set) work(t *packet.Tuple, in, out packet.PortID) (lines int) {
	q := queryOf(t, in, out, nil)
	c, family := s.deciders, familyOf(&q)
	var p point
	p.set(&q)
	limit := uint32(len(s.rules))
	for _, tree := range c.trees[family] {
		if tree.first >= limit {
			break
		}
		at := tree.root
		for ; at&refLeaf == 0; lines++ {
			n := &c.nodes[at]
			at = n.parts[n.part(&p)%fanOut]
		}
		first := uint32(at &^ refLeaf)
		for i := first; ; i++ {
			e := &c.entries[i]
			if line := i * 36 / 64; i == first || line != (i-1)*36/64 {
				lines++
			}
			if e.rule >= limit {
				break
			}
			if e.holds(&p, leafWord[family]) {
				if e.mark&markExact == 0 {
					lines++
				}
				if e.mark&markExact != 0 || s.differs(&s.rules[e.rule], &q) == FieldNone {
					limit = e.rule
					break
				}
			}
			if e.mark&markLast != 0 {
				break
			}
		}
	}
	return lines
}

// adversary climbs from drawn packets to dear ones: it knows the rules, and moves one field
// at a time to that of another packet that a rule was made for.
type adversary struct {
	r     *rand.Rand
	s     *Set
	drawn []packet.Tuple
}

func (a *adversary) climb(steps int) (worst packet.Tuple, most int) {
	for range 8 {
		t := a.drawn[a.r.IntN(len(a.drawn))]
		here := a.s.work(&t, lan, wan)
		for range steps / 8 {
			next, other := t, &a.drawn[a.r.IntN(len(a.drawn))]
			switch a.r.IntN(6) {
			case 0:
				next.Src = other.Src
			case 1:
				next.Dst = other.Dst
			case 2:
				next.SrcPort, next.DstPort = other.SrcPort, other.DstPort
			case 3:
				next.DstPort = uint16(a.r.Uint32())
			case 4:
				next.Proto = other.Proto
			case 5:
				next.Dst[12+a.r.IntN(4)] ^= 1 << a.r.IntN(8)
			}
			if w := a.s.work(&next, lan, wan); w >= here {
				t, here = next, w
			}
		}
		if here > most {
			worst, most = t, here
		}
	}
	return worst, most
}

// search returns the work of drawn packets, mean and 99th percentile, and the most that a
// seeded search finds.
func search(s *Set, drawn []packet.Tuple, steps int) (mean float64, p99, worst int) {
	all := make([]int, len(drawn))
	sum := 0
	for i := range drawn {
		all[i] = s.work(&drawn[i], lan, wan)
		sum += all[i]
	}
	slices.Sort(all)
	a := &adversary{rand.New(rand.NewPCG(1, 2)), s, drawn}
	_, worst = a.climb(steps)
	return float64(sum) / float64(len(drawn)), all[len(all)*99/100], worst
}

// TestREL33_Adversary: who knows the rules and sends the packets that cost most makes the
// classifier touch no more than so many lines of memory, whatever the shape and number of
// rules; asking every rule would touch one for each.
func TestREL33_Adversary(t *testing.T) {
	const linesMax = 60
	steps := 20_000
	if race.Enabled {
		steps = 5000
	}
	sizes := []int{100, 1000, 5000}
	if os.Getenv("HOLDFAST_SOAK") != "" {
		steps, sizes = 5_000_000, append(sizes, 100_000)
	}
	for _, shape := range ruleset.Shapes {
		for _, n := range sizes {
			filter := ruleset.Filter(shape, n, 1)
			mean, p99, worst := search(filtered(t, filter), ruleset.Packets(filter, 4096, 2), steps)
			t.Logf("%v %d: mean %.1f lines, 99 %% within %d, worst found %d (%.2fx)", shape, n, mean, p99, worst, float64(worst)/mean)
			if worst > linesMax {
				t.Errorf("%v %d: a packet touches %d lines", shape, n, worst)
			}
		}
	}
}

// BenchmarkREL33 is the time of drawn packets beside that of the worst one found.
func BenchmarkREL33(b *testing.B) {
	for _, shape := range ruleset.Shapes {
		filter := ruleset.Filter(shape, 10_000, 1)
		s := filtered(b, filter)
		drawn := ruleset.Packets(filter, 4096, 2)
		a := &adversary{rand.New(rand.NewPCG(1, 2)), s, drawn}
		worst, _ := a.climb(200_000)
		for name, packets := range map[string][]packet.Tuple{"drawn": drawn, "worst": {worst}} {
			b.Run(fmt.Sprintf("%v/%s", shape, name), func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					s.Match(&packets[i%len(packets)], lan, wan, nil, nil)
				}
			})
		}
	}
}
