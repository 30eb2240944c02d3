package journal

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/sync/wire"
)

// tell makes the body of a batch.
func tell(messages ...func([]byte) []byte) (body []byte) {
	for _, m := range messages {
		body = m(body)
	}
	return body
}

func insert(s conntrack.State) func([]byte) []byte {
	return func(b []byte) []byte { return wire.AppendInsert(b, &s) }
}

func update(s conntrack.State) func([]byte) []byte {
	return func(b []byte) []byte { return wire.AppendUpdate(b, &s) }
}

func end(s conntrack.State) func([]byte) []byte {
	return func(b []byte) []byte {
		return wire.AppendDelete(b, &wire.Delete{Index: s.Index, Incarnation: uint32(s.Incarnation), Why: conntrack.EndExpired})
	}
}

// asked returns the connections that the applier wants to hear of whole.
func (s *side) asked() (all []wire.UpdateRequest) {
	s.Requests(now, func(q *wire.UpdateRequest) { all = append(all, *q) })
	return all
}

func (s *side) is(t *testing.T, connections, ports, refused, conflicts int) {
	t.Helper()
	if n := s.table.Len(); n != connections {
		t.Errorf("%d connections, want %d", n, connections)
	}
	if n := s.ports(); n != ports {
		t.Errorf("%d ports held, want %d", n, ports)
	}
	if n := s.Refused(); n != uint64(refused) {
		t.Errorf("%d messages refused, want %d", n, refused)
	}
	if n := s.Conflicts(); n != uint64(conflicts) {
		t.Errorf("%d conflicts of ports, want %d", n, conflicts)
	}
}

// An insert holds its external port from the moment it is applied, and a delete gives it
// back; both said twice change nothing more.
func TestInsertTakesThePortAtOnceAndDeleteFreesIt(t *testing.T) {
	b := newSide(t, 64)
	for range 2 {
		b.Apply(tell(insert(tcp(1)), insert(udp(2))), now)
		b.is(t, 2, 2, 0, 0)
	}
	s := tcp(1)
	if _, ok := b.pool.Take(s.Original, s.Reply); !ok {
		t.Error("the endpoint that has the port may not use it again")
	}
	b.pool.Release(b.pool.BindingOf(s.Original, s.Reply))
	for range 2 {
		b.Apply(tell(end(tcp(1))), now)
		b.is(t, 1, 1, 0, 0)
	}
	b.Apply(tell(end(udp(2))), now)
	b.is(t, 0, 0, 0, 0)
}

// A connection whose external port belongs to another endpoint here is not entered, and
// counted.
func TestPortConflictIsRefusedAndCounted(t *testing.T) {
	b := newSide(t, 64)
	b.Apply(tell(insert(udp(1))), now)
	other := udp(2) // another server, so that no tuple clashes, and the port of the first
	other.Original.Dst, other.Reply.Src = addr("198.51.100.10"), addr("198.51.100.10")
	other.Reply.DstPort = udp(1).Reply.DstPort
	b.Apply(tell(insert(other)), now)
	b.is(t, 1, 1, 1, 1)
	// The first one's end frees it; then the second may come.
	b.Apply(tell(end(udp(1)), insert(other)), now)
	b.is(t, 1, 1, 1, 1)
	if _, ok := b.states()[other.Original]; !ok {
		t.Error("the second connection is not there")
	}
}

// A greater incarnation that claims a tuple takes the place of another connection, whose
// port is given back.
func TestReplacedConnectionGivesItsPortBack(t *testing.T) {
	b := newSide(t, 64)
	old, young := udp(1), udp(2)
	young.Original = old.Original // the same client's flow, translated to another port now
	young.Reply = young.Original.Reply()
	young.Reply.Dst, young.Reply.DstPort = addr("203.0.113.1"), 60000
	b.Apply(tell(insert(old), insert(young)), now)
	b.is(t, 1, 1, 0, 0)
	if u := b.pool.BindingOf(young.Original, young.Reply); u.Port() != 60000 {
		t.Errorf("the port held is %d", u.Port())
	}
	b.clear()
	b.is(t, 0, 0, 0, 0)
}

// An update of a connection that is not known leads to one request, and the answer, told
// on the shared lane, repairs it.
func TestUnknownUpdateIsAskedForAndRepaired(t *testing.T) {
	a, b := newSide(t, 64), newSide(t, 64)
	// The node that has the connection knows it by its own index.
	a.Apply(tell(insert(tcp(1))), now)
	var s conntrack.State
	if !a.table.Export(a.applied.Index, now, &s) {
		t.Fatal("not there")
	}
	b.Apply(tell(update(s)), now)
	b.is(t, 0, 0, 0, 0)
	asked := b.asked()
	if len(asked) != 1 || asked[0] != (wire.UpdateRequest{Index: s.Index, Incarnation: uint32(s.Incarnation)}) {
		t.Fatalf("it asks for %+v", asked)
	}
	if again := b.asked(); len(again) != 0 {
		t.Errorf("it asks again: %+v", again)
	}
	a.Answer(&asked[0], now)
	b.take(t, a.way)
	b.is(t, 1, 1, 0, 0)
	if diff := cmp.Diff(a.states(), b.states()); diff != "" {
		t.Errorf("asker and answerer differ: %s", diff)
	}
	// From now on updates mean something.
	b.Apply(tell(update(further(s, 2))), now)
	if asked := b.asked(); len(asked) != 0 {
		t.Errorf("it asks for %+v", asked)
	}
	if end := b.states()[s.Original].Dir[0].End; end != further(s, 2).Dir[0].End {
		t.Errorf("End is %#x, want %#x", end, further(s, 2).Dir[0].End)
	}
}

// A request for a connection that has ended, or for another life, is not answered.
func TestAnswerOnlyForTheSameLife(t *testing.T) {
	a := newSide(t, 64)
	a.Apply(tell(insert(tcp(0))), now)
	s := tcp(0)
	for _, q := range []wire.UpdateRequest{
		{Index: a.applied.Index, Incarnation: uint32(s.Incarnation) + 1<<16},
		{Index: a.applied.Index + 1, Incarnation: uint32(s.Incarnation)},
		{Index: 1 << 31, Incarnation: uint32(s.Incarnation)},
	} {
		a.Answer(&q, now)
	}
	if all := a.way.all(t); len(all) != 0 {
		t.Errorf("%d answers", len(all))
	}
}

// However many updates are unknown, the requests between two looks are bounded.
func TestRequestsAreBounded(t *testing.T) {
	b := newSide(t, 1024)
	for i := range 1000 {
		b.Apply(tell(update(tcp(i))), now)
	}
	if n := len(b.asked()); n != requestsMax {
		t.Errorf("%d requests, want %d", n, requestsMax)
	}
}

// A peer that says less than we know is told what we know.
func TestStaleStateIsAnsweredWithOurs(t *testing.T) {
	b := newSide(t, 64)
	better := further(tcp(1), 4)
	b.Apply(tell(insert(better)), now)
	for _, worse := range []func([]byte) []byte{insert(tcp(1)), update(tcp(1))} {
		b.Apply(tell(worse), now)
		all := b.way.all(t)
		if len(all) != 1 {
			t.Fatalf("%d answers", len(all))
		}
		var f wire.Frame
		var s conntrack.State
		frames := wire.Frames{Rest: all[0].body}
		if !frames.Next(&f) || wire.DecodeInsert(&f, &s) != nil || s.Dir[0].End != better.Dir[0].End {
			t.Errorf("the answer is %+v", s)
		}
	}
	b.is(t, 1, 1, 0, 0)
}

// After Forget the sender's indices mean nothing: a delete by an old index must not hit.
func TestForget(t *testing.T) {
	b := newSide(t, 64)
	s := tcp(1)
	b.Apply(tell(insert(s)), now)
	b.Forget()
	b.Apply(tell(end(s)), now)
	b.is(t, 1, 1, 0, 0)
	s.Incarnation += 1 << 16
	b.Apply(tell(update(further(s, 1))), now)
	if asked := b.asked(); len(asked) != 1 {
		t.Errorf("it asks for %+v", asked)
	}
	b.Apply(tell(insert(s), end(s)), now)
	b.is(t, 0, 0, 0, 0)
}

// A delete names a life; one of another life at the same index does nothing.
func TestDeleteOfAnotherLife(t *testing.T) {
	b := newSide(t, 64)
	s := tcp(1)
	b.Apply(tell(insert(s)), now)
	earlier := s
	earlier.Incarnation -= 1 << 16
	b.Apply(tell(end(earlier)), now)
	b.is(t, 1, 1, 0, 0)
}

func TestNeighborIsHandedOn(t *testing.T) {
	b := newSide(t, 64)
	want := wire.Neighbor{Port: 1, Address: addr("203.0.113.10"), MAC: packet.MAC{2, 0, 0, 0, 0, 9}, Validity: 60000}
	b.Apply(tell(want.Append), now)
	if len(b.neighbors) != 1 || b.neighbors[0] != want {
		t.Errorf("neighbours %+v", b.neighbors)
	}
}

// What makes no sense is counted, and what follows it in the batch is applied as far as
// the frames can be told apart.
func TestNonsenseIsCounted(t *testing.T) {
	bad := tcp(1)
	bad.Incarnation = 0
	far := udp(2)
	far.Index = 1 << 30 // a table larger than ours
	long := tell(insert(tcp(1)))
	long = append(long, 0)
	long[3]++ // the frame's length, low byte
	flags := tell((&wire.Neighbor{Port: 1, Address: addr("203.0.113.10")}).Append)
	flags[1] = 0x80
	for name, c := range map[string]struct {
		body        []byte
		connections int
		refused     int
	}{
		"invalid state":      {tell(insert(bad), insert(udp(2))), 1, 1},
		"index too great":    {tell(insert(far)), 1, 1},
		"trailing bytes":     {append(long, tell(insert(udp(2)))...), 1, 1},
		"unknown flags":      {append(flags, tell(insert(udp(2)))...), 1, 1},
		"later type":         {append([]byte{99, 0, 0, 2, 1, 2}, tell(insert(udp(2)))...), 1, 0},
		"cut in the header":  {append(tell(insert(udp(2))), 16, 0, 0), 1, 1},
		"cut in the message": {tell(insert(udp(2)))[:20], 0, 1},
		"nothing":            {nil, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newSide(t, 64)
			b.Apply(c.body, now)
			if n := b.table.Len(); n != c.connections || b.Refused() != uint64(c.refused) {
				t.Errorf("%d connections and %d refused, want %d and %d", n, b.Refused(), c.connections, c.refused)
			}
			b.clear()
			if n := b.ports(); n != 0 {
				t.Errorf("%d ports leaked", n)
			}
		})
	}
}

// A full table refuses, and holds no port for what it refused.
func TestFullTableHoldsNoPort(t *testing.T) {
	b := newSide(t, 4)
	for i := range 4 {
		b.Apply(tell(insert(udp(i))), now)
	}
	extra := udp(9)
	extra.Index = 1
	b.Apply(tell(insert(extra)), now)
	b.is(t, 4, 4, 1, 0)
}

// Two nodes, each telling the other of its own connections over sealed links, end with
// equal tables and equal ports, and after the deletes with none.
func TestTwoNodesEndEqual(t *testing.T) {
	a, b := newSide(t, 1024), newSide(t, 1024)
	lanes := [2]struct {
		j *Journal
		w *way
	}{}
	for i := range lanes {
		lanes[i].j, lanes[i].w = newLane(t)
	}
	turn := func() {
		for i := range lanes {
			lanes[i].j.Flush()
		}
		b.take(t, lanes[0].w)
		a.take(t, lanes[1].w)
	}
	// Each connection is at home on one node, whose table and port map have it before
	// its lane tells.
	homes := [2]*side{a, b}
	var index [200]uint32
	own := func(i int) conntrack.State {
		var s conntrack.State
		if !homes[i%2].table.Export(index[i], now, &s) {
			t.Fatalf("connection %d is gone", i)
		}
		return s
	}
	for i := range index {
		s := tcp(i)
		if i%3 == 0 {
			s = udp(i)
		}
		s.Incarnation = conntrack.Incarnation(i+1)<<16 | conntrack.Incarnation(i%2+1)
		home := homes[i%2]
		home.insertOwn(t, s)
		index[i] = home.applied.Index
		s = own(i)
		lanes[i%2].j.Insert(&s)
		turn()
	}
	for i := range index {
		if i%3 == 0 {
			continue
		}
		s := further(own(i), 1+i%5)
		u := conntrack.Update{Incarnation: uint32(s.Incarnation), Flags: s.Flags, Dir: s.Dir}
		if out := homes[i%2].table.Merge(index[i], &u, now, &homes[i%2].applied); out != conntrack.AppliedMerged {
			t.Fatalf("update %d: outcome %d", i, out)
		}
		s = own(i)
		lanes[i%2].j.Update(&s)
		if i%7 == 0 {
			turn()
		}
	}
	turn()
	if diff := cmp.Diff(a.states(), b.states()); diff != "" {
		t.Fatalf("the tables differ: %s", diff)
	}
	for _, s := range homes {
		s.is(t, len(index), len(index), 0, 0)
		if asked := s.asked(); len(asked) != 0 {
			t.Errorf("%d requests", len(asked))
		}
	}
	for i := range index {
		s, home := own(i), homes[i%2]
		if !home.table.Remove(index[i], s.Incarnation, now, &s) {
			t.Fatalf("connection %d is gone", i)
		}
		home.pool.Release(home.pool.BindingOf(s.Original, s.Reply))
		lanes[i%2].j.Delete(&s, conntrack.EndExpired)
	}
	turn()
	for _, s := range homes {
		s.is(t, 0, 0, 0, 0)
	}
}

// insertOwn enters a connection as the node's own worker would.
func (s *side) insertOwn(t *testing.T, st conntrack.State) {
	t.Helper()
	if out := s.table.Apply(&st, now, &s.applied); out != conntrack.AppliedNew {
		t.Fatalf("outcome %d", out)
	}
	if _, ok := s.pool.Take(st.Original, st.Reply); !ok {
		t.Fatal("the port is taken")
	}
}

// What two lanes tell comes in any order. A delete that is faster than its insert ends it
// all the same, and an index that is used again does not save the connection before.
func TestLanesMayOvertakeEachOther(t *testing.T) {
	b := newSide(t, 64)
	first := tcp(1)
	again := tcp(2)
	again.Index = first.Index
	b.Apply(tell(end(first)), now)
	b.Apply(tell(insert(first)), now)
	b.is(t, 0, 0, 0, 0)

	first.Incarnation += 1 << 20
	again.Incarnation += 1 << 21
	b.Apply(tell(insert(first)), now)
	b.Apply(tell(insert(again)), now)
	b.is(t, 2, 2, 0, 0)
	b.Apply(tell(end(first)), now)
	b.is(t, 1, 1, 0, 0)
	b.Apply(tell(end(again)), now)
	b.is(t, 0, 0, 0, 0)
}

// P3: an index that is used again means the later connection, also where word of the earlier
// one comes last, and long after both: what waits between lanes has been forgotten then.
func TestP3_AnIndexMeansWhoeverHasItLast(t *testing.T) {
	b := newSide(t, 64)
	first, again := tcp(1), tcp(2)
	again.Index = first.Index
	b.Apply(tell(insert(again)), now)
	b.Apply(tell(insert(first)), now)
	b.Apply(tell(end(first)), now)
	b.is(t, 1, 1, 0, 0)
	later := now + 2*limboLife
	b.Apply(tell(update(further(again, 1))), later)
	if n := len(b.wanted); n != 0 {
		t.Errorf("the update of the later connection asks for %d connections", n)
	}
	b.Apply(tell(end(again)), later)
	b.is(t, 0, 0, 0, 0)
}

// REL15: what a batch tells was so when it was sent: a connection has been idle here for as
// long as there, however long the batch was on its way.
func TestREL15_WaitingDoesNotRefresh(t *testing.T) {
	b := newSide(t, 64)
	s := tcp(1)
	s.Idle = 500
	idle := func() uint32 {
		var o conntrack.State
		if !b.table.Export(0, now, &o) {
			t.Fatal("the connection is not there")
		}
		return o.Idle
	}
	b.ApplyLate(tell(insert(s)), now, 2e9)
	if got := idle(); got != 2500 {
		t.Errorf("idle for %d ms, want 2500", got)
	}
	b.ApplyLate(tell(update(further(s, 1))), now, 1e9)
	if got := idle(); got != 1000 {
		t.Errorf("idle for %d ms after an update, want 1000", got)
	}
	s.Idle = ^uint32(0) - 10
	b.ApplyLate(tell(insert(s)), now, 2e9)
	if b.Refused() != 1 || idle() != 1000 {
		t.Errorf("%d refused, idle for %d ms: nonsense counts", b.Refused(), idle())
	}
}

// An update that is faster than its insert counts when that comes.
func TestUpdateBeforeItsInsertCounts(t *testing.T) {
	b := newSide(t, 64)
	s := tcp(1)
	later := further(s, 3)
	b.Apply(tell(update(later)), now)
	b.Apply(tell(insert(s)), now)
	for _, is := range b.states() {
		if is.Dir[0].End != later.Dir[0].End {
			t.Errorf("the end is %x, the update said %x", is.Dir[0].End, later.Dir[0].End)
		}
	}
	b.is(t, 1, 1, 0, 0)
	if asked := b.asked(); len(asked) != 0 {
		t.Errorf("it asks for %+v", asked)
	}
}

// A request or its answer may be lost: it is repeated, and not for ever.
func TestRequestIsRepeated(t *testing.T) {
	b := newSide(t, 64)
	b.Apply(tell(update(tcp(1))), now)
	asked := 0
	for at := now; at < now+int64(60e9); at += requestRetry {
		b.Requests(at, func(*wire.UpdateRequest) { asked++ })
	}
	if asked != requestTries {
		t.Errorf("asked %d times, want %d", asked, requestTries)
	}
}

// TestADeleteThatCameFirstEndsWhoHasLostItsIndex: the delete of a connection comes first, then
// the insert of the one that has its index now, and last its own.
func TestADeleteThatCameFirstEndsWhoHasLostItsIndex(t *testing.T) {
	b := newSide(t, 64)
	first, again := tcp(1), tcp(2)
	again.Index = first.Index
	b.Apply(tell(end(first)), now)
	b.Apply(tell(insert(again)), now)
	b.Apply(tell(insert(first)), now)
	b.is(t, 1, 1, 0, 0)
	b.Apply(tell(end(again)), now)
	b.is(t, 0, 0, 0, 0)
}

// TestALifeThatHasLostItsTupleIsNotAskedForAgain: an update of it came before its insert, and a
// later life of the same tuple too.
func TestALifeThatHasLostItsTupleIsNotAskedForAgain(t *testing.T) {
	b := newSide(t, 64)
	first, later := tcp(1), tcp(1)
	later.Index, later.Incarnation = 9, first.Incarnation+1<<20
	b.Apply(tell(update(first)), now)
	b.Apply(tell(insert(later)), now)
	if got := b.asked(); len(got) != 1 {
		t.Fatalf("asked for %v", got)
	}
	b.Apply(tell(insert(first)), now) // the answer
	if n := len(b.wanted); n != 0 {
		t.Errorf("%d connections are wanted", n)
	}
	b.is(t, 1, 1, 0, 0)
}
