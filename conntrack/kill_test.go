package conntrack

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// offer brings a packet to the table as a worker does.
func offer(table *Table, p *packet.Parsed, r *Result) Outcome {
	hits := make([]Hit, 1)
	table.Lookup([]packet.Parsed{*p}, hits)
	return table.Track(p, &hits[0], int64(time.Hour), r)
}

// numberOf is the number of a tuple that numbered made.
func numberOf(t *packet.Tuple) int {
	return int(t.Src[13])<<16 | int(t.Src[14])<<8 | int(t.Src[15]) | int(t.Dst[15])<<24
}

// reapAll takes away all that is dead.
func reapAll(table *Table, tell func([]Reaped)) (all []Reaped) {
	reaped := make([]Reaped, 64)
	for from, more := uint32(0), true; more; more = from != 0 {
		var n int
		from, n = table.Reap(from, 1000, int64(time.Hour), reaped, tell)
		all = append(all, reaped[:n]...)
	}
	return all
}

// TestQ1_KillEach ends connections by what their class does not say: those meant are dead
// at once in both directions, stay until their kill takes them away, and nobody else is
// touched.
func TestQ1_KillEach(t *testing.T) {
	const count = 1000
	table := newTable(t, Config{Capacity: 2 * count})
	now := int64(time.Hour)
	var r Result
	index := map[int]uint32{}
	for i := range count {
		if got := insertOf(t, table, i, Class{Gateway: uint8(i % 3), Rule: 7}, &r); got != Inserted {
			t.Fatal(got)
		}
		index[i] = r.Index
	}
	meant := func(i int) bool { return i%3 == 1 && i >= count/2 }
	before := table.Latest()
	late := count + 1 // begins after the kill was asked for
	insertOf(t, table, late, Class{Gateway: 1, Rule: 7}, &r)
	asked := 0
	choice := Choice{
		Class: func(c *Class) bool { asked++; return c.Gateway == 1 },
		Conn:  func(v *View) bool { return v.Gateway == 1 && numberOf(&v.Original) >= count/2 },
	}
	killed := 0
	for from, more := uint32(0), true; more; more = from != 0 {
		var n int
		from, n = table.KillEach(from, 64, now, before, &choice)
		killed += n
	}
	want := 0
	for i := range count {
		if meant(i) {
			want++
		}
	}
	if killed != want || asked != 3 {
		t.Fatalf("%d killed, want %d; %d classes asked about", killed, want, asked)
	}
	var v View
	for i := range count {
		for _, tup := range []packet.Tuple{numbered(i), numbered(i).Reply()} {
			p := parsed(tup, 0)
			got := offer(table, &p, &r)
			if meant(i) && (got != OutcomeDrop || r.Reason != drop.Killed) || !meant(i) && got != OutcomePass {
				t.Fatalf("connection %d, meant %v: %v %v", i, meant(i), got, r.Reason)
			}
		}
		if table.View(index[i], now, &v) == meant(i) {
			t.Fatalf("connection %d, meant %v, is listed: %v", i, meant(i), !meant(i))
		}
	}
	// Neither the sweep nor a search for room takes what the kill will tell of.
	ended := make([]Ended, 64)
	if _, n := table.Sweep(0, 2*count, now, GraceEternal, ended); n != 0 {
		t.Errorf("the sweep took %d", n)
	}
	if n := table.Len(); n != count+1 {
		t.Errorf("%d connections before the reap", n)
	}
	told := 0
	gone := reapAll(table, func(dying []Reaped) {
		for i := range dying {
			if table.entry(dying[i].State.Index).link.Load()&linkLive == 0 {
				t.Error("told of one that has gone already")
			}
		}
		told += len(dying)
	})
	for i := range gone {
		if s := &gone[i].State; s.Gateway != 1 || numberOf(&s.Original) < count/2 {
			t.Errorf("reaped %+v", s)
		}
	}
	if len(gone) != want || told != want || table.Len() != count+1-want {
		t.Errorf("%d reaped, %d told, %d left", len(gone), told, table.Len())
	}
	p := parsed(numbered(late), 0)
	if got := offer(table, &p, &r); got != OutcomePass {
		t.Errorf("what began after the kill: %v", got)
	}
	const again = count - 3 // was meant
	if got := insertOf(t, table, again, Class{Gateway: 1}, &r); got != Inserted {
		t.Errorf("the same tuple begins again: %v", got)
	}
}

// TestQ2_BothHalvesDieTogether: a translated connection that is chosen by one of its
// addresses ends in both directions, and one between the same hosts by another gateway
// goes on (P7).
func TestQ2_BothHalvesDieTogether(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	var r Result
	begin := func(port uint16, gateway uint8) (original, reply packet.Tuple) {
		original = numbered(1)
		original.SrcPort = port
		reply = original.Reply()
		reply.Dst = packet.Addr{10: 0xff, 11: 0xff, 12: 203, 14: 113, 15: gateway}
		p := parsed(original, 0)
		pr := Proposal{Original: original, Reply: reply, Class: Class{Gateway: gateway, Egress: 1}}
		if got := table.Insert(&pr, &p, int64(time.Hour), &r); got != Inserted {
			t.Fatal(got)
		}
		return original, reply
	}
	failed, failedReply := begin(1000, 1)
	other, otherReply := begin(1001, 2)
	kill := table.Kill(func(c *Class) bool { return c.Gateway == 1 }, 0)
	for _, row := range []struct {
		tuple packet.Tuple
		want  Outcome
	}{{failedReply, OutcomeMiss}, {failed, OutcomeMiss}, {other, OutcomePass}, {otherReply, OutcomePass}} {
		p := parsed(row.tuple, 0)
		if got := offer(table, &p, &r); got != row.want {
			t.Errorf("%+v: %v, want %v", row.tuple, got, row.want)
		}
	}
	if table.ReapedOf(&kill) != 1 || table.Len() != 1 {
		t.Errorf("%d killed, %d left", table.ReapedOf(&kill), table.Len())
	}
}

// TestQ3_KillEachIsExact dooms and reaps again and again, in two parts, while others begin
// connections and send packets: the counts of kill and reap agree, and what is not meant
// never fails.
func TestQ3_KillEachIsExact(t *testing.T) {
	const perWorker = 2000
	table := newTable(t, Config{Capacity: 10 * perWorker})
	var stop atomic.Bool
	var inserted atomic.Int64
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			var r Result
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for n := 0; !stop.Load() || n < perWorker; n++ {
				i := w*perWorker + rng.IntN(perWorker)
				p := parsed(numbered(i), 0)
				switch got := offer(table, &p, &r); {
				case got == OutcomePass:
				case got == OutcomeDrop && r.Reason == drop.Killed && i%2 == 0:
				case got == OutcomeDrop:
					t.Errorf("connection %d: %v", i, r.Reason)
					return
				case insertOf(t, table, i, Class{Gateway: uint8(i % 4), Rule: uint32(i % 7)}, &r) == Inserted:
					inserted.Add(1)
				}
			}
		})
	}
	even := func(v *View) bool { return numberOf(&v.Original)%2 == 0 }
	var killed atomic.Int64
	reaped := 0
	rounds := 20
	if raceBuild {
		rounds = 8
	}
	for range rounds {
		for table.Len() < perWorker+perWorker/4 { // more than the odd ones of one worker
			runtime.Gosched()
		}
		before, half := table.Latest(), table.High()/2
		var parts sync.WaitGroup
		for _, part := range [][2]uint32{{0, half}, {half, table.High() - half}} {
			parts.Go(func() {
				choice := Choice{Conn: even}
				_, n := table.KillEach(part[0], part[1], int64(time.Hour), before, &choice)
				killed.Add(int64(n))
			})
		}
		parts.Wait()
		reaped += len(reapAll(table, nil))
	}
	stop.Store(true)
	wg.Wait()
	if int64(reaped) != killed.Load() || reaped == 0 {
		t.Errorf("%d killed, %d reaped", killed.Load(), reaped)
	}
	if left := inserted.Load() - int64(reaped); int64(table.Len()) != left {
		t.Errorf("%d connections, want %d", table.Len(), left)
	}
}

// TestKillTellsTheEdges: the reap knows to the byte what each end expects.
func TestKillTellsTheEdges(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	var r Result
	tup := numbered(1)
	tup.Proto = packet.TCP
	p := tcpPacket(tup, packet.FlagSYN, 99, 0)
	pr := proposalFor(tup)
	table.Insert(&pr, &p, int64(time.Hour), &r)
	for _, q := range []packet.Parsed{
		tcpPacket(tup.Reply(), packet.FlagSYN|packet.FlagACK, 499, 100),
		tcpPacket(tup, packet.FlagACK, 100, 500),
	} {
		if got := offer(table, &q, &r); got != OutcomePass {
			t.Fatal(got, r.Reason)
		}
	}
	data := tcpPacket(tup, packet.FlagACK, 100, 500)
	data.End += 1000
	if got := offer(table, &data, &r); got != OutcomePass {
		t.Fatal(got, r.Reason)
	}
	table.KillEach(0, 10, int64(time.Hour), table.Latest(), new(Choice))
	gone := reapAll(table, nil)
	if want := [2]Edge{{End: 1100, Acked: 500}, {End: 500, Acked: 100}}; len(gone) != 1 || gone[0].Edges != want {
		t.Errorf("%+v", gone)
	}
}

// BenchmarkKill kills half of a table's connections, by class and one by one, and reaps
// them. ms/kill is until the last packet of a killed connection could pass.
func BenchmarkKill(b *testing.B) {
	const total = 2_000_000
	for _, kind := range []string{"class", "each", "each-by-class"} {
		b.Run(kind, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				table, err := New(Config{Capacity: total})
				if err != nil {
					b.Fatal(err)
				}
				var r Result
				for i := range total {
					insertOf(b, table, i, Class{Gateway: uint8(1 + i%2)}, &r)
				}
				b.StartTimer()
				start := time.Now()
				killed := 0
				gateway := func(c *Class) bool { return c.Gateway == 1 }
				switch kind {
				case "class":
					table.Kill(gateway, 0)
				default:
					choice := Choice{Conn: func(v *View) bool { return v.Gateway == 1 }}
					if kind == "each-by-class" {
						choice = Choice{Class: gateway}
					}
					for from, more := uint32(0), true; more; more = from != 0 {
						var n int
						from, n = table.KillEach(from, 1024, int64(time.Hour), table.Latest(), &choice)
						killed += n
					}
				}
				kill := time.Since(start)
				reaped := make([]Reaped, 64)
				n, longest := 0, time.Duration(0)
				for from, more := uint32(0), true; more; more = from != 0 {
					var k int
					step := time.Now()
					from, k = table.Reap(from, 1024, int64(time.Hour), reaped, nil)
					longest = max(longest, time.Since(step))
					n += k
				}
				if n != total/2 || table.Len() != total/2 || kind != "class" && killed != n {
					b.Fatal(n, killed)
				}
				b.ReportMetric(float64(kill.Microseconds())/1000, "ms/kill")
				b.ReportMetric(float64((time.Since(start)-kill).Microseconds())/1000, "ms/reap")
				b.ReportMetric(float64(longest.Microseconds()), "us/longest-step")
				b.StopTimer()
				table.Close()
				b.StartTimer()
			}
		})
	}
}
