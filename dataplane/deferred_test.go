package dataplane

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/sync/journal"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// deferRig is a rig whose rule defers, with a peer that the test plays.
type deferRig struct {
	*rig
	link *journal.Link
}

// nowhere is a journal.Way whose datagrams nobody takes.
type nowhere struct{}

func (nowhere) Write([]byte) error { return nil }

// session is a journal.Link's Sessions that has always the same.
type session struct{ s *seal.Session }

func (s session) Session() *seal.Session { return s.s }

// newSession returns one end of a sealed session.
func newSession(t testing.TB) *seal.Session {
	t.Helper()
	k := []seal.Key{seal.NewKey()}
	a, errA := seal.NewPeer(seal.Config{Keys: k})
	b, errB := seal.NewPeer(seal.Config{Keys: k, Part: seal.Responder})
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	answer := b.Receive(0, a.Tick(0, nil), nil).Reply
	confirm := a.Receive(0, answer, nil).Reply
	a.Receive(0, b.Receive(0, confirm, nil).Reply, nil)
	return a.Session()
}

func newDeferRig(t testing.TB) *deferRig {
	t.Helper()
	text := strings.Replace(rigPolicy, `id = "out"`, "id = \"out\"\nstate = { sync = \"defer\" }", 1)
	link := &journal.Link{Way: nowhere{}, Sessions: session{newSession(t)}}
	r := &deferRig{rig: rigOf(t, text, rigRoutes, rigNeighbors, 30_000), link: link}
	r.lane = journal.New(0, journal.NewOutlet([]*journal.Link{link}))
	r.w.config.Journal, r.w.config.DeferMax = r.lane, DeferMax
	return r
}

// turn lets the worker go once around, without packets, and returns what left.
func (r *deferRig) turn() []out {
	r.w.releaseDeferred()
	r.lane.Flush()
	return r.take()
}

func syn(sport uint16) packetIn {
	return fromClient(packetIn{flags: "S", sport: sport, dport: 443, seq: 1000})
}

// TestP3_FirstPacketWaitsForTheAcknowledgement: the SYN of a deferred connection leaves when
// a peer has the connection, once, rewritten as ever; what the client repeats meanwhile
// leaves behind it; and connections that are not deferred go on.
func TestP3_FirstPacketWaitsForTheAcknowledgement(t *testing.T) {
	r := newDeferRig(t)
	if left := r.feed(lan, syn(5000).frame(t)); len(left) != 0 {
		t.Fatal("the first packet left at once")
	}
	if r.w.snapshot.Table.Len() != 1 {
		t.Fatal("the connection is not in the table")
	}
	if left := r.feed(lan, syn(5000).frame(t)); len(left) != 0 {
		t.Fatal("a repeated SYN overtook the first")
	}
	if left := r.turn(); len(left) != 0 {
		t.Fatal("it left although no peer has said anything")
	}
	batch := r.lane.Sent()
	if r.told(wire.TypeInsert) != 1 || r.told(wire.TypeAckRequest) != 1 {
		t.Fatal("the peers were not told, or not asked")
	}
	r.lane.Acknowledge(batch + 1) // a lie: it was never sent
	if left := r.turn(); len(left) != 0 {
		t.Fatal("it left by an acknowledgement of what was not sent")
	}
	r.lane.Acknowledge(batch)
	left := r.turn()
	if len(left) != 2 {
		t.Fatalf("%d packets left", len(left))
	}
	p := r.one(left[:1], wan, macServer, macWan)
	if p.Tuple.Src != wanAddr || p.Tuple.Dst != server || p.TTL != 63 {
		t.Errorf("left as %v, TTL %d", p.Tuple, p.TTL)
	}
	if left := r.turn(); len(left) != 0 {
		t.Fatal("it left twice")
	}
	// The answer, and what follows, wait for nothing.
	if left := r.feed(wan, fromServer(packetIn{flags: "SA", sport: 443, dport: p.Tuple.SrcPort, seq: 9, ack: 1001}).frame(t)); len(left) != 1 {
		t.Fatal("the answer did not pass")
	}
	if left := r.feed(lan, fromClient(packetIn{flags: "A", sport: 5000, dport: 443, seq: 1001, ack: 10}).frame(t)); len(left) != 1 {
		t.Fatal("what follows did not pass")
	}
	if got := r.w.Deferrals(); got != (Deferrals{Waited: 1, Acknowledged: 1}) {
		t.Errorf("%+v", got)
	}
	if a := r.w.umem.Account(); a.Held != 0 {
		t.Errorf("frames: %+v", a)
	}
}

// TestP3_OthersDoNotWait: while a first packet waits, connections go on that did not ask for
// it, and those that have their acknowledgement.
func TestP3_OthersDoNotWait(t *testing.T) {
	r := newDeferRig(t)
	r.feed(lan, syn(5000).frame(t))
	r.turn()
	r.lane.Acknowledge(r.lane.Sent())
	r.turn()
	r.feed(lan, syn(5001).frame(t))
	if left := r.feed(lan, syn(5000).frame(t)); len(left) != 1 {
		t.Error("a connection that the peer has waits for another one")
	}
	if left := r.turn(); len(left) != 0 {
		t.Error("the other one left")
	}
}

// TestP3_BoundedTime: without an acknowledgement the packet leaves after DeferMax, and not
// before.
func TestP3_BoundedTime(t *testing.T) {
	r := newDeferRig(t)
	r.feed(lan, syn(5000).frame(t))
	r.turn()
	if got := r.w.sleep(); got > DeferMax {
		t.Errorf("the worker sleeps for %v", got)
	}
	r.w.now += DeferMax.Nanoseconds() - int64(time.Microsecond)
	if left := r.turn(); len(left) != 0 {
		t.Fatal("it left too early")
	}
	if got := r.w.sleep(); got != time.Microsecond {
		t.Errorf("the worker sleeps for %v", got)
	}
	r.w.now += int64(time.Microsecond)
	if left := r.turn(); len(left) != 1 {
		t.Fatalf("%d packets left", len(left))
	}
	r.lane.Acknowledge(r.lane.Sent())
	if left := r.turn(); len(left) != 0 {
		t.Fatal("it left twice")
	}
	if got := r.w.Deferrals(); got != (Deferrals{Waited: 1, Late: 1}) {
		t.Errorf("%+v", got)
	}
	if r.w.sleep() != idleMax {
		t.Error("the worker does not sleep as long as it may")
	}
}

// TestP3_NobodyToAsk: without a session, or with a peer that has fallen silent, nothing waits.
func TestP3_NobodyToAsk(t *testing.T) {
	r := newDeferRig(t)
	r.link.Silent.Store(true)
	if left := r.feed(lan, syn(5000).frame(t)); len(left) != 1 {
		t.Error("it waits for a peer that is silent")
	}
	r.link.Silent.Store(false)
	r.link.Sessions = session{nil}
	if left := r.feed(lan, syn(5001).frame(t)); len(left) != 1 {
		t.Error("it waits for a peer without a session")
	}
	if got := r.w.Deferrals(); got != (Deferrals{Alone: 2}) {
		t.Errorf("%+v", got)
	}
}

// TestP3_QueueFull: a first packet without a place leaves at once; a later one of a
// connection that has too many waiting is dropped, since it must not come first.
func TestP3_QueueFull(t *testing.T) {
	r := newDeferRig(t)
	for i := range deferredMax {
		if left := r.feed(lan, syn(uint16(5000+i)).frame(t)); len(left) != 0 {
			t.Fatalf("connection %d did not wait", i)
		}
	}
	if left := r.feed(lan, syn(20000).frame(t)); len(left) != 1 {
		t.Error("one too many did not leave")
	}
	if left := r.feed(lan, syn(5000).frame(t)); len(left) != 0 {
		t.Error("a repeated SYN overtook the first")
	}
	if n := r.w.shares[wan].TxDrops.Count(drop.DeferFull); n != 1 {
		t.Errorf("%d dropped", n)
	}
	r.turn()
	r.lane.Acknowledge(r.lane.Sent())
	if left := r.turn(); len(left) != deferredMax {
		t.Errorf("%d left", len(left))
	}
	for i := range deferredEach + 1 {
		q := fromClient(packetIn{proto: packet.UDP, sport: 7000, dport: 53, payload: 20 + i})
		if left := r.feed(lan, q.frame(t)); len(left) != 0 {
			t.Fatalf("datagram %d did not wait", i)
		}
	}
	if n := r.w.shares[wan].TxDrops.Count(drop.DeferFull); n != 2 {
		t.Errorf("%d dropped", n)
	}
	r.turn()
	r.lane.Acknowledge(r.lane.Sent())
	left := r.turn()
	for i, o := range left {
		if len(o.frame) != 62+i {
			t.Fatalf("out of order: packet %d has %d bytes", i, len(o.frame))
		}
	}
	if len(left) != deferredEach {
		t.Errorf("%d left", len(left))
	}
	if got := r.w.Deferrals(); got != (Deferrals{Waited: deferredMax + 1, Acknowledged: deferredMax + 1, Full: 1}) {
		t.Errorf("%+v", got)
	}
	if a := r.w.umem.Account(); a.Held != 0 {
		t.Errorf("frames: %+v", a)
	}
}

// TestP3_LostRoleAndKill: what waits is dropped when the node loses its role, and when its
// connection is killed.
func TestP3_LostRoleAndKill(t *testing.T) {
	r := newDeferRig(t)
	r.feed(lan, syn(5000).frame(t))
	r.w.silence()
	if n := r.w.shares[wan].TxDrops.Count(drop.LeaseLapsed); n != 1 {
		t.Errorf("%d dropped", n)
	}
	r.w.active = true
	r.lane.Flush()
	r.lane.Acknowledge(r.lane.Sent())
	if left := r.turn(); len(left) != 0 {
		t.Error("a former role's packet left")
	}
	r.feed(lan, syn(5001).frame(t))
	r.turn()
	r.w.snapshot.Table.Kill(func(*conntrack.Class) bool { return true }, 0)
	r.lane.Acknowledge(r.lane.Sent())
	if left := r.turn(); len(left) != 0 {
		t.Error("a killed connection's packet left")
	}
	if n := r.w.shares[wan].TxDrops.Count(drop.DeferEnded); n != 1 {
		t.Errorf("%d dropped", n)
	}
	if a := r.w.umem.Account(); a.Held != 0 {
		t.Errorf("frames: %+v", a)
	}
}

// TestP3_DatagramInPieces: the pieces of a first datagram wait together.
func TestP3_DatagramInPieces(t *testing.T) {
	r := newDeferRig(t)
	whole := fromClient(packetIn{proto: packet.UDP, sport: 7000, dport: 53, payload: 2992}).frame(t)
	pieces := cut4(whole, cutting{size: 1480})
	if left := r.feed(lan, pieces...); len(left) != 0 {
		t.Fatal("it left at once")
	}
	r.turn()
	r.lane.Acknowledge(r.lane.Sent())
	if left := r.turn(); len(left) != len(pieces) {
		t.Errorf("%d of %d pieces left", len(left), len(pieces))
	}
}

// TestP3_AcknowledgementWakes: the owner of a lane is woken once, by the acknowledgement
// that it waits for.
func TestP3_AcknowledgementWakes(t *testing.T) {
	r := newDeferRig(t)
	woken := 0
	r.lane.OnAcknowledged(func() { woken++ })
	for i := range 3 {
		r.feed(lan, syn(uint16(5000+i)).frame(t))
		r.turn()
	}
	first := r.lane.Sent() - 2
	r.lane.Acknowledge(first - 1)
	if woken != 0 {
		t.Fatal("woken for nothing")
	}
	r.lane.Acknowledge(first)
	r.lane.Acknowledge(first + 1)
	if woken != 1 {
		t.Fatalf("woken %d times", woken)
	}
	if left := r.turn(); len(left) != 2 {
		t.Fatalf("%d left", len(left))
	}
	if r.lane.Acknowledge(first + 2); woken != 2 || len(r.turn()) != 1 {
		t.Fatalf("woken %d times", woken)
	}
	if r.lane.Acknowledge(first + 3); woken != 2 {
		t.Error("woken for nothing")
	}
}

// waitModel is what TestP3_INV6 knows of a connection: the batch that told of it and its
// deadline, and whether its first packet has left.
type waitModel struct {
	batch uint64
	until int64
	left  bool
	gone  bool // dropped with the role, or killed
}

// TestP3_INV6: whatever happens in whatever order, a deferred packet leaves exactly once,
// not before its batch is acknowledged or its time is over, and then at the next turn.
func TestP3_INV6(t *testing.T) {
	r, next := newDeferRig(t), uint16(5000)
	rapid.Check(t, func(rt *rapid.T) {
		model := map[uint16]*waitModel{}
		acked := r.lane.Acknowledged()
		leave := func(all []out) {
			for _, o := range all {
				var p packet.Parsed
				if why := packet.Decode(o.frame, &p); why != drop.Pass {
					rt.Fatal(why)
				}
				m := model[p.Tuple.SrcPort]
				switch {
				case m == nil || m.left || m.gone:
					rt.Fatalf("port %d left twice, or after its end: %+v", p.Tuple.SrcPort, m)
				case m.batch > acked && r.w.now < m.until:
					rt.Fatalf("port %d left too early: %+v, %d acknowledged at %d", p.Tuple.SrcPort, m, acked, r.w.now)
				}
				m.left = true
			}
		}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0, 1, 2, 3:
				model[next] = &waitModel{batch: r.lane.Sent() + 1, until: r.w.now + DeferMax.Nanoseconds()}
				leave(r.feed(lan, syn(next).frame(t)))
				next++
			case 4, 5:
				n := r.lane.Sent() + 1 - min(r.lane.Sent(), rapid.Uint64Range(0, 5).Draw(rt, "ack"))
				if n <= r.lane.Sent() {
					acked = max(acked, n)
				}
				r.lane.Acknowledge(n) // one too high is a lie
			case 6:
				r.w.now += rapid.Int64Range(0, 6e6).Draw(rt, "time")
			case 7:
				if rapid.IntRange(0, 9).Draw(rt, "lapse") == 0 {
					r.w.silence()
					r.w.active = true
					for _, m := range model {
						m.gone = m.gone || !m.left
					}
				}
			default:
				leave(r.turn())
				for port, m := range model {
					if !m.left && !m.gone && (m.batch <= acked || m.until <= r.w.now) {
						rt.Fatalf("port %d has not left: %+v", port, m)
					}
				}
			}
		}
		r.w.now += DeferMax.Nanoseconds()
		leave(r.turn())
		for port, m := range model {
			if m.left == m.gone {
				rt.Fatalf("port %d: %+v", port, m)
			}
		}
		if a := r.w.umem.Account(); a.Held != 0 || r.w.deferral.n != 0 {
			rt.Fatalf("frames: %+v, %d wait", a, r.w.deferral.n)
		}
	})
}
