package conntrack

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/dataplane/packet"
)

func TestClassKey(t *testing.T) {
	for range 10000 {
		c := Class{
			Rule: rand.Uint32(), Ingress: packet.PortID(rand.IntN(64)), Egress: packet.NoPort, Gateway: uint8(rand.IntN(GatewaysMax + 1)),
			Sync: SyncMode(rand.IntN(int(syncModes))), Mode: Mode(rand.IntN(int(modes))),
			Timeouts: uint8(rand.IntN(TimeoutSetsMax)), PickUp: rand.IntN(2) == 0,
		}
		if !c.valid() || c.key() == 0 || c.key().class() != c {
			t.Fatalf("%+v: key %#x means %+v", c, c.key(), c.key().class())
		}
	}
}

// insertOf inserts connection i with a class.
func insertOf(t testing.TB, table *Table, i int, c Class, r *Result) InsertOutcome {
	t.Helper()
	p := parsed(numbered(i), 0)
	pr := Proposal{Original: p.Tuple, Reply: p.Tuple.Reply(), Class: c}
	return table.Insert(&pr, &p, int64(time.Hour), r)
}

// TestClassesAreUsedAgain begins and ends connections of far more classes than there are
// places, and then has more at once than there can be.
func TestClassesAreUsedAgain(t *testing.T) {
	table := newTable(t, Config{Capacity: classesMax + 1000})
	var r Result
	var s State
	begun := 3 * classesMax
	if raceBuild {
		begun = 10000 // one goroutine, and ten times slower
	}
	for i := range begun {
		if got := insertOf(t, table, i, Class{Rule: uint32(i)}, &r); got != Inserted {
			t.Fatalf("class %d: %v", i, got)
		}
		if r.Class().Rule != uint32(i) || !table.Remove(r.Index, r.Incarnation, 1, &s) || s.Rule != uint32(i) {
			t.Fatalf("class %d: %+v", i, s)
		}
	}
	if raceBuild {
		return
	}
	held := 0
	for i := range classesMax + 1000 {
		switch got := insertOf(t, table, i, Class{Rule: uint32(i)}, &r); got {
		case Inserted:
			held++
		case Full:
		default:
			t.Fatal(got)
		}
	}
	if held < classesMax*9/10 || held > classesMax {
		t.Errorf("%d classes at once", held)
	}
	n := 0
	table.Classes(func(_ Class, live int) { n += live })
	if n != held || table.Len() != held {
		t.Errorf("%d connections, their classes count %d, the table %d", held, n, table.Len())
	}
}

// TestQ1_KillOutrunsTheInsert: what a peer tells of a connection that began before a kill
// is refused, whether or not this node has met its class.
func TestQ1_KillOutrunsTheInsert(t *testing.T) {
	there := newTable(t, Config{Capacity: 10, Node: 1})
	here := newTable(t, Config{Capacity: 10, Node: 2})
	var r Result
	var a Applied
	insertOf(t, there, 1, Class{Gateway: 3, Rule: 1}, &r)
	before := r.State
	kill := there.Kill(func(c *Class) bool { return c.Gateway == 3 }, 0)
	insertOf(t, there, 2, Class{Gateway: 3, Rule: 1}, &r)
	after := r.State
	here.Kill(func(c *Class) bool { return c.Gateway == 3 }, kill.Before)
	if got := here.Apply(&before, 1, &a); got != AppliedDead || here.Len() != 0 {
		t.Errorf("a connection from before the kill: %v", got)
	}
	if got := here.Apply(&after, 1, &a); got != AppliedNew {
		t.Errorf("one that began after it: %v", got)
	}
	// The clock of incarnations goes on from what the kill told.
	insertOf(t, here, 3, Class{Gateway: 3}, &r)
	var v View
	if !here.View(r.Index, 1, &v) || v.Incarnation <= kill.Before {
		t.Errorf("a new connection is born %v, the kill was %v", v.Incarnation, kill.Before)
	}
}

// TestQ3_KillIsExact kills by gateway again and again while others begin and end
// connections and send packets: every connection from before a kill is dead at once, none
// that began after it is, and the count is that of the dead.
func TestQ3_KillIsExact(t *testing.T) {
	const perWorker = 3000
	table := newTable(t, Config{Capacity: 10 * perWorker})
	var stop atomic.Bool
	var inserted, evicted atomic.Int64
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			var r Result
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for !stop.Load() {
				i := w*perWorker + rng.IntN(perWorker)
				p := parsed(numbered(i), 0)
				hits := make([]Hit, 1)
				table.Lookup([]packet.Parsed{p}, hits)
				if table.Track(&p, &hits[0], int64(time.Hour), &r) == OutcomePass {
					continue
				}
				if r.Change == ChangeEnded {
					evicted.Add(1)
				}
				if insertOf(t, table, i, Class{Gateway: uint8(i % 4), Rule: uint32(i % 7)}, &r) == Inserted {
					inserted.Add(1)
				}
			}
		})
	}
	killed, reaped := 0, int64(0)
	rounds := 50
	if raceBuild {
		rounds = 6
	}
	for round := range rounds {
		for table.Len() < perWorker { // both are at work
			runtime.Gosched()
		}
		gateway := uint8(round % 4)
		kill := table.Kill(func(c *Class) bool { return c.Gateway == gateway }, 0)
		var v View
		for i := range table.High() {
			if table.View(i, int64(time.Hour), &v) && v.Gateway == gateway && v.Incarnation <= kill.Before {
				t.Fatalf("round %d: %v lives", round, v.Incarnation)
			}
		}
		ended := make([]Ended, 64)
		for from, more := uint32(0), true; more; more = from != 0 {
			var n int
			from, n = table.Sweep(from, 64, int64(time.Hour), GraceEternal, ended)
			for _, e := range ended[:n] {
				if e.Why != EndKilled || e.State.Gateway != gateway || e.State.Incarnation > kill.Before {
					t.Fatalf("round %d: reaped %+v", round, e)
				}
				reaped++
			}
		}
		killed += table.ReapedOf(&kill)
	}
	stop.Store(true)
	wg.Wait()
	if total := reaped + evicted.Load(); int64(killed) != total || killed == 0 {
		t.Errorf("the kills say %d, reaped and met were %d", killed, total)
	}
	if left := inserted.Load() - int64(killed); int64(table.Len()) != left {
		t.Errorf("%d connections, want %d", table.Len(), left)
	}
}

// TestB15_HalfOpenGoFirst fills a table with connections of every kind and asks for room:
// half-open ones go first, then closing ones, and those in use never.
func TestB15_HalfOpenGoFirst(t *testing.T) {
	table := newTable(t, Config{Capacity: 300})
	now := int64(time.Hour)
	var r Result
	track := func(tup packet.Tuple, f packet.TCPFlags, seq, ack uint32) {
		p := tcpPacket(tup, f, seq, ack)
		hits := make([]Hit, 1)
		table.Lookup([]packet.Parsed{p}, hits)
		if got := table.Track(&p, &hits[0], now, &r); got != OutcomePass {
			t.Fatal(got, r.Reason)
		}
	}
	want := map[worth]int{}
	for i := range 300 {
		tup := numbered(i)
		tup.Proto = packet.TCP
		p := tcpPacket(tup, packet.FlagSYN, 99, 0)
		pr := proposalFor(tup)
		if got := table.Insert(&pr, &p, now, &r); got != Inserted {
			t.Fatal(got)
		}
		kind := worth(i % 3)
		want[kind]++
		if kind != worthHalfOpen {
			track(tup.Reply(), packet.FlagSYN|packet.FlagACK, 199, 100)
			track(tup, packet.FlagACK, 100, 200)
		}
		if kind == worthClosing {
			track(tup, packet.FlagFIN|packet.FlagACK, 100, 200)
		}
	}
	for _, kind := range []worth{worthHalfOpen, worthClosing} {
		for range want[kind] {
			var e Ended
			for tries := 0; !table.Evict(now, &e); tries++ {
				if now += evictPause; tries > 20 {
					t.Fatalf("nobody to evict, want one that is %d", kind)
				}
			}
			half := e.State.TCP() == SynSent
			if half != (kind == worthHalfOpen) || e.State.TCP() == Established || e.Why != EndEvicted {
				t.Fatalf("evicted %v, want worth %d", e.State.TCP(), kind)
			}
		}
	}
	var e Ended
	for range 20 {
		if table.Evict(now, &e) {
			t.Fatalf("a connection in use was evicted: %v", e.State.TCP())
		}
		now += evictPause
	}
	if table.Len() != want[worthInUse] {
		t.Errorf("%d connections are left, want %d", table.Len(), want[worthInUse])
	}
}
