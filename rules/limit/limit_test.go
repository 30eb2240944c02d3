package limit

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/packet"
)

const second = int64(1e9)

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

// numbered returns IPv4 address number i.
func numbered(i int) packet.Addr {
	return packet.AddrFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
}

// rule is the number of the rule that has limit 1 in tableOf.
const rule = 77

func tableOf(t testing.TB, sources uint32, limits ...Limit) *Table {
	t.Helper()
	plan := Plan{Limits: limits}
	for i := range limits {
		plan.Rules = append(plan.Rules, Rule{Number: rule + uint32(i), Limit: Number(i + 1)})
	}
	table, err := New(&plan, sources)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// verify walks over everything that a table holds.
func (t *Table) verify() error {
	for n := range t.shards {
		s := &t.shards[n]
		s.mu.Lock()
		defer s.mu.Unlock()
		chained, queued := map[uint32]bool{}, 0
		for _, i := range s.heads {
			for ; i != 0; i = s.all[i-1].next {
				if chained[i] {
					return fmt.Errorf("shard %d: entry %d is in two chains", n, i)
				}
				chained[i] = true
				if x := &s.all[i-1]; x.queued != (x.connections == 0) {
					return fmt.Errorf("shard %d: %d connections, queued %v", n, x.connections, x.queued)
				}
			}
		}
		for i, last := s.oldest, uint32(0); i != 0; last, i = i, s.all[i-1].newer {
			if x := &s.all[i-1]; !chained[i] || x.older != last || x.bucket.spent == 0 {
				return fmt.Errorf("shard %d: entry %d does not belong into the queue", n, i)
			}
			queued++
		}
		for i := range chained {
			if s.all[i-1].queued {
				queued--
			}
		}
		free := 0
		for i := s.free; i != 0; i = s.all[i-1].next {
			free++
		}
		if queued != 0 || len(chained) != s.live || s.live+free != int(s.used) {
			return fmt.Errorf("shard %d: %d live of %d, %d in chains, %d free, queue off by %d", n, s.live, s.used, len(chained), free, queued)
		}
	}
	return nil
}

// TestO6_ConnectionsPerSource: as many as the limit says, and another for each that ends;
// sources under one mask count as one, and others do not.
func TestO6_ConnectionsPerSource(t *testing.T) {
	table := tableOf(t, 1000, Limit{Connections: 3, Mask4: 24, Mask6: 64})
	for _, row := range []struct {
		call string
		src  string
		want Verdict
	}{
		{"admit", "10.0.0.1", Within},
		{"admit", "10.0.0.2", Within},
		{"enter", "10.0.0.255", Within},
		{"ask", "10.0.0.1", TooMany},
		{"admit", "10.0.0.3", TooMany},
		{"admit", "10.0.1.0", Within},  // another network
		{"enter", "10.0.0.3", TooMany}, // it is there all the same
		{"leave", "10.0.0.3", 0},       // and goes
		{"admit", "10.0.0.3", TooMany},
		{"leave", "10.0.0.9", 0},
		{"ask", "10.0.0.3", Within}, // asks do not count
		{"ask", "10.0.0.3", Within},
		{"admit", "10.0.0.3", Within},
		{"admit", "10.0.0.3", TooMany},
		{"undo", "10.0.0.3", 0},
		{"admit", "10.0.0.4", Within},
		{"admit", "2001:db8::1", Within},
		{"admit", "2001:db8::2:0:0:1", Within},
		{"admit", "2001:db8::ffff:ffff:ffff:ffff", Within},
		{"admit", "2001:db8::3", TooMany},
		{"admit", "2001:db8:0:1::3", Within},
	} {
		src, got := addr(row.src), Verdict(0)
		switch row.call {
		case "ask":
			got = table.Ask(rule, &src, 0)
		case "admit":
			got = table.Admit(rule, &src, 0)
		case "enter":
			got = table.Enter(rule, &src, 0)
		case "leave":
			table.Leave(rule, &src)
		case "undo":
			table.Undo(rule, &src)
		}
		if got != row.want {
			t.Errorf("%s %s: %v, want %v", row.call, row.src, got, row.want)
		}
	}
	src := addr("10.0.0.1")
	if got := table.Admit(rule+1, &src, 0); got != Within {
		t.Errorf("a rule without limit: %v", got)
	}
	if got := (*Table)(nil).Admit(rule, &src, 0); got != Within {
		t.Errorf("no table: %v", got)
	}
	if err := table.verify(); err != nil {
		t.Error(err)
	}
}

// TestO6_SharedByName: two rules with one limit count together, two limits apart.
func TestO6_SharedByName(t *testing.T) {
	plan := Plan{
		Limits: []Limit{{Connections: 1, Mask4: 32, Mask6: 128}, {Connections: 1, Mask4: 32, Mask6: 128}},
		Rules:  []Rule{{Number: 9, Limit: 1}, {Number: 3, Limit: 1}, {Number: 5, Limit: 2}},
	}
	table, err := New(&plan, 100)
	if err != nil {
		t.Fatal(err)
	}
	src := addr("10.0.0.1")
	for _, row := range []struct {
		rule uint32
		want Verdict
	}{{9, Within}, {3, TooMany}, {5, Within}, {5, TooMany}, {4, Within}} {
		if got := table.Admit(row.rule, &src, 0); got != row.want {
			t.Errorf("rule %d: %v, want %v", row.rule, got, row.want)
		}
	}
}

// TestO6_RateIsExact holds the integers against fractions.
func TestO6_RateIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{
			Count: uint32(rapid.OneOf(rapid.Uint32Range(1, 20), rapid.Uint32Range(1, CountMax), rapid.Just(uint32(CountMax))).Draw(t, "count")),
			Per:   rapid.OneOf(rapid.Int64Range(1, 100), rapid.Int64Range(1, PeriodMax), rapid.Just(PeriodMax)).Draw(t, "per"),
		}
		plan := Plan{Limits: []Limit{{Rate: r, Mask4: 32, Mask6: 128}}, Rules: []Rule{{Number: rule, Limit: 1}}}
		table, err := New(&plan, 10)
		if err != nil {
			t.Fatal(err)
		}
		src := addr("2001:db8::1")
		count, per := new(big.Rat).SetInt64(int64(r.Count)), new(big.Rat).SetInt64(r.Per)
		tokens, one := new(big.Rat).Set(count), big.NewRat(1, 1)
		now := rapid.Int64Range(0, 1<<50).Draw(t, "begin")
		step := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 2*(r.Per/int64(r.Count))+1), rapid.Int64Range(0, 2*r.Per))
		for range rapid.IntRange(1, 100).Draw(t, "connections") {
			by := step.Draw(t, "step")
			now += by
			tokens.Add(tokens, new(big.Rat).Quo(new(big.Rat).Mul(new(big.Rat).SetInt64(by), count), per))
			if tokens.Cmp(count) > 0 {
				tokens.Set(count)
			}
			want := TooFast
			if tokens.Cmp(one) >= 0 {
				want = Within
			}
			if got := table.Ask(rule, &src, now); got != want {
				t.Fatalf("%+v at %d: asked %v, want %v with %v", r, now, got, want, tokens)
			}
			if got := table.Admit(rule, &src, now); got != want {
				t.Fatalf("%+v at %d: %v, want %v with %v", r, now, got, want, tokens)
			}
			if want != Within {
				continue
			}
			if rapid.Bool().Draw(t, "undo") {
				table.Undo(rule, &src)
				continue
			}
			tokens.Sub(tokens, one)
			table.Leave(rule, &src)
		}
		if err := table.verify(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestO6_TableIsItsTwin compares a table with a map, sources coming and going, more of them
// than the table has room for; only what has connections must never be forgotten.
func TestO6_TableIsItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := int32(rapid.IntRange(1, 4).Draw(t, "most"))
		rate := Rate{}
		if rapid.Bool().Draw(t, "rated") {
			rate = Rate{Count: CountMax, Per: PeriodMax} // enough never to refuse
		}
		table, err := New(&Plan{Limits: []Limit{{Connections: uint32(most), Rate: rate, Mask4: 32, Mask6: 64}}, Rules: []Rule{{Number: rule, Limit: 1}}}, 1)
		if err != nil {
			t.Fatal(err)
		}
		for i := range table.shards { // two sources each, so that they meet
			table.shards[i].all, table.shards[i].heads = table.shards[i].all[:2], table.shards[i].heads[:1]
		}
		twin := map[int]int32{}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			i := rapid.IntRange(0, 300).Draw(t, "source")
			src := numbered(i)
			if twin[i] > 0 && rapid.Bool().Draw(t, "leave") {
				table.Leave(rule, &src)
				twin[i]--
				continue
			}
			got := table.Admit(rule, &src, 0)
			switch {
			case got == NoRoom && twin[i] == 0:
			case got != TooMany && twin[i] == most, got != Within && twin[i] < most:
				t.Fatalf("source %d with %d: %v", i, twin[i], got)
			case got == Within:
				twin[i]++
			}
		}
		if err := table.verify(); err != nil {
			t.Fatal(err)
		}
		for i, n := range twin {
			src := numbered(i)
			for range n {
				table.Leave(rule, &src)
			}
		}
		if err := table.verify(); err != nil {
			t.Fatal(err)
		}
		if n := table.Sources(); n != 0 && rate.Count == 0 {
			t.Fatalf("%d sources are left", n)
		}
	})
}

// TestO6_ExactUnderContention: many goroutines admit, undo and leave; never are there more
// than the limit at once, and in the end nothing is left.
func TestO6_ExactUnderContention(t *testing.T) {
	const most, sources, goroutines, rounds = 5, 7, 8, 3000
	table := tableOf(t, 100, Limit{Connections: most, Mask4: 32, Mask6: 64})
	var now [sources]atomic.Int32
	var admitted, refused atomic.Int32
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			var mine [sources]int
			for range rounds {
				i := rng.IntN(sources)
				src := numbered(i)
				switch {
				case mine[i] > 0 && rng.IntN(2) == 0:
					now[i].Add(-1) // before, so that it is never counted too high
					mine[i]--
					table.Leave(rule, &src)
				case table.Admit(rule, &src, 0) == Within:
					if n := now[i].Add(1); n > most {
						t.Errorf("%d connections of one source", n)
					}
					admitted.Add(1)
					if rng.IntN(4) == 0 {
						now[i].Add(-1)
						table.Undo(rule, &src)
						continue
					}
					mine[i]++
				default:
					refused.Add(1)
				}
			}
			for i, n := range mine {
				src := numbered(i)
				for range n {
					now[i].Add(-1)
					table.Leave(rule, &src)
				}
			}
		})
	}
	all.Wait()
	if n := table.Sources(); n != 0 || admitted.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d sources left, %d admitted, %d refused", n, admitted.Load(), refused.Load())
	}
	if err := table.verify(); err != nil {
		t.Error(err)
	}
}

// TestO6_LeaveBeforeEnter: the two may overtake each other, and nothing stays.
func TestO6_LeaveBeforeEnter(t *testing.T) {
	table := tableOf(t, 100, Limit{Connections: 1, Mask4: 32, Mask6: 64})
	src := addr("10.0.0.1")
	table.Leave(rule, &src)
	if got := table.Enter(rule, &src, 0); got != Within {
		t.Error(got)
	}
	if n := table.Sources(); n != 0 {
		t.Errorf("%d sources are left", n)
	}
	if got := table.Admit(rule, &src, 0); got != Within {
		t.Error(got)
	}
	if got := table.Admit(rule, &src, 0); got != TooMany {
		t.Error(got)
	}
}

// TestO6_SpoofedFloodStaysBounded: a flood of forged sources is asked about and leaves no
// trace where it is TCP; where it counts, memory stays what it was, who has connections is
// never forgotten, and who has some can go on.
func TestO6_SpoofedFloodStaysBounded(t *testing.T) {
	table := tableOf(t, 2000, Limit{Connections: 2, Rate: Rate{Count: 10, Per: 3600 * second}, Mask4: 32, Mask6: 64})
	honest := addr("192.0.2.1")
	for range 2 {
		if got := table.Enter(rule, &honest, second); got != Within {
			t.Fatal(got)
		}
	}
	now := second
	for i := range 100_000 { // SYNs
		now += 1000
		src := numbered(i)
		if got := table.Ask(rule, &src, now); got != Within {
			t.Fatal(got)
		}
	}
	if n := table.Sources(); n != 1 {
		t.Errorf("%d sources after a flood of SYNs", n)
	}
	room := 0
	for i := range table.shards {
		room += len(table.shards[i].all)
	}
	for i := range 100_000 { // first packets of UDP, whose connections end again
		now += 1000
		src := numbered(i)
		if got := table.Admit(rule, &src, now); got != Within {
			t.Fatal(got)
		}
		table.Leave(rule, &src)
	}
	if n := table.Sources(); n > room || room > 10_000 {
		t.Errorf("%d sources, room for %d", n, room)
	}
	if got := table.Ask(rule, &honest, now); got != TooMany {
		t.Errorf("who had connections was forgotten: %v", got)
	}
	full, living := 0, []int{}
	for i := range 100_000 { // and that live on
		now += 1000
		src := numbered(i)
		switch got := table.Admit(rule, &src, now); got {
		case NoRoom:
			full++
		case Within:
			living = append(living, i)
		default:
			t.Fatal(got)
		}
	}
	if want := 100_000 - (room - 1); full != want {
		t.Errorf("%d were refused for want of room, want %d", full, want)
	}
	for i := 100_000; i < 101_000; i++ { // what a peer tells of cannot be refused, nor is it missed
		src := numbered(i)
		if got := table.Enter(rule, &src, now); got != NoRoom {
			t.Fatal(got)
		}
	}
	for _, i := range living[:2000] {
		src := numbered(i)
		table.Leave(rule, &src)
	}
	for i := 100_000; i < 101_000; i++ {
		src := numbered(i)
		table.Leave(rule, &src)
	}
	for i := 100_000; i < 100_100; i++ {
		src := numbered(i)
		if got := [3]Verdict{table.Admit(rule, &src, now), table.Admit(rule, &src, now), table.Admit(rule, &src, now)}; got != [3]Verdict{Within, Within, TooMany} {
			t.Fatalf("after the end of one that was not counted: %v", got)
		}
	}
	table.Leave(rule, &honest)
	if got := table.Ask(rule, &honest, now); got != Within {
		t.Errorf("who has ended one may not begin another: %v", got)
	}
	if err := table.verify(); err != nil {
		t.Error(err)
	}
}

// TestNoAllocation: the path asks, so it must cost no garbage.
func TestNoAllocation(t *testing.T) {
	table := tableOf(t, 1000, Limit{Connections: 2, Rate: Rate{Count: 10, Per: second}, Mask4: 32, Mask6: 64})
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		i++
		src := numbered(i)
		table.Ask(rule, &src, int64(i))
		table.Admit(rule, &src, int64(i))
		table.Enter(rule, &src, int64(i))
		table.Undo(rule, &src)
		table.Leave(rule, &src)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestPlanIsChecked: what cannot be reckoned with is refused.
func TestPlanIsChecked(t *testing.T) {
	for _, l := range []Limit{
		{Connections: ConnectionsMax + 1}, {Rate: Rate{Count: 1}}, {Rate: Rate{Per: 1}}, {Rate: Rate{Count: CountMax + 1, Per: 1}},
		{Rate: Rate{Count: 1, Per: PeriodMax + 1}}, {Rate: Rate{Count: 1, Per: -1}}, {Mask4: 33}, {Mask6: 129},
	} {
		if _, err := New(&Plan{Limits: []Limit{l}, Rules: []Rule{{Number: 1, Limit: 1}}}, 1); err == nil {
			t.Errorf("%+v is accepted", l)
		}
	}
	for _, n := range []Number{0, 2} {
		if _, err := New(&Plan{Limits: []Limit{{Mask4: 32}}, Rules: []Rule{{Number: 1, Limit: n}}}, 1); err == nil {
			t.Errorf("a rule with limit %d of 1 is accepted", n)
		}
	}
}

func TestMaskOf(t *testing.T) {
	for bits := range uint(129) {
		m := maskOf(bits)
		n := 0
		for i := range 64 {
			n += int(m.high>>i&1) + int(m.low>>i&1)
		}
		if n != int(bits) || bits > 0 && m.high>>63 == 0 || bits <= 64 && m.low != 0 {
			t.Errorf("%d bits: %x", bits, m)
		}
	}
}
