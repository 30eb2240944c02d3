package digest

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/sync/wire"
)

// connection makes connection i, one of many.
func connection(i int) *conntrack.State {
	o := packet.Tuple{
		Src: packet.AddrFrom(netip.AddrFrom4([4]byte{10, byte(i >> 24), byte(i >> 16), byte(i >> 8)})), Dst: packet.AddrFrom(netip.MustParseAddr("203.0.113.9")),
		SrcPort: uint16(i&0xff + 1), DstPort: 53, Proto: packet.UDP,
	}
	return &conntrack.State{
		Incarnation: conntrack.Incarnation(uint64(i+1)<<16 | 1), Original: o, Reply: o.Reply(), Class: conntrack.Class{Egress: 1},
	}
}

func filled(t testing.TB, count int, order []int) *conntrack.Table {
	t.Helper()
	table, err := conntrack.New(conntrack.Config{Capacity: uint32(count), Node: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	var applied conntrack.Applied
	for _, i := range order {
		if got := table.Apply(connection(i), 1e9, &applied); got != conntrack.AppliedNew {
			t.Fatalf("connection %d: outcome %d", i, got)
		}
	}
	return table
}

func summed(table *conntrack.Table, bits uint8, step int) *Sums {
	sums := new(Sums)
	for p := Begin(table, bits, sums); !p.Step(step, 1e9); {
	}
	return sums
}

// Two tables that hold the same have the same sums, wherever and in whatever order the
// connections lie; a change of one connection changes the sum of its shard alone.
func TestSumsDependOnWhatIsHeldAlone(t *testing.T) {
	const count = 5000
	rng := rand.New(rand.NewPCG(7, 7))
	a, b := summed(filled(t, count, rng.Perm(count)), 10, 100), summed(filled(t, count, rng.Perm(count)), 10, 5000)
	if !slices.Equal(a.Shard, b.Shard) || a.Connections != count {
		t.Fatalf("sums of the same connections differ, of %d and %d", a.Connections, b.Connections)
	}
	var h Hash
	for range 200 {
		other := *connection(rng.IntN(count))
		was, shard := h.Of(&other), h.ShardOf(&other.Original)
		switch rng.IntN(4) {
		case 0:
			other.Flags ^= conntrack.Replied
		case 1:
			other.Incarnation += 1 << 16
		case 2:
			other.Rule++
		case 3:
			other.Gateway++
		}
		if h.Of(&other) == was {
			t.Errorf("%+v has the number of what it was", other)
		}
		if h.ShardOf(&other.Original) != shard {
			t.Errorf("%+v: a change moved it to another shard", other)
		}
		other = *connection(0)
		was = h.Of(&other)
		other.Index, other.Idle = 9, 9
		if h.Of(&other) != was || other.Index != 9 || other.Idle != 9 {
			t.Error("index or idle time enter the number, or were lost")
		}
	}
}

// A coarse shard is the sum of the fine ones in it.
func TestShardsFold(t *testing.T) {
	table := filled(t, 3000, rand.Perm(3000))
	fine := summed(table, wire.DigestBitsMax, 1000)
	for bits := wire.DigestBitsMax - 1; bits >= 0; bits-- {
		s := summed(table, uint8(bits), 1000)
		for shard, sum := range s.Shard {
			if sum != fine.Shard[2*shard]+fine.Shard[2*shard+1] {
				t.Fatalf("shard %d of 2^%d is not the sum of its halves", shard, bits)
			}
		}
		fine = s
	}
}

func TestBitsFor(t *testing.T) {
	for _, row := range []struct {
		connections int
		bits        uint8
	}{{0, 6}, {1000, 6}, {1 << 16, 13}, {1 << 20, 16}, {100 << 20, 16}} {
		if got := BitsFor(row.connections); got != row.bits {
			t.Errorf("%d connections: 2^%d shards, want 2^%d", row.connections, got, row.bits)
		}
	}
}

// The ledger and the trail against a plain list of what was applied when.
func TestTrailFindsTheFirstBatchBehindPositions(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		l := NewLedger(1 << 20)
		var trail Trail
		var hash Hash
		var lanes [3]uint64
		type applied struct{ lane, number, at uint64 }
		var all []applied
		for range rng.IntN(60) {
			lane := rng.Uint64N(3)
			lanes[lane]++
			at := l.Tick()
			l.Touch(&hash, &connection(int(at)).Original, at)
			trail.Applied(uint16(lane), lanes[lane], at)
			all = append(all, applied{lane, lanes[lane], at})
		}
		positions := make([]uint64, 3)
		late := false
		for i := range positions {
			positions[i] = rng.Uint64N(lanes[i] + 2)
			late = late || positions[i] > lanes[i]
		}
		since, behind, ok := trail.After(l, positions)
		if behind != late || !ok {
			t.Fatalf("behind %v, ok %v; want %v, true", behind, ok, late)
		}
		if behind {
			continue
		}
		want := l.Tick()
		for _, a := range all {
			if a.number > positions[a.lane] {
				want = min(want, a.at)
			}
		}
		if since != want {
			t.Fatalf("since %d, want %d", since, want)
		}
		for _, a := range all {
			shard := hash.ShardOf(&connection(int(a.at)).Original)
			if a.at >= since && l.Still(wire.DigestBitsMax, shard, since) {
				t.Fatalf("shard %d was touched at %d and counts as still since %d", shard, a.at, since)
			}
		}
	}
}

func TestTrailSaysWhereItEnds(t *testing.T) {
	l := NewLedger(1 << 20)
	var trail Trail
	for n := uint64(1); n <= trailLength+5; n++ {
		trail.Applied(0, n, l.Tick())
	}
	if _, _, ok := trail.After(l, []uint64{4}); ok {
		t.Error("a position that the trail has forgotten is answered")
	}
	if since, _, ok := trail.After(l, []uint64{5}); !ok || since != 6 {
		t.Errorf("the oldest position that is known: since %d, %v; want 6", since, ok)
	}
	if _, behind, _ := trail.After(l, []uint64{trailLength + 5, 1}); !behind {
		t.Error("a lane that was never heard of counts as applied")
	}
	trail.Forget()
	if _, behind, _ := trail.After(l, []uint64{1}); !behind {
		t.Error("a life that was forgotten counts as applied")
	}
}

// A round that began before batches which never came proves nothing: what of them it has summed
// is not known.
func TestTrailKnowsNothingOfWhatWasPassedOver(t *testing.T) {
	l := NewLedger(1 << 20)
	for name, pass := range map[string]func(*Trail){
		"nothing came before": func(*Trail) {},
		"one came before":     func(trail *Trail) { trail.Applied(0, 1, l.Tick()) },
	} {
		var trail Trail
		pass(&trail)
		trail.Skipped(0, 101, l.Tick())
		if _, behind, ok := trail.After(l, []uint64{100}); behind || !ok {
			t.Errorf("%s: a lane without anything behind what was passed over counts as behind", name)
		}
		at := l.Tick()
		trail.Applied(0, 101, at)
		for _, position := range []uint64{0, 1, 50, 99} {
			if since, behind, ok := trail.After(l, []uint64{position}); ok || behind {
				t.Errorf("%s: position %d is answered by %d, behind %v", name, position, since, behind)
			}
		}
		if since, _, ok := trail.After(l, []uint64{100}); !ok || since != at {
			t.Errorf("%s: since %d, %v; want %d", name, since, ok, at)
		}
	}
}

func TestKillTouchesEverything(t *testing.T) {
	l := NewLedger(1 << 20)
	since := l.Tick()
	if !l.Still(6, 5, since) {
		t.Error("touched by nothing")
	}
	l.TouchAll()
	if l.Still(6, 5, since) {
		t.Error("a kill has not touched a shard")
	}
}

// BenchmarkPass gives the cost of summing one connection.
func BenchmarkPass(b *testing.B) {
	const count = 1 << 20
	table := filled(b, count, rand.Perm(count))
	var sums Sums
	p := Begin(table, 16, &sums)
	for b.Loop() {
		if p.Step(1, 1e9) {
			p = Begin(table, 16, &sums)
		}
	}
}
