package conntrack

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// An entry is two cache lines and a bucket one; an entry that grows does not compile.
var (
	_ [128 - unsafe.Sizeof(Conn{})]byte
	_ [unsafe.Sizeof(Conn{}) - 128]byte
	_ [64 - unsafe.Sizeof(bucket{})]byte
	_ [unsafe.Sizeof(bucket{}) - 64]byte
	_ [64 - unsafe.Sizeof(shard{})]byte
)

// TestArenaHoldsNoPointers backs the argument of arena_unsafe.go.
func TestArenaHoldsNoPointers(t *testing.T) {
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Struct:
			for i := range typ.NumField() {
				walk(typ.Field(i).Type)
			}
		case reflect.Array:
			walk(typ.Elem())
		case reflect.Pointer, reflect.Slice, reflect.String, reflect.Map, reflect.Chan, reflect.Func, reflect.Interface, reflect.UnsafePointer:
			t.Errorf("%v is a pointer", typ)
		}
	}
	walk(reflect.TypeFor[Conn]())
	walk(reflect.TypeFor[bucket]())
}

func TestNewRefuses(t *testing.T) {
	short := DefaultTimeouts()
	short.Plain[TimerUDP] = 0
	long := DefaultTimeouts()
	long.Translated[TimerUDP] = timeoutMax + 1
	for _, cfg := range []Config{{}, {Capacity: 1 << 31}, {Capacity: 1, Counter: 1 << 47}, {Capacity: 1, Timeouts: short}, {Capacity: 1, Timeouts: long}} {
		if table, err := New(cfg); err == nil {
			table.Close()
			t.Errorf("%+v was accepted", cfg)
		} else {
			t.Log(err)
		}
	}
}

// twin is the obvious table: what Table is compared with.
type twin struct {
	byTuple map[packet.Tuple]*twinConn
	conns   map[uint32]*twinConn // by the index that the table gave
}

type twinConn struct {
	index       uint32
	incarnation Incarnation
	tuple       [2]packet.Tuple
	class       Class
	seen        int64
	packets     [2]uint64
	dead        bool // killed, not reaped yet
}

func (w *twin) remove(c *twinConn) {
	delete(w.byTuple, c.tuple[Original])
	delete(w.byTuple, c.tuple[Reply])
	delete(w.conns, c.index)
}

// TestTwin does the same random things to the table and to its twin. Tuples are drawn
// from a small set, so that they clash; the table is small, so that it fills.
func TestTwin(t *testing.T) {
	seeds := uint64(4)
	if raceBuild {
		seeds = 2
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 1))
		table := newTable(t, Config{Capacity: 200, Node: 3})
		w := &twin{byTuple: map[packet.Tuple]*twinConn{}, conns: map[uint32]*twinConn{}}
		now := int64(time.Hour)
		for range 20000 {
			now += r.Int64N(int64(100 * time.Millisecond))
			twinStep(t, r, table, w, now)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		if table.Len() != len(w.conns) {
			t.Fatalf("seed %d: %d connections, the twin has %d", seed, table.Len(), len(w.conns))
		}
	}
}

func twinStep(t *testing.T, r *rand.Rand, table *Table, w *twin, now int64) {
	hosts := []string{"10.0.0.1", "10.0.0.2"}
	if r.IntN(2) == 0 {
		hosts = []string{"2001:db8::1", "2001:db8::2", "2001:db8:1::3"}
	}
	draw := func() packet.Tuple {
		to := r.IntN(len(hosts)-1) + 1
		return tuple(packet.UDP, hosts[r.IntN(to)], uint16(r.IntN(20)), hosts[to], uint16(r.IntN(20)))
	}
	var res Result
	switch op := r.IntN(100); {
	case op < 70: // a packet
		p := parsed(draw(), 10)
		hits := make([]Hit, 1)
		table.Lookup([]packet.Parsed{p}, hits)
		want := w.byTuple[p.Tuple]
		outcome := table.Track(&p, &hits[0], now, &res)
		if want != nil && want.dead {
			if outcome != OutcomeMiss || res.Change != ChangeEnded || res.Why != EndKilled || res.State.Index != want.index {
				t.Fatalf("packet %v of a dead connection: %v %+v", p.Tuple, outcome, res)
			}
			w.remove(want)
			want = nil
		}
		if (outcome == OutcomePass) != (want != nil) {
			t.Fatalf("packet %v: outcome %v, twin %v", p.Tuple, outcome, want)
		}
		if want != nil {
			dir := Direction(0)
			if want.tuple[Reply] == p.Tuple {
				dir = Reply
			}
			if res.Index != want.index || res.Incarnation != want.incarnation || res.Direction != dir {
				t.Fatalf("packet %v: %+v, twin %+v", p.Tuple, res, want)
			}
			want.seen = now
			want.packets[dir]++
			return
		}
		pr := proposalFor(p.Tuple)
		if r.IntN(2) == 0 {
			pr.Reply = draw()
		}
		pr.Class = Class{Rule: uint32(r.IntN(3)), Gateway: uint8(r.IntN(3)), Egress: packet.NoPort}
		got := table.Insert(&pr, &p, now, &res)
		clash := w.byTuple[pr.Reply] != nil
		switch {
		case pr.Reply == pr.Original:
			if got != Refused {
				t.Fatalf("a connection to itself: %v", got)
			}
		case clash && got != Clash && !(got == Full && len(w.conns) == 200):
			t.Fatalf("%+v: %v, the twin has a clash", pr, got)
		case !clash && len(w.conns) == 200 && got != Full:
			t.Fatalf("%+v: %v, the twin is full", pr, got)
		case !clash && len(w.conns) < 200 && got != Inserted:
			t.Fatalf("%+v: %v", pr, got)
		case got == Inserted:
			if res.Class() != pr.Class {
				t.Fatalf("class %+v, proposed %+v", res.Class(), pr.Class)
			}
			c := &twinConn{res.Index, res.Incarnation, [2]packet.Tuple{pr.Original, pr.Reply}, pr.Class, now, [2]uint64{1, 0}, false}
			if w.conns[c.index] != nil {
				t.Fatalf("index %d was given twice", c.index)
			}
			w.byTuple[pr.Original], w.byTuple[pr.Reply], w.conns[c.index] = c, c, c
		}
	case op < 80: // remove one, and what is no more
		for _, c := range w.conns {
			var s State
			if table.Remove(c.index, c.incarnation+1, now, &s) {
				t.Fatal("another life was removed")
			}
			if !table.Remove(c.index, c.incarnation, now, &s) || s.Original != c.tuple[Original] || s.Reply != c.tuple[Reply] {
				t.Fatalf("removing %+v: %+v", c, s)
			}
			if table.Remove(c.index, c.incarnation, now, &s) {
				t.Fatal("removed twice")
			}
			w.remove(c)
			break
		}
	case op == 80 && r.IntN(3) == 0: // kill, by gateway or by rule
		what := uint32(r.IntN(3))
		match := func(c *Class) bool { return c.Rule == what }
		if r.IntN(2) == 0 {
			match = func(c *Class) bool { return c.Gateway == uint8(what) }
		}
		n := 0
		for _, c := range w.conns {
			if match(&c.class) {
				c.dead = true
				n++
			}
		}
		if k := table.Kill(match, 0); k.Live != n {
			t.Fatalf("a kill found %d connections, the twin %d", k.Live, n)
		}
	case op == 81: // room for one more
		var e Ended
		evicted := table.Evict(now, &e)
		if c := w.conns[e.State.Index]; evicted && (c == nil || e.Why != EndEvicted || c.packets[Reply] != 0) {
			t.Fatalf("evicted %+v, twin %+v", e, c)
		} else if evicted {
			w.remove(c)
		}
	case op == 82: // sweep all, in steps
		ended := make([]Ended, 7)
		for from := uint32(0); ; {
			next, n := table.Sweep(from, 13, now, GraceOwner, ended)
			for _, e := range ended[:n] {
				c := w.conns[e.State.Index]
				if c == nil || c.dead != (e.Why == EndKilled) || !c.dead && (e.Why != EndExpired || now-c.seen < int64(30*time.Second)) {
					t.Fatalf("swept %+v, twin %+v", e, c)
				}
				w.remove(c)
			}
			if from = next; from == 0 {
				break
			}
		}
		for _, c := range w.conns {
			if now-c.seen > int64(301*time.Second) || c.dead {
				t.Fatalf("%+v should have been swept", c)
			}
		}
	default: // look at one
		for _, c := range w.conns {
			var v View
			if c.dead {
				if table.View(c.index, now, &v) || table.Export(c.index, now, &res.State) {
					t.Fatalf("%+v is dead and is seen", c)
				}
				break
			}
			if !table.View(c.index, now, &v) || v.Incarnation != c.incarnation || v.Packets != c.packets ||
				v.Original != c.tuple[Original] || v.Reply != c.tuple[Reply] || v.Class != c.class {
				t.Fatalf("view %+v, twin %+v", v, c)
			}
			break
		}
	}
}

// TestO3_GrowthLosesNothing inserts until many shards have grown several times, with
// every connection found after each step, and reports the longest insert.
func TestO3_GrowthLosesNothing(t *testing.T) {
	const n = 40000
	table := newTable(t, Config{Capacity: n})
	var r Result
	find := func(i int) {
		p := parsed(numbered(i), 0)
		hits := make([]Hit, 1)
		for _, tup := range []packet.Tuple{p.Tuple, p.Tuple.Reply()} {
			p.Tuple = tup
			table.Lookup([]packet.Parsed{p}, hits)
			if !hits[0].Found || table.Track(&p, &hits[0], 1, &r) != OutcomePass {
				t.Fatalf("connection %d is lost", i)
			}
		}
	}
	for i := range n {
		if i%100 == 0 {
			if err := table.Prefault(); err != nil {
				t.Fatal(err)
			}
		}
		insertNumbered(t, table, i)
		find(i)
		find(rand.IntN(i + 1))
	}
	for i := range n {
		find(i)
	}
	if table.Len() != n || table.High() != n {
		t.Errorf("%d connections below %d, want %d", table.Len(), table.High(), n)
	}
	if table.retired.Load() == 0 {
		t.Error("no level was given back")
	}
	p := parsed(numbered(n), 0)
	pr := proposalFor(p.Tuple)
	if got := table.Insert(&pr, &p, 1, &r); got != Full || r.Reason != drop.TableFull {
		t.Errorf("one more: %v, %v", got, r.Reason)
	}
}

// numbered returns a UDP tuple for each number, IPv4.
func numbered(i int) packet.Tuple {
	return packet.Tuple{
		Src:     packet.Addr{10: 0xff, 11: 0xff, 12: 10, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)},
		Dst:     packet.Addr{10: 0xff, 11: 0xff, 12: 192, 13: 0, 14: 2, 15: byte(i >> 24)},
		SrcPort: 40000, DstPort: 53, Proto: packet.UDP,
	}
}

func insertNumbered(t testing.TB, table *Table, i int) Result {
	var r Result
	p := parsed(numbered(i), 0)
	pr := proposalFor(p.Tuple)
	if got := table.Insert(&pr, &p, 1, &r); got != Inserted {
		t.Fatalf("insert %d: %v", i, got)
	}
	return r
}

// TestO7_Expiry holds each timer to its limit, as owner and as shadow.
func TestO7_Expiry(t *testing.T) {
	for _, nat := range []bool{false, true} {
		for grace, factor := range map[Grace]float64{GraceOwner: 1, GraceShadow: 1.5} {
			tr := newTracer(t, [2]uint32{1, 1}, nat)
			tr.run(shake)
			limit := tr.view().Left
			if want := map[bool]time.Duration{false: 432000 * time.Second, true: 7440 * time.Second}[nat]; limit != want {
				t.Errorf("nat %v: established for %v, want %v", nat, limit, want)
			}
			ended := make([]Ended, 1)
			at := tr.now + int64(float64(limit)*factor)
			if _, n := tr.table.Sweep(0, 10, at, grace, ended); n != 0 {
				t.Errorf("grace %v: swept on time", grace)
			}
			if _, n := tr.table.Sweep(0, 10, at+int64(time.Millisecond), grace, ended); n != 1 || tr.table.Len() != 0 {
				t.Errorf("grace %v: not swept a millisecond later", grace)
			}
		}
	}
}

// TestE10_Timers shows the timer that each state of a connection runs on.
func TestE10_Timers(t *testing.T) {
	tr := newTracer(t, [2]uint32{1, 1}, false)
	for _, step := range []struct {
		row  string
		want Timer
	}{
		{"-> S seq=0 => new SS", TimerSynSent},
		{"<- SA seq=0 ack=1 => pass SR", TimerSynRecv},
		{"-> A seq=1 ack=1 => pass ES", TimerEstablished},
		{"-> PA seq=1 ack=1 len=9 => pass ES", TimerUnacknowledged},
		{"<- A seq=1 ack=10 win=0 => pass ES", TimerZeroWindow},
		{"<- A seq=1 ack=10 => pass ES", TimerEstablished},
		{"-> FA seq=10 ack=1 => pass FW", TimerFinWait},
		{"<- A seq=1 ack=11 => pass CW", TimerCloseWait},
		{"<- FA seq=1 ack=11 => pass LA", TimerLastAck},
		{"-> A seq=11 ack=2 => pass TW", TimerTimeWait},
	} {
		tr.run(step.row)
		if got := tr.view().Timer; got != step.want {
			t.Errorf("%s: timer %v, want %v", step.row, got, step.want)
		}
	}
}

// TestO9_Counters counts as the wire does, also past 2^32 packets.
func TestO9_Counters(t *testing.T) {
	tr := newTracer(t, [2]uint32{1, 1}, false)
	tr.run(shake + `
	<- PA  seq=1 ack=1 len=1000       => pass ES
	<- PA  seq=90000000 ack=1 len=100 => tcp-beyond-window ES   not forwarded, not counted
	`)
	v := tr.view()
	if v.Packets != [2]uint64{2, 2} || v.Bytes != [2]uint64{2 * 60, 2*60 + 1000} {
		t.Errorf("packets %v, bytes %v", v.Packets, v.Bytes)
	}
	c := &tr.table.conns.all[tr.result.Index]
	c.edge[Reply].packets = 1<<32 - 1
	tr.run("<- PA seq=1 ack=1 len=1000 => pass ES")
	if got := tr.view().Packets[Reply]; got != 1<<32 {
		t.Errorf("after 2^32 packets: %d", got)
	}
	// The carry runs through both high bytes, and back.
	e := edge{end: 0xff<<56 | 7, bytes: 3<<56 | 100, packets: 1<<32 - 1}
	e.count(50)
	if packets, bytes := e.traffic(); packets != 4<<40 || bytes != 150 || e.position() != 7 {
		t.Errorf("carried to %#x packets, %d bytes, position %d", packets, bytes, e.position())
	}
	e.uncount(50)
	if packets, bytes := e.traffic(); packets != 4<<40-1 || bytes != 100 || e.position() != 7 {
		t.Errorf("taken back to %#x packets, %d bytes, position %d", packets, bytes, e.position())
	}
}

// TestTuplesArePacked compares the packed tuples with what went in, and with what differs
// from it in one bit.
func TestTuplesArePacked(t *testing.T) {
	table := newTable(t, Config{Capacity: 1})
	r := rand.New(rand.NewPCG(1, 2))
	addr := func(six bool) (a packet.Addr) {
		a = packet.Addr{10: 0xff, 11: 0xff}
		for i := range a {
			if six || i >= 12 {
				a[i] = byte(r.Uint32())
			}
		}
		return a
	}
	rounds := 4000
	if raceBuild {
		rounds = 1000
	}
	for round := range rounds {
		six := round%2 == 0
		draw := func() packet.Tuple {
			return packet.Tuple{Src: addr(six), Dst: addr(six), SrcPort: uint16(r.Uint32()), DstPort: uint16(r.Uint32()), Zone: 7, Proto: packet.UDP}
		}
		both := [2]packet.Tuple{draw(), {}}
		both[Reply] = both[Original].Reply()
		if r.IntN(2) == 0 {
			both[Reply].Src = addr(six)
		}
		if r.IntN(2) == 0 {
			both[Reply].Dst = addr(six)
		}
		nat, possible := natFlags(&both[0], &both[1])
		if !possible {
			continue
		}
		c := &table.conns.all[0]
		c.clear()
		c.flags = nat
		table.setTuples(c, 0, &both[0], &both[1], nat)
		for dir, want := range both {
			if got := table.tupleOf(c, 0, Direction(dir)); got != want {
				t.Fatalf("%v became %v", want, got)
			}
			if !table.hasTuple(c, 0, Direction(dir), &want) {
				t.Fatalf("%v is not found again", want)
			}
			for bit := range 16 * 8 {
				for _, change := range []func(*packet.Tuple){
					func(o *packet.Tuple) { o.Src[bit/8] ^= 1 << (bit % 8) },
					func(o *packet.Tuple) { o.Dst[bit/8] ^= 1 << (bit % 8) },
					func(o *packet.Tuple) { o.SrcPort ^= 1 << (bit % 16) },
					func(o *packet.Tuple) { o.DstPort ^= 1 << (bit % 16) },
					func(o *packet.Tuple) { o.Zone ^= 1 << (bit % 16) },
					func(o *packet.Tuple) { o.Proto ^= 1 << (bit % 8) },
				} {
					other := want
					if change(&other); table.hasTuple(c, 0, Direction(dir), &other) {
						t.Fatalf("%v is taken for %v", other, want)
					}
				}
			}
			if other := draw(); table.hasTuple(c, 0, Direction(dir), &other) {
				t.Fatalf("%v is taken for %v", other, want)
			}
		}
	}
}

// TestHash looks for the obvious faults: unused input, unused output, shards unevenly full.
func TestHash(t *testing.T) {
	secret := newSecret()
	base := tuple(packet.TCP, "2001:db8::1", 1, "2001:db8::2", 2)
	seen := map[uint64]string{}
	add := func(tup packet.Tuple, what string) {
		h := secret.hash(&tup)
		if other, ok := seen[h]; ok {
			t.Errorf("%s collides with %s", what, other)
		}
		seen[h] = what
	}
	add(base, "base")
	add(base.Reply(), "reply")
	for bit := range 128 {
		a := base
		a.Src[bit/8] ^= 1 << (bit % 8)
		add(a, fmt.Sprint("src ", bit))
		a = base
		a.Dst[bit/8] ^= 1 << (bit % 8)
		add(a, fmt.Sprint("dst ", bit))
	}
	for bit := range 16 {
		a, b, c := base, base, base
		a.SrcPort ^= 1 << bit
		b.DstPort ^= 1 << bit
		c.Zone ^= 1 << bit
		add(a, fmt.Sprint("sport ", bit))
		add(b, fmt.Sprint("dport ", bit))
		add(c, fmt.Sprint("zone ", bit))
	}
	const n = 1 << 20
	var shards [shardsCount]int
	var ones [64]int
	for i := range n {
		tup := numbered(i)
		h := secret.hash(&tup)
		shards[shardOf(h)]++
		for bit := range ones {
			ones[bit] += int(h >> bit & 1)
		}
	}
	var chi2 float64
	for _, got := range shards {
		d := float64(got) - n/shardsCount
		chi2 += d * d / (n / shardsCount)
	}
	if chi2 > 2450 { // 2047 degrees of freedom: mean 2047, deviation 64
		t.Errorf("shards unevenly full: chi2 = %.0f", chi2)
	}
	for bit, got := range ones {
		if got < n/2-4096 || got > n/2+4096 { // 8 deviations
			t.Errorf("bit %d is set in %d of %d", bit, got, n)
		}
	}
}

// TestNoAllocs holds the packet path to its promise.
func TestNoAllocs(t *testing.T) {
	table := newTable(t, Config{Capacity: 100000})
	keys, hits := make([]packet.Parsed, 64), make([]Hit, 64)
	for i := range keys {
		insertNumbered(t, table, i)
		keys[i] = parsed(numbered(i), 0)
	}
	var r Result
	if n := testing.AllocsPerRun(100, func() { table.Lookup(keys, hits) }); n != 0 {
		t.Errorf("Lookup allocates %v times", n)
	}
	now := int64(1)
	if n := testing.AllocsPerRun(100, func() {
		now += int64(time.Minute) // every one is due for export
		for i := range keys {
			table.Track(&keys[i], &hits[i], now, &r)
		}
	}); n != 0 {
		t.Errorf("Track allocates %v times", n)
	}
	i := 64
	if n := testing.AllocsPerRun(1000, func() {
		p := parsed(numbered(i), 0)
		pr := proposalFor(p.Tuple)
		table.Insert(&pr, &p, 1, &r)
		i++
	}); n != 0 {
		t.Errorf("Insert allocates %v times", n)
	}
	ended := make([]Ended, 64)
	if n := testing.AllocsPerRun(10, func() { table.Sweep(0, 64, 1<<50, GraceOwner, ended) }); n != 0 {
		t.Errorf("Sweep allocates %v times", n)
	}
}

// TestUnlockedFindsALock: who asks is told the shard that is locked, and that there is none.
func TestUnlockedFindsALock(t *testing.T) {
	table, err := New(Config{Capacity: 100, Node: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if s, done := table.Unlocked(0); !done {
		t.Errorf("shard %d of an idle table is locked", s)
	}
	table.lock(5)
	if s, done := table.Unlocked(0); done || s != 5 {
		t.Errorf("shard 5 is locked: %d, %v", s, done)
	}
	if s, done := table.Unlocked(6); !done {
		t.Errorf("behind it shard %d is locked", s)
	}
	table.unlock(5)
}
