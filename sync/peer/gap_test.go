package peer

import (
	"container/heap"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// bench is a sender, a receiver and the link between them, in virtual time.
type bench struct {
	t       *testing.T
	m       *Machine
	last    []uint64
	rng     *rand.Rand
	now     int64
	events  events
	loss    float64
	from    int64 // delay of a datagram, ns
	to      int64
	sent    uint64
	lost    uint64 // of the batches that were sent first
	resent  uint64
	nackOut []Range
}

type event struct {
	at    int64
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	x := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return x
}

func newBench(t *testing.T, loss float64, from, to int64) *bench {
	m, last := checked(t, 1)
	if err := m.Hello(7, []uint64{0}); err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, m: m, last: last, rng: rand.New(rand.NewPCG(5, 5)), now: 1000 * ms, loss: loss, from: from, to: to}
}

func (b *bench) at(at int64, do func()) {
	heap.Push(&b.events, event{at, int(b.rng.Int64() >> 1), do})
}

// carry brings a datagram over the link, or loses it.
func (b *bench) carry(do func()) (lost bool) {
	if b.rng.Float64() < b.loss {
		return true
	}
	b.at(b.now+b.from+b.rng.Int64N(b.to-b.from+1), do)
	return false
}

func (b *bench) batch(seq uint64, how Sending) {
	lost := b.carry(func() {
		if err := b.m.Batch(b.now, 0, seq, how, number(seq)); err != nil {
			b.t.Fatal(err)
		}
		b.ask()
	})
	if lost && how == First {
		b.lost++
	}
}

// ask carries what the receiver asks for to the sender, which answers.
func (b *bench) ask() {
	b.nackOut = b.m.Nacks(b.now, b.nackOut[:0])
	for _, r := range b.nackOut {
		b.carry(func() {
			for seq := r.First; seq <= r.Last; seq++ {
				b.resent++
				b.batch(seq, Again)
			}
		})
	}
}

// run sends so many batches a second for a time, and then waits until all have come.
func (b *bench) run(perSecond int, duration int64) {
	end := b.now + duration
	interval := int64(1e9) / int64(perSecond)
	var send, look func()
	send = func() {
		b.sent++
		b.batch(b.sent, First)
		if b.now+interval < end {
			b.at(b.now+interval, send)
		}
	}
	look = func() { // the reader's ticks, and the sender's beats
		b.m.Sent([]uint64{b.sent})
		b.ask()
		if b.now < end || b.last[0] < b.sent {
			b.at(b.now+5*ms, look)
		}
	}
	b.at(b.now, send)
	b.at(b.now, look)
	for len(b.events) > 0 {
		e := heap.Pop(&b.events).(event)
		if b.now = e.at; b.now > end+30_000*ms {
			b.t.Fatalf("30 s later %d of %d have come", b.last[0], b.sent)
		}
		e.do()
	}
}

// P6: where the link keeps order what is lost is asked for at once, and once.
func TestP6_LossIsAskedForPromptly(t *testing.T) {
	b := newBench(t, 0, ms, ms)
	b.run(1000, 1000*ms)
	if b.m.Asked != 0 {
		t.Errorf("%d batches were asked for, nothing was lost", b.m.Asked)
	}
	lostAt := b.sent + 1
	b.sent++ // this one nobody ever sees
	b.sent++
	if err := b.m.Batch(b.now, 0, b.sent, First, number(b.sent)); err != nil {
		t.Fatal(err)
	}
	if got := b.m.Nacks(b.now+waitMin-1, nil); len(got) != 0 {
		t.Errorf("asked for %v at once: it may have been overtaken", got)
	}
	got := b.m.Nacks(b.now+waitMin, nil)
	if len(got) != 1 || got[0] != (Range{Lane: 0, First: lostAt, Last: lostAt}) {
		t.Errorf("asked for %v after %d ns, want batch %d", got, int64(waitMin), lostAt)
	}
}

// P6: what comes late is not taken for lost once the machine has seen how late that is, and
// when the link keeps order again, loss is asked for promptly again.
func TestP6_ReorderingIsNotTakenForLoss(t *testing.T) {
	b := newBench(t, 0, ms, 20*ms)
	b.run(5000, 1000*ms)
	if needless := b.m.Asked; needless > 100 {
		t.Errorf("%d of %d batches were asked for, none was lost", needless, b.sent)
	}
	before := b.m.Asked
	b.run(5000, 30_000*ms)
	if b.m.Asked != before {
		t.Errorf("%d more were asked for when it knew the link", b.m.Asked-before)
	}
	if w := b.m.Wait(); w < 15*ms || w > 30*ms {
		t.Errorf("it waits %d ns on a link that reorders by up to 19 ms", w)
	}
	b.from, b.to = ms, ms
	b.run(1000, 30_000*ms)
	if w := b.m.Wait(); w != waitMin {
		t.Errorf("it waits %d ns on a link that keeps order again", w)
	}
}

// P6: what lies in the socket while the driver stands still is neither late nor lost.
func TestP6_OwnStandstillIsNotTakenForLoss(t *testing.T) {
	m, last := checked(t, 1)
	if err := m.Hello(7, []uint64{0}); err != nil {
		t.Fatal(err)
	}
	now := 1000 * ms
	for seq := uint64(1); seq < 1000; seq += 2 {
		if now += ms; seq%100 == 1 {
			now += 300 * ms
		}
		for _, s := range []uint64{seq + 1, seq} { // neighbours change places
			if err := m.Batch(now, 0, s, First, number(s)); err != nil {
				t.Fatal(err)
			}
			if s == seq+1 && seq%100 == 99 {
				now += 300 * ms // between the two
			}
			if got := m.Nacks(now, nil); len(got) != 0 && m.Wait() < stepMax {
				if m.Asked > 1 { // it learns from the first
					t.Fatalf("batch %d: asked for %v", s, got)
				}
			}
		}
	}
	if last[0] != 1000 || m.Asked > 1 {
		t.Errorf("delivered %d, asked for %d", last[0], m.Asked)
	}
}

// REL15: at every rate of loss everything comes, little is sent in vain, and what is held
// stays within its bound.
func TestREL15_ResendsFollowTheLoss(t *testing.T) {
	for _, c := range []struct {
		loss   float64
		most   float64 // batches sent again, for each that was lost
		vain   float64 // of them in vain
		faster int64   // the delay, ns
	}{
		{0.001, 2, 1, 20 * ms}, {0.01, 1.5, 0.3, 20 * ms}, {0.05, 1.4, 0.2, 20 * ms}, {0.2, 1.7, 0.3, 20 * ms},
		{0.05, 1.2, 0.1, ms}, {0.2, 1.5, 0.2, ms},
	} {
		b := newBench(t, c.loss, ms, c.faster)
		b.run(5000, 20_000*ms)
		if b.m.Shed != 0 {
			t.Errorf("loss %v: %d batches found no room", c.loss, b.m.Shed)
		}
		if got := float64(b.resent) / float64(b.lost); got > c.most {
			t.Errorf("loss %v, delay up to %d ns: %.2f batches were sent again for each that was lost", c.loss, c.faster, got)
		}
		if got := float64(b.m.Duplicate) / float64(b.lost); got > c.vain {
			t.Errorf("loss %v, delay up to %d ns: %.2f of them in vain", c.loss, c.faster, got)
		}
		t.Logf("loss %v, delay to %d ms: %d lost, %d resent, %d in vain, waits %d us, retries after %d us",
			c.loss, c.faster/ms, b.lost, b.resent, b.m.Duplicate, b.m.Wait()/1000, b.m.Retry()/1000)
	}
}

// What was asked for and comes in is not asked for again, however slowly; only what was
// lost once more is, and soon.
func TestP6_WhatComesInIsNotAskedForAgain(t *testing.T) {
	m, last := checked(t, 1)
	if err := m.Hello(7, []uint64{200}); err != nil {
		t.Fatal(err)
	}
	const total = 200
	now := 1000 * ms
	asked := 0
	ask := func() (out []Range) {
		out = m.Nacks(now, nil)
		for _, r := range out {
			asked += int(r.Last - r.First + 1)
		}
		return out
	}
	ask()
	now += waitMin
	if ranges := ask(); len(ranges) != 1 || ranges[0] != (Range{Lane: 0, First: 1, Last: total}) {
		t.Fatalf("asked for %+v, want all", ranges)
	}
	for seq := uint64(1); seq <= total; seq++ {
		now += 2 * ms // a slow link: the last comes 400 ms later
		if seq == 150 {
			continue // lost once more
		}
		if err := m.Batch(now, 0, seq, Again, number(seq)); err != nil {
			t.Fatal(err)
		}
		ask()
	}
	if asked != total+1 {
		t.Errorf("asked for %d batches, want each once and one of them twice", asked)
	}
	if err := m.Batch(now, 0, 150, Again, number(150)); err != nil {
		t.Fatal(err)
	}
	if last[0] != total || m.Behind() != 0 {
		t.Errorf("delivered up to %d", last[0])
	}
}

// A peer that does not answer is asked less and less often, and as often as before when
// it answers.
func TestNoAnswerIsAskedForLessOften(t *testing.T) {
	m, _ := checked(t, 1)
	if err := m.Hello(7, []uint64{1}); err != nil {
		t.Fatal(err)
	}
	var when []int64
	for now := ms; now < 2000*ms; now += ms {
		if len(m.Nacks(now, nil)) > 0 {
			when = append(when, now/ms)
		}
	}
	if len(when) < 10 || when[1]-when[0] != 40 && when[1]-when[0] != 20 || when[len(when)-1]-when[len(when)-2] != 160 {
		t.Errorf("asked at %v ms", when)
	}
}

// The memory that a peer can make this node take is bounded, whatever it sends.
func TestHeldBatchesAreBounded(t *testing.T) {
	m := New(func(uint16, []byte) {}, 20*ms)
	if err := m.Hello(1, make([]uint64, LanesMax)); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 1400)
	for lane := range uint16(LanesMax) {
		for seq := uint64(2); seq < 1000; seq++ {
			if err := m.Batch(ms, lane, seq, First, body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if m.made != bodiesMax || m.Early != bodiesMax || m.Shed != LanesMax*998-bodiesMax {
		t.Errorf("%d bodies, %d held, %d shed", m.made, m.Early, m.Shed)
	}
	for lane := range uint16(LanesMax) { // all of it comes in the end
		for seq := uint64(1); seq < 1000; seq++ {
			if err := m.Batch(ms, lane, seq, Again, body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if m.Delivered != LanesMax*999 || len(m.free) != m.made {
		t.Errorf("%d delivered, %d of %d bodies free", m.Delivered, len(m.free), m.made)
	}
}

// The lists of a lane always hold exactly what is missing, whatever comes in whatever order.
func TestListsHoldWhatIsMissing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m, _ := New(func(uint16, []byte) {}, 20*ms), 0
		if err := m.Hello(1, []uint64{0}); err != nil {
			rt.Fatal(err)
		}
		l := &m.lanes[0]
		now := ms
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			now += rapid.Int64Range(0, 30*ms).Draw(rt, "time")
			seq := l.next + rapid.Uint64Range(0, 40).Draw(rt, "ahead")
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0, 1, 2:
				how := Sending(rapid.IntRange(0, 1).Draw(rt, "how"))
				if err := m.Batch(now, 0, seq-min(seq-1, 3), how, nil); err != nil {
					rt.Fatal(err)
				}
			case 3:
				m.Sent([]uint64{seq})
			case 4:
				m.Nacks(now, nil)
			case 5:
				m.Lost(0, seq)
			}
			check(rt, l)
		}
	})
}

func check(rt *rapid.T, l *lane) {
	count := map[state]int{}
	for seq := l.next; seq <= l.edge; seq++ {
		s := l.find(seq)
		if s == nil || s.state == settled || (s.state == held) != (s.body != nil) {
			rt.Fatalf("batch %d: slot %+v", seq, s)
		}
		count[s.state]++
	}
	for st, q := range map[state]*list{missed: &l.fresh, asked: &l.asked} {
		n, before := 0, uint16(none)
		for at := q.oldest; at != none; at = l.slots[at].newer {
			if s := &l.slots[at]; s.state != st || s.older != before {
				rt.Fatalf("slot %+v in the list of state %d", s, st)
			}
			before = at
			n++
		}
		if n != q.count || n != count[st] || q.newest != before {
			rt.Fatalf("list of state %d has %d of %d, counts %d", st, n, count[st], q.count)
		}
	}
}
