package repair

import (
	"net/netip"
	"slices"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/sync/digest"
	"holdfast/sync/journal"
	"holdfast/sync/wire"
)

const now = int64(1e12)

func table(t testing.TB, capacity uint32, node uint16) *conntrack.Table {
	t.Helper()
	table, err := conntrack.New(conntrack.Config{Capacity: capacity, Node: node})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return table
}

func connection(i int) *conntrack.State {
	o := packet.Tuple{
		Src: packet.AddrFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), Dst: packet.AddrFrom(netip.MustParseAddr("203.0.113.9")),
		SrcPort: 1000, DstPort: 53, Proto: packet.UDP,
	}
	return &conntrack.State{
		Incarnation: conntrack.Incarnation(uint64(i+1)<<16 | 1), Original: o, Reply: o.Reply(), Class: conntrack.Class{Egress: 1},
	}
}

func fill(t testing.TB, table *conntrack.Table, from, to int) {
	t.Helper()
	var applied conntrack.Applied
	for i := from; i < to; i++ {
		if got := table.Apply(connection(i), now, &applied); got != conntrack.AppliedNew {
			t.Fatalf("connection %d: outcome %d", i, got)
		}
	}
}

// old is fill with connections that began long ago.
func old(t testing.TB, table *conntrack.Table, from, to int) {
	t.Helper()
	var applied conntrack.Applied
	for i := from; i < to; i++ {
		s := connection(i)
		s.Incarnation = conntrack.Incarnation(i-from+1)<<16 | 2
		if got := table.Apply(s, now, &applied); got != conntrack.AppliedNew {
			t.Fatalf("connection %d: outcome %d", i, got)
		}
	}
}

// told are the messages that a lane has kept, in order.
func told(t *testing.T, j *journal.Journal, from uint64) (inserts []conntrack.State, ends []wire.TransferEnd) {
	t.Helper()
	for n := from; n <= j.Sent(); n++ {
		b, ok := j.Batch(n, nil)
		if !ok {
			t.Fatalf("batch %d is gone", n)
		}
		_, body, err := wire.DecodeHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		var f wire.Frame
		for frames := (wire.Frames{Rest: body}); frames.Next(&f); {
			switch f.Type {
			case wire.TypeInsert:
				var s conntrack.State
				if err := wire.DecodeInsert(&f, &s); err != nil {
					t.Fatal(err)
				}
				inserts = append(inserts, s)
			case wire.TypeTransferEnd:
				var e wire.TransferEnd
				if err := e.Decode(&f); err != nil {
					t.Fatal(err)
				}
				ends = append(ends, e)
			}
		}
	}
	return inserts, ends
}

func TestTransferStopsWhereCreditEnds(t *testing.T) {
	const count, credit = 5000, 8
	a := table(t, count, 1)
	fill(t, a, 0, count)
	lane := journal.NewKeeping(1024, 0, journal.NewOutlet(nil))
	tr := NewTransfer(a, lane, credit)
	if tr.Step(100, now, 0, true) {
		t.Error("told something that nobody has asked for")
	}
	tr.Ask(&wire.TransferRequest{ID: 1})
	for tr.Step(100, now, 0, true) {
	}
	if got := lane.Sent(); got != credit {
		t.Fatalf("%d batches without an acknowledgement, want %d", got, credit)
	}
	for tr.Running() {
		tr.Step(100, now, lane.Sent(), true)
	}
	inserts, ends := told(t, lane, 1)
	if len(inserts) != count || len(ends) != 1 || ends[0].ID != 1 || !ends[0].Whole {
		t.Fatalf("%d connections and ends %+v, want %d and one of request 1", len(inserts), ends, count)
	}
	for _, s := range inserts {
		if s.Incarnation > ends[0].Cut {
			t.Fatalf("%v began after the cut %v", s.Incarnation, ends[0].Cut)
		}
	}
	sent := lane.Sent()
	tr.Ask(&wire.TransferRequest{ID: 1}) // told again on the way
	if tr.Step(100, now, sent, true); lane.Sent() != sent {
		t.Error("a request that came twice was answered twice")
	}
	tr.Forget()
	tr.Ask(&wire.TransferRequest{ID: 1}) // of the peer's next life
	for tr.Running() {
		tr.Step(1000, now, lane.Sent(), false)
	}
	if _, ends = told(t, lane, sent+1); len(ends) != 1 || ends[0].Whole {
		t.Errorf("ends of the next life: %+v", ends)
	}
}

// world is a node that forwards and one that compares, without a network between.
type world struct {
	t      *testing.T
	a, b   *conntrack.Table
	rounds *Rounds
	check  Check
	trail  digest.Trail
	ledger *digest.Ledger
	need   Need
	lane   *journal.Journal
	tr     *Transfer
	named  *Named
	now    int64
	read   uint64
	apply  *journal.Applier
}

func newWorld(t *testing.T, capacity uint32) *world {
	w := &world{t: t, a: table(t, capacity, 1), b: table(t, capacity, 2), now: now}
	w.rounds, w.ledger = NewRounds(w.a), digest.NewLedger(int(capacity))
	w.lane = journal.NewKeeping(4096, 0, journal.NewOutlet(nil))
	w.tr = NewTransfer(w.a, w.lane, 1024)
	w.named = NewNamed(int(capacity))
	shared := journal.NewShared(journal.New(1, journal.NewOutlet(nil)))
	w.apply = journal.NewApplier(w.b, nat.NewPool(), shared, func(*wire.Neighbor) {})
	w.apply.Observe(w)
	return w
}

func (w *world) Touches(*packet.Tuple) {}
func (w *world) Named(index uint32)    { w.named.Add(index) }

// begin has a beat come that says what a's lanes have sent, and begins the comparison.
func (w *world) begin(now int64, sent ...uint64) (*Asked, bool) {
	var lanes wire.Lanes
	lanes.Set(sent)
	now += overtaking
	w.check.Sent(&lanes, now)
	return w.check.Begin(&w.trail, w.ledger, now)
}

// round takes a through a round and b through its comparison.
func (w *world) round() *Compared {
	w.t.Helper()
	w.now += 1e9
	w.rounds.Begin(w.now)
	for !w.rounds.Step(1000, w.now) {
	}
	w.rounds.Each(nil, journal.BatchMax, func(d *wire.Digest) {
		w.check.Take(d, w.now)
	})
	asked, ok := w.begin(w.now)
	if !ok {
		w.t.Fatal("a round that has come whole cannot be compared")
	}
	var sums digest.Sums
	for p := digest.Begin(w.b, asked.Bits(), &sums); !p.Step(1000, w.now); {
	}
	c := asked.Compare(&sums, w.ledger)
	w.need.Compared(c, w.now)
	return c
}

// serve answers what b needs, and applies it.
func (w *world) serve() (asked bool) {
	w.t.Helper()
	m, due := w.need.Due(w.now)
	if !due {
		return false
	}
	w.tr.Ask(&m)
	for w.tr.Running() {
		w.tr.Step(1000, w.now, w.lane.Sent(), true)
	}
	inserts, ends := told(w.t, w.lane, w.read+1)
	w.read = w.lane.Sent()
	for i := range inserts {
		w.apply.Apply(wire.AppendInsert(nil, &inserts[i]), w.now)
	}
	for i := range ends {
		if !w.need.End(&ends[i]) {
			w.t.Fatalf("end %+v is not of what was asked for", ends[i])
		}
		l := w.need.Leftovers(&ends[i], w.b, w.named)
		for !l.Step(1000, w.now, func(index uint32, i conntrack.Incarnation) { w.apply.Discard(index, i, w.now) }) {
		}
	}
	return true
}

func TestJoinerIsCompleteWithProofOnly(t *testing.T) {
	w := newWorld(t, 4000)
	fill(t, w.a, 0, 3000)
	fill(t, w.b, 2990, 3000)
	old(t, w.b, 3000, 3010) // of a life before
	w.need.All(w.now)
	if ok, why := w.need.Complete(); ok || why == "" {
		t.Error("complete before anything has come")
	}
	if !w.serve() {
		t.Fatal("nothing was asked for")
	}
	if ok, _ := w.need.Complete(); ok {
		t.Error("complete without proof")
	}
	if c := w.round(); c.Divergent != 0 || c.Shards == 0 {
		t.Fatalf("after a transfer: %+v", c.Proof)
	}
	if ok, why := w.need.Complete(); !ok {
		t.Errorf("not complete after proof: %s", why)
	}
	if w.b.Len() != 3000 {
		t.Errorf("%d connections, want 3000: leftovers stay", w.b.Len())
	}
}

func TestFewShardsAreMendedAndManyAreAskedForWhole(t *testing.T) {
	w := newWorld(t, 1<<16)
	const count = 30_000
	fill(t, w.a, 0, count)
	fill(t, w.b, 5, count)      // five are missing
	old(t, w.b, count, count+3) // three are too many
	c := w.round()
	if c.Divergent == 0 || c.Divergent > 8 || int(c.Divergent) != len(c.Differ) {
		t.Fatalf("eight differences gave %+v", c.Proof)
	}
	if ok, why := w.need.Complete(); !ok {
		t.Errorf("eight of %d shards end readiness: %s", c.Shards, why)
	}
	before := w.tr.Told()
	if !w.serve() || w.tr.Told()-before > 8*64 {
		t.Errorf("%d connections were told to mend eight", w.tr.Told()-before)
	}
	if c = w.round(); c.Divergent != 0 {
		t.Errorf("mended, and still %+v", c.Proof)
	}

	empty := newWorld(t, 1<<16)
	fill(t, empty.a, 0, count)
	fill(t, empty.b, 0, 10)
	empty.round()
	if m, due := empty.need.Due(empty.now); !due || len(m.Shards) != 0 {
		t.Errorf("nearly everything differs, and %d shards are asked for", len(m.Shards)/2)
	}
	if ok, _ := empty.need.Complete(); ok {
		t.Error("complete although nearly everything differs")
	}
}

func TestNeedAsksAgainUntilSomethingComes(t *testing.T) {
	var n Need
	n.All(now)
	first, due := n.Due(now)
	if !due {
		t.Fatal("nothing is due")
	}
	if _, due = n.Due(now + askAgain - 1); due {
		t.Error("asked again before its time")
	}
	if again, due := n.Due(now + askAgain); !due || again.ID != first.ID {
		t.Errorf("asked again: %v, request %d, want %d", due, again.ID, first.ID)
	}
	n.Moved(now + askAgain + 1)
	if _, due = n.Due(now + 3*askAgain); due {
		t.Error("asked again although it is coming")
	}
	anew, due := n.Due(now + askAgain + 1 + stalled)
	if !due || anew.ID == first.ID {
		t.Error("a transfer that stands still is not asked for anew")
	}
	if n.End(&wire.TransferEnd{ID: first.ID, Cut: 1}) {
		t.Error("the end of the one given up counts")
	}
	if !n.End(&wire.TransferEnd{ID: anew.ID, Cut: 1}) {
		t.Error("the end does not count")
	}
}

// A round of which a part is lost is compared as far as it came, and proves nothing of the rest.
func TestPartOfARoundProvesThatPart(t *testing.T) {
	w := newWorld(t, 1<<17)
	fill(t, w.a, 0, 50_000)
	fill(t, w.b, 0, 50_000)
	w.need.Prove()
	w.rounds.Begin(w.now)
	for !w.rounds.Step(1000, w.now) {
	}
	var parts []wire.Digest
	w.rounds.Each([]uint64{0, 0}, journal.BatchMax, func(d *wire.Digest) {
		c := *d
		c.Sums = slices.Clone(d.Sums)
		parts = append(parts, c)
	})
	if len(parts) < 3 {
		t.Fatalf("%d parts, too few for this test", len(parts))
	}
	for i := range parts {
		if i != 1 {
			w.check.Take(&parts[i], w.now)
		}
	}
	if _, ok := w.begin(w.now); ok {
		t.Fatal("compared before the rest had time to come")
	}
	asked, ok := w.begin(w.now + patience)
	if !ok {
		t.Fatal("never compared")
	}
	var sums digest.Sums
	for p := digest.Begin(w.b, asked.Bits(), &sums); !p.Step(1000, w.now); {
	}
	c := asked.Compare(&sums, w.ledger)
	if w.need.Compared(c, w.now); c.Divergent != 0 || int(c.Shards) != len(sums.Shard)-parts[1].Len() {
		t.Errorf("%+v of %d shards, one part of %d lost", c.Proof, len(sums.Shard), parts[1].Len())
	}
	if ok, _ := w.need.Complete(); ok {
		t.Error("complete although a part was never compared")
	}
	w.check.Take(&parts[1], w.now) // late
	if w.round(); true {
		if ok, why := w.need.Complete(); !ok {
			t.Errorf("not complete after a whole round: %s", why)
		}
	}
}

// What changes while a round is compared is moving: neither equal nor divergent.
func TestMovingShardsAreNoDivergence(t *testing.T) {
	w := newWorld(t, 4000)
	fill(t, w.a, 0, 1000)
	fill(t, w.b, 0, 1000)
	w.rounds.Begin(w.now)
	for !w.rounds.Step(1000, w.now) {
	}
	fill(t, w.a, 1000, 1001) // begun when the round was over; its batch is the first of lane 0
	var hash digest.Hash
	at := w.ledger.Tick()
	w.ledger.Touch(&hash, &connection(1000).Original, at)
	fill(t, w.b, 1000, 1001)
	w.trail.Applied(0, 1, at)
	w.rounds.Each([]uint64{0}, journal.BatchMax, func(d *wire.Digest) { w.check.Take(d, w.now) })
	asked, ok := w.begin(w.now)
	if !ok {
		t.Fatal("not compared")
	}
	var sums digest.Sums
	for p := digest.Begin(w.b, asked.Bits(), &sums); !p.Step(1000, w.now); {
	}
	if c := asked.Compare(&sums, w.ledger); c.Moving != 1 || c.Divergent != 0 {
		t.Errorf("one change: %+v", c.Proof)
	}
	w.check.Forget()
	w.rounds.Begin(w.now + 1)
	for !w.rounds.Step(1000, w.now) {
	}
	w.rounds.Each([]uint64{2}, journal.BatchMax, func(d *wire.Digest) { w.check.Take(d, w.now) })
	if _, ok := w.begin(w.now, 2); ok {
		t.Error("compared although a batch that was told before the round has not come")
	}
}

// What changed while the peer summed its table may be told by a batch that is lost at first:
// the round waits for all that had been sent when it was over.
func TestRoundWaitsForWhatChangedInIt(t *testing.T) {
	w := newWorld(t, 4000)
	fill(t, w.a, 0, 1001) // the last one began in the round, after batch 0
	fill(t, w.b, 0, 1000)
	w.rounds.Begin(w.now)
	for !w.rounds.Step(1000, w.now) {
	}
	w.rounds.Each([]uint64{0}, journal.BatchMax, func(d *wire.Digest) { w.check.Take(d, w.now) })
	var before, after wire.Lanes
	before.Set([]uint64{0})
	w.check.Sent(&before, w.now+1) // sealed before the digests, and overtaken
	if _, ok := w.check.Begin(&w.trail, w.ledger, w.now+1); ok {
		t.Fatal("compared although nothing says what was sent in the round")
	}
	after.Set([]uint64{1})
	w.check.Sent(&after, w.now+overtaking)
	if _, ok := w.check.Begin(&w.trail, w.ledger, w.now+overtaking); ok {
		t.Fatal("compared although a batch that was sent in the round has not come")
	}
	var hash digest.Hash
	at := w.ledger.Tick()
	w.ledger.Touch(&hash, &connection(1000).Original, at)
	fill(t, w.b, 1000, 1001)
	w.trail.Applied(0, 1, at)
	asked, ok := w.check.Begin(&w.trail, w.ledger, w.now+2*overtaking)
	if !ok {
		t.Fatal("never compared")
	}
	var sums digest.Sums
	for p := digest.Begin(w.b, asked.Bits(), &sums); !p.Step(1000, w.now); {
	}
	if c := asked.Compare(&sums, w.ledger); c.Moving != 1 || c.Divergent != 0 {
		t.Errorf("one change: %+v", c.Proof)
	}
}
