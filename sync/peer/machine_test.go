package peer

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

const ms = int64(1e6)

func number(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

// checked returns a machine whose deliveries are asserted to be in order per lane.
func checked(t interface{ Fatalf(string, ...any) }, lanes int) (*Machine, []uint64) {
	last := make([]uint64, lanes)
	m := New(func(lane uint16, body []byte) {
		seq := binary.BigEndian.Uint64(body)
		if seq != last[lane]+1 {
			t.Fatalf("lane %d: delivered %d after %d", lane, seq, last[lane])
		}
		last[lane] = seq
	}, 20*ms)
	return m, last
}

func TestP6_LossReorderingAndDuplicatesAreRepaired(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const total = 400
		seed := rapid.Uint64().Draw(rt, "seed")
		loss := rapid.IntRange(0, 60).Draw(rt, "loss percent")
		rng := rand.New(rand.NewPCG(seed, 1))
		m, last := checked(rt, 2)
		if err := m.Hello(7, []uint64{0, 0}); err != nil {
			rt.Fatal(err)
		}
		var now int64
		send := func(lane uint16, seq uint64, how Sending) {
			for range 1 + rng.IntN(2) { // duplicates
				if rng.IntN(100) >= loss {
					if err := m.Batch(now, lane, seq, how, number(seq)); err != nil {
						rt.Fatal(err)
					}
				}
			}
		}
		var nacks []Range
		for base := uint64(1); base <= total; base += 8 {
			for _, k := range rng.Perm(8) { // reordering
				send(0, base+uint64(k), First)
				send(1, base+uint64(k), First)
			}
		}
		for turns := 0; last[0] < total || last[1] < total; turns++ {
			if turns > 100_000 {
				rt.Fatalf("stuck at %v, behind %d", last, m.Behind())
			}
			now += 10 * ms
			m.Sent([]uint64{total, total})
			nacks = m.Nacks(now, nacks[:0])
			for _, n := range nacks {
				if n.First > n.Last || n.Last > total {
					rt.Fatalf("nack %+v", n)
				}
				for seq := n.First; seq <= n.Last; seq++ {
					send(n.Lane, seq, Again)
				}
			}
		}
		if m.Behind() != 0 {
			rt.Fatalf("behind %d after everything came", m.Behind())
		}
		if ok, why := m.Complete(); !ok {
			rt.Fatalf("not complete: %s", why)
		}
	})
}

func TestCompleteNeedsEveryLanePastHello(t *testing.T) {
	m, _ := checked(t, 2)
	if ok, _ := m.Complete(); ok {
		t.Error("complete before hello")
	}
	if err := m.Hello(1, []uint64{2, 0}); err != nil {
		t.Fatal(err)
	}
	if ok, why := m.Complete(); ok || why == "" {
		t.Errorf("complete although lane 0 lacks two batches")
	}
	for seq := uint64(1); seq <= 2; seq++ {
		if err := m.Batch(ms, 0, seq, First, number(seq)); err != nil {
			t.Fatal(err)
		}
	}
	if ok, why := m.Complete(); !ok {
		t.Errorf("not complete: %s", why)
	}
	// A gap later on is lag, not incompleteness.
	if err := m.Batch(ms, 0, 9, First, number(9)); err != nil {
		t.Fatal(err)
	}
	if ok, why := m.Complete(); !ok {
		t.Errorf("lag blocks: %s", why)
	}
}

func TestLostBacklogIsNeverComplete(t *testing.T) {
	m := New(func(uint16, []byte) {}, 10)
	if err := m.Hello(1, []uint64{5000}); err != nil {
		t.Fatal(err)
	}
	m.Nacks(100*ms, nil)
	nacks := m.Nacks(200*ms, nil)
	if len(nacks) == 0 || nacks[0].First != 1 {
		t.Fatalf("nacks %+v", nacks)
	}
	m.Lost(0, 4000)
	for seq := uint64(4000); seq <= 5000; seq++ {
		if err := m.Batch(ms, 0, seq, First, nil); err != nil {
			t.Fatal(err)
		}
	}
	if ok, _ := m.Complete(); ok {
		t.Error("complete although batches are lost for good")
	}
	if m.Behind() != 0 {
		t.Errorf("behind %d", m.Behind())
	}
}

func TestRestartedPeerBeginsAnew(t *testing.T) {
	m, _ := checked(t, 1)
	if err := m.Hello(1, []uint64{0}); err != nil {
		t.Fatal(err)
	}
	if err := m.Batch(ms, 0, 1, First, number(1)); err != nil {
		t.Fatal(err)
	}
	if err := m.Hello(1, []uint64{1}); err != nil { // the same life: nothing begins anew
		t.Fatal(err)
	}
	if err := m.Batch(ms, 0, 2, First, number(2)); err != nil {
		t.Fatal(err)
	}
	var n int
	m.deliver = func(uint16, []byte) { n++ }
	if err := m.Hello(2, []uint64{0}); err != nil {
		t.Fatal(err)
	}
	if err := m.Batch(ms, 0, 1, First, nil); err != nil || n != 1 {
		t.Errorf("first batch of the new life: %v, delivered %d", err, n)
	}
}

func TestHostileNumbersAreRefused(t *testing.T) {
	m := New(func(uint16, []byte) { t.Error("delivered") }, 10)
	if m.Batch(ms, 0, 1, First, nil) == nil {
		t.Error("batch before hello accepted")
	}
	if m.Hello(1, nil) == nil || m.Hello(1, make([]uint64, LanesMax+1)) == nil {
		t.Error("hello with impossible lanes accepted")
	}
	if err := m.Hello(1, []uint64{0}); err != nil {
		t.Fatal(err)
	}
	for _, b := range []Range{{Lane: 1, First: 1}, {Lane: 65535, First: 1}, {Lane: 0, First: 0}} {
		if m.Batch(ms, b.Lane, b.First, First, nil) == nil {
			t.Errorf("lane %d batch %d accepted", b.Lane, b.First)
		}
	}
	if m.Batch(ms, 0, ^uint64(0), First, nil) == nil {
		t.Error("a number near 2^64 accepted")
	}
	if err := m.Batch(ms, 0, sequenceMax, First, make([]byte, 1400)); err != nil || m.Shed != 1 {
		t.Errorf("a batch far ahead: %v, shed %d", err, m.Shed)
	}
	m.Sent([]uint64{^uint64(0)})
	asked := uint64(0)
	for _, n := range m.Nacks(200*ms, nil) {
		if n.First == 0 || n.Last < n.First || n.Last-n.First >= rangeMax {
			t.Errorf("nack %+v", n)
		}
		asked += n.Last - n.First + 1
	}
	if asked != askedMax {
		t.Errorf("%d batches are asked for at once, want %d", asked, askedMax)
	}
	m.Lost(9, 5)
	m.Lost(0, ^uint64(0))
}

// A batch that waited for its turn, or was sent again, counts from when it was known to be sent.
func TestBatchesAreAsOldAsTheirFirstSign(t *testing.T) {
	known := map[uint64]int64{}
	var m *Machine
	m = New(func(_ uint16, body []byte) { known[binary.BigEndian.Uint64(body)] = m.Known() / ms }, 20*ms)
	if err := m.Hello(7, []uint64{0}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at  int64
		seq uint64
	}{{1, 1}, {10, 4}, {30, 3}, {200, 2}, {300, 5}} {
		if err := m.Batch(c.at*ms, 0, c.seq, First, number(c.seq)); err != nil {
			t.Fatal(err)
		}
	}
	for seq, want := range map[uint64]int64{1: 1, 2: 10, 3: 10, 4: 10, 5: 300} {
		if known[seq] != want {
			t.Errorf("batch %d was known at %d ms, want %d", seq, known[seq], want)
		}
	}
}

// What was not resent is not acknowledged before it has come by another way; but on the lane
// of transfers, the last one, whose sender waits for the number.
func TestINV6_LostBatchesAreNotAcknowledged(t *testing.T) {
	m := New(func(uint16, []byte) {}, 10)
	if err := m.Hello(1, []uint64{4, 4}); err != nil {
		t.Fatal(err)
	}
	acks := func() (out [2]uint64) {
		m.Acks(out[:])
		return out
	}
	for lane := range uint16(2) {
		if err := m.Batch(ms, lane, 1, First, nil); err != nil {
			t.Fatal(err)
		}
		m.Lost(lane, 4)
		if err := m.Batch(ms, lane, 4, First, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := acks(); got != [2]uint64{1, 4} {
		t.Errorf("acknowledged %v", got)
	}
	m.Settled()
	if got := acks(); got != [2]uint64{4, 4} {
		t.Errorf("acknowledged %v when it had come", got)
	}
	if ok, _ := m.Complete(); ok {
		t.Error("complete without proof of the peer's table")
	}
}
