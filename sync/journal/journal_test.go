package journal

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

func newLane(t testing.TB) (*Journal, *way) {
	t.Helper()
	w := newWay(t)
	return New(3, NewOutlet([]*Link{&w.Link})), w
}

// What is told leaves with the next Flush, in order, in one batch with the lane's number;
// without anything to tell nothing leaves.
func TestFlushSendsWhatWasTold(t *testing.T) {
	j, w := newLane(t)
	j.Flush()
	if all := w.all(t); len(all) != 0 || j.Sent() != 0 || j.Oldest() != 1 {
		t.Fatalf("%d datagrams before the first message; sent %d, oldest %d", len(all), j.Sent(), j.Oldest())
	}
	s := tcp(1)
	j.Insert(&s)
	more := further(s, 1)
	j.Update(&more)
	j.Delete(&s, conntrack.EndExpired)
	j.Neighbor(&wire.Neighbor{Port: 1, Address: addr("203.0.113.10"), MAC: packet.MAC{2, 9}, Validity: 1})
	if all := w.all(t); len(all) != 0 {
		t.Fatal("it was sent before Flush")
	}
	j.Flush()
	all := w.all(t)
	if len(all) != 1 || j.Sent() != 1 || all[0].Sequence != 1 || all[0].Lane != 3 || j.Lane() != 3 {
		t.Fatalf("%d batches, sent %d", len(all), j.Sent())
	}
	if got, want := all[0].types(t), []string{"insert", "update", "delete", "neighbor"}; !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
	if w.Sent.Load() != 1 {
		t.Errorf("%d datagrams counted", w.Sent.Load())
	}
}

// Connections that are not replicated are never mentioned.
func TestSyncNoneIsNotTold(t *testing.T) {
	j, w := newLane(t)
	s := tcp(1)
	s.Sync = conntrack.SyncNone
	j.Insert(&s)
	j.Update(&s)
	j.Delete(&s, conntrack.EndExpired)
	j.Flush()
	if all := w.all(t); len(all) != 0 {
		t.Errorf("it told %v", all[0].types(t))
	}
}

// Of several updates of one connection in one batch the last takes the place of the
// others; another life at the same index, another connection and another batch do not.
func TestUpdatesCoalesceInPlace(t *testing.T) {
	j, w := newLane(t)
	one, other := tcp(1), tcp(1+64) // both in one slot of the coalescer
	again := one
	again.Incarnation += 1 << 16
	for i := range 5 {
		s := further(one, i)
		j.Update(&s)
	}
	j.Update(&again)
	j.Update(&other)
	s := further(one, 9) // its slot is the other's now: a second message, no harm
	j.Update(&s)
	j.Flush()
	s = further(one, 10)
	j.Update(&s)
	j.Flush()
	all := w.all(t)
	if len(all) != 2 {
		t.Fatalf("%d batches, want 2", len(all))
	}
	if got := all[0].types(t); len(got) != 4 {
		t.Errorf("the first batch holds %v, want 4 updates", got)
	}
	want := wire.AppendStreamHeader(nil, 3, 1)
	last := further(one, 4)
	for _, s := range []conntrack.State{last, again, other, further(one, 9)} {
		want = wire.AppendUpdate(want, &s)
	}
	if !bytes.Equal(all[0].plain, want) {
		t.Errorf("the first batch is\n% x, want\n% x", all[0].plain, want)
	}
	if got := all[1].types(t); len(got) != 1 {
		t.Errorf("the second batch holds %v, want 1 update", got)
	}
}

// No batch is longer than BatchMax, so that sealed and over IPv6 it fits a link of 1,500
// bytes; numbers have no gap, and no message is lost at a border.
func TestBatchesFitTheLinkAndAreNumbered(t *testing.T) {
	j, w := newLane(t)
	var all []batch
	inserts := 500
	for i := range inserts {
		s := tcp(i)
		j.Insert(&s)
		all = append(all, w.all(t)...)
	}
	j.Flush()
	all = append(all, w.all(t)...)
	messages := 0
	for i, b := range all {
		if b.Sequence != uint64(i+1) {
			t.Fatalf("batch %d has number %d", i+1, b.Sequence)
		}
		if len(b.plain) > BatchMax || len(b.plain)+seal.Overhead+48 > 1500 {
			t.Errorf("batch %d has %d bytes", i+1, len(b.plain))
		}
		if i < len(all)-1 && len(b.plain)+wire.InsertMax <= BatchMax {
			t.Errorf("batch %d left with %d bytes, although another message fitted", i+1, len(b.plain))
		}
		messages += len(b.types(t))
	}
	if messages != inserts || j.Sent() != uint64(len(all)) {
		t.Errorf("%d messages in %d batches, sent %d", messages, len(all), j.Sent())
	}
}

// The backlog gives back what was sent, byte for byte, and forgets the oldest.
func TestBacklogKeepsWhatWasSentAndForgetsTheOldest(t *testing.T) {
	j, w := newLane(t)
	const n = backlogBatches + 10
	var first, last []byte
	for i := range n {
		s := udp(i)
		j.Insert(&s)
		j.Flush()
		b, ok := w.next(t)
		if !ok {
			t.Fatal("nothing was sent")
		}
		if i == 0 {
			first = b.plain
			if got, ok := j.Batch(1, nil); !ok || !bytes.Equal(got, first) {
				t.Errorf("batch 1 is % x, sent was % x", got, first)
			}
		}
		last = b.plain
	}
	if got, ok := j.Batch(n, []byte("before")); !ok || !bytes.Equal(got, append([]byte("before"), last...)) {
		t.Errorf("the last batch is % x", got)
	}
	for _, gone := range []uint64{0, 1, 10, n + 1} {
		if _, ok := j.Batch(gone, nil); ok {
			t.Errorf("batch %d is there", gone)
		}
	}
	if j.Oldest() > n-backlogBatches+2 || j.Oldest() <= 10 {
		t.Errorf("oldest is %d", j.Oldest())
	}
	for number := j.Oldest(); number <= n; number++ {
		b, ok := j.Batch(number, nil)
		h, _, err := wire.DecodeHeader(b)
		if !ok || err != nil || h.Sequence != number {
			t.Fatalf("batch %d: %v, number %d, %v", number, ok, h.Sequence, err)
		}
	}
}

// While the lane's goroutine sends, others ask for batches: what Oldest and Sent promise
// is there, unless it has been overtaken meanwhile, and it is what its number says.
func TestBacklogUnderConcurrentReaders(t *testing.T) {
	j := New(3, NewOutlet(nil))
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			var buf []byte
			for {
				select {
				case <-stop:
					return
				default:
				}
				oldest, sent := j.Oldest(), j.Sent()
				for _, number := range []uint64{oldest, (oldest + sent) / 2, sent} {
					if number == 0 || number > sent {
						continue
					}
					b, ok := j.Batch(number, buf[:0])
					if !ok && number >= j.Oldest() {
						t.Errorf("batch %d is gone, and the oldest is %d", number, j.Oldest())
						return
					}
					if h, _, err := wire.DecodeHeader(b); ok && (err != nil || h.Sequence != number) {
						t.Errorf("asked for %d, got %d: %v", number, h.Sequence, err)
						return
					}
					buf = b
				}
			}
		})
	}
	for i := range 3 * backlogBatches {
		s := udp(i % 50000)
		j.Insert(&s)
		j.Flush()
	}
	close(stop)
	readers.Wait()
	if j.Sent() != 3*backlogBatches {
		t.Errorf("sent %d", j.Sent())
	}
}

// The shared lane may be used from everywhere: nothing is lost and no number is missing.
func TestSharedLaneFromManyGoroutines(t *testing.T) {
	w := newWay(t)
	shared := NewShared(New(1, NewOutlet([]*Link{&w.Link})))
	const writers, each = 4, 50
	var all []batch
	var mu sync.Mutex
	var done sync.WaitGroup
	for g := range writers {
		done.Go(func() {
			for i := range each {
				s := udp(g*each + i)
				shared.Insert(&s)
				shared.Delete(&s, conntrack.EndKilled)
				if i%10 == 9 {
					shared.Neighbor(&wire.Neighbor{Port: 1, Address: addr("203.0.113.10"), MAC: packet.MAC{2, 9}})
				}
				mu.Lock()
				all = append(all, w.all(t)...) // the socket holds few
				mu.Unlock()
			}
		})
	}
	done.Wait()
	shared.Flush()
	all = append(all, w.all(t)...)
	count := map[string]int{}
	for i, b := range all {
		if b.Sequence != uint64(i+1) {
			t.Fatalf("batch %d has number %d", i+1, b.Sequence)
		}
		for _, name := range b.types(t) {
			count[name]++
		}
	}
	if count["insert"] != writers*each || count["delete"] != writers*each || count["neighbor"] != writers*each/10 {
		t.Errorf("the peer heard of %v", count)
	}
	if shared.Journal().Sent() != uint64(len(all)) {
		t.Errorf("sent %d of %d", shared.Journal().Sent(), len(all))
	}
}

// A lane goes on without a peer, without a session and with a full socket; what was not
// taken is counted and stays in the backlog.
func TestLaneGoesOnWithoutAPeer(t *testing.T) {
	w := newWay(t)
	silent := &Link{Way: w.Way, Sessions: one{nil}}
	j := New(0, NewOutlet([]*Link{silent}))
	s := udp(1)
	j.Insert(&s)
	j.Flush()
	if silent.Sent.Load() != 0 || silent.Refused.Load() != 0 || len(w.all(t)) != 0 {
		t.Error("something was sent without a session")
	}
	if _, ok := j.Batch(1, nil); !ok || j.Sent() != 1 {
		t.Error("what had no way to go is not in the backlog")
	}
	j = New(0, NewOutlet([]*Link{&w.Link}))
	for w.Refused.Load() == 0 {
		j.Insert(&s)
		j.Flush()
		if j.Sent() > 100_000 {
			t.Fatal("the socket never filled up")
		}
	}
	if w.Sent.Load()+w.Refused.Load() != j.Sent() {
		t.Errorf("%d sent and %d refused of %d", w.Sent.Load(), w.Refused.Load(), j.Sent())
	}
	if _, ok := j.Batch(j.Sent(), nil); !ok {
		t.Error("the refused batch is not kept")
	}
}

// A peer that is gone is noticed by the kernel's answer.
func TestRefusalByThePeersKernelIsCounted(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// An address of ours that had a socket a moment ago.
	gone, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	bound := unix.Bind(gone, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	at, named := unix.Getsockname(gone)
	if err := errors.Join(bound, named, unix.Close(gone), unix.Connect(fd, at)); err != nil {
		t.Fatal(err)
	}
	ours, _ := sessions(t)
	l := &Link{Way: Socket(fd), Sessions: one{ours}}
	for range 1000 {
		if l.Send(0, make([]byte, 0, 64), []byte("hello")); l.Closed.Load() > 0 {
			return // the loopback answers at once
		}
	}
	t.Error("1,000 datagrams to nobody, and no refusal was counted")
}

// Telling the peers costs the worker no memory.
func TestTellingAllocatesNothing(t *testing.T) {
	w := newWay(t)
	if err := unix.SetsockoptInt(int(w.Way.(Socket)), unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<12); err != nil {
		t.Fatal(err) // full soon: a refusal must cost nothing either
	}
	j := New(3, NewOutlet([]*Link{&w.Link}))
	s, n := tcp(1), &wire.Neighbor{Port: 1, Address: addr("203.0.113.10"), MAC: packet.MAC{2, 9}}
	if got := testing.AllocsPerRun(2000, func() {
		j.Insert(&s)
		j.Update(&s)
		j.Update(&s)
		j.Delete(&s, conntrack.EndExpired)
		j.Neighbor(n)
		j.Flush()
	}); got != 0 {
		t.Errorf("%v allocations for each turn", got)
	}
}

// An update that takes the place of an older one in the open batch leaves what lies behind it.
func TestP1_UpdateInPlaceLeavesWhatFollows(t *testing.T) {
	w := newWay(t)
	j := New(0, NewOutlet([]*Link{&w.Link}))
	changing, ending := tcp(1), tcp(2)
	j.Update(&changing)
	j.Delete(&ending, conntrack.EndExpired)
	further := further(changing, 9)
	j.Update(&further)
	j.Flush()
	b, ok := w.next(t)
	if names := b.types(t); !ok || !slices.Equal(names, []string{"update", "delete"}) {
		t.Errorf("the batch holds %v, want an update and a delete", names)
	}
}
