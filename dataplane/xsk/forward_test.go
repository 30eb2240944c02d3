package xsk

import (
	"testing"
)

// TestForwardEveryQueue sends numbered frames into each of four queues of one port; one
// worker forwards them out of the single queue of the other, without a copy.
func TestForwardEveryQueue(t *testing.T) {
	const queues, frames = 4, 200
	r := newRig(t, queues, 1)
	var channels Channels
	if err := r.space.Do(func() (err error) { channels, err = ReadChannels("p0"); return }); err != nil || channels != (Channels{queues, queues}) {
		t.Fatalf("p0 has %+v, %v", channels, err)
	}
	assigned, err := Assign([]PortQueues{{"p0", channels}, {"p1", Channels{1, 1}}}, 1)
	if err != nil {
		t.Fatal(err)
	}

	worker := r.umem(small.Frames(len(assigned[0])))
	var all, in []*Socket
	var out *Socket
	for _, ref := range assigned[0] {
		s := r.open([]string{"p0", "p1"}[ref.Port], ref.Queue, worker, Config{})
		if s.Mode() != ModeCopy {
			t.Errorf("%s is in mode %s; a veth has no zero-copy", s, s.Mode())
		}
		all = append(all, s)
		if ref.Port == 0 {
			in = append(in, s)
		} else {
			out = s
		}
	}
	far := r.umem(small.Frames(queues + 1))
	sink := r.open("g1", 0, far, Config{})
	var sources []*Socket
	for q := range queues {
		sources = append(sources, r.open("g0", q, far, Config{}))
	}

	batch := make([]Desc, 64)
	arrived := make([]bool, queues*frames)
	perQueue := make([]int, queues)
	sent := make([]uint32, queues)
	count := 0
	eventually(t, "all frames forwarded", func() bool {
		for q, source := range sources {
			n := write(far, batch[:min(32, frames-int(sent[q]))], uint32(q*frames)+sent[q])
			taken := source.Transmit(batch[:n])
			far.Free(batch[taken:n])
			sent[q] += uint32(taken)
			kickAll(source)
			source.Reclaim()
		}
		for q, s := range in {
			perQueue[q] += forward(s, out, batch)
		}
		for n := sink.Receive(batch); n > 0; n = sink.Receive(batch) { // four queues fill one
			for _, d := range batch[:n] {
				i, err := number(far.Bytes(d))
				if err != nil || int(i) >= len(arrived) || arrived[i] {
					t.Fatalf("frame %d a second time, or %v", i, err)
				}
				arrived[i] = true
				count++
			}
			far.Free(batch[:n])
			sink.Refill()
		}
		checkSum(t, worker, 0)
		checkSum(t, far, 0)
		return count == len(arrived)
	})
	for q, n := range perQueue {
		if n != frames {
			t.Errorf("queue %d brought %d of %d frames", q, n, frames)
		}
	}
	statistics, err := in[0].Statistics()
	if err != nil || statistics != (Statistics{TxRingEmpty: statistics.TxRingEmpty, FillRingEmpty: statistics.FillRingEmpty}) {
		t.Errorf("kernel statistics %+v, %v", statistics, err)
	}
	r.close(worker, all...)
	r.close(far, append(sources, sink)...)
}

// TestForwardAllocatesNothing forwards batches between two ports.
func TestForwardAllocatesNothing(t *testing.T) {
	r := newRig(t, 1, 1)
	worker, far := r.umem(1024), r.umem(1024)
	in, out := r.open("p0", 0, worker, Config{}), r.open("p1", 0, worker, Config{})
	source, sink := r.open("g0", 0, far, Config{}), r.open("g1", 0, far, Config{})
	batch := make([]Desc, 64)
	var poller Poller
	poller.AddSocket(in)
	forwarded := 0
	turn := func() {
		n := write(far, batch, 0)
		far.Free(batch[source.Transmit(batch[:n]):n])
		kickAll(source)
		source.Reclaim()
		if _, err := poller.Wait(0); err != nil {
			t.Error(err)
		}
		forwarded += forward(in, out, batch)
		far.Free(batch[:sink.Receive(batch)])
		sink.Refill()
	}
	if allocations := testing.AllocsPerRun(200, turn); allocations != 0 {
		t.Errorf("%v allocations a batch", allocations)
	}
	if forwarded < 200*32 {
		t.Errorf("only %d frames were forwarded meanwhile", forwarded)
	}
	r.close(worker, in, out)
	r.close(far, source, sink)
}

// BenchmarkForward is the bare forwarder: 64 frames in on one port and out on the
// other, far ends included.
func BenchmarkForward(b *testing.B) {
	r := newRig(b, 1, 1)
	for _, budget := range []int{32, 256, 1024} {
		b.Run(map[int]string{32: "budget=32", 256: "budget=256", 1024: "budget=1024"}[budget], func(b *testing.B) {
			worker, far := r.umem(DefaultRings.Frames(2)), r.umem(DefaultRings.Frames(2))
			c := Config{Rings: DefaultRings, TxBudget: budget}
			in, out := r.open("p0", 0, worker, c), r.open("p1", 0, worker, c)
			source, sink := r.open("g0", 0, far, c), r.open("g1", 0, far, c)
			batch := make([]Desc, 1024)
			done := 0
			for b.Loop() {
				b.StopTimer()
				n := write(far, batch, 0)
				far.Free(batch[source.Transmit(batch[:n]):n])
				kickAll(source)
				source.Reclaim()
				b.StartTimer()
				done += forward(in, out, batch)
				b.StopTimer()
				for {
					n := sink.Receive(batch)
					if n == 0 {
						break
					}
					far.Free(batch[:n])
					sink.Refill()
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(done), "ns/frame")
			r.close(worker, in, out)
			r.close(far, source, sink)
		})
	}
}

// BenchmarkTurn is our share of a forwarded frame: four rings and the frames' owners,
// with the kernel's side played in the same loop and no system call.
func BenchmarkTurn(b *testing.B) {
	u, err := NewUmem(2048)
	if err != nil {
		b.Fatal(err)
	}
	var words [11]uint32
	produce := func(i int) producer {
		return producer{head: &words[i], tail: &words[i+1], flags: &words[10], size: 256}
	}
	consume := func(i int) consumer { return consumer{head: &words[i], tail: &words[i+1], size: 256} }
	s := &Socket{umem: u, slot: u.claimSlot(), rings: small, mode: ModeCopy,
		fill: FillRing{produce(0), make([]uint64, 256)}, tx: TxRing{produce(2), make([]Desc, 256)},
		rx: RxRing{consume(4), make([]Desc, 256)}, completion: CompletionRing{consume(6), make([]uint64, 256)},
	}
	u.slots[s.slot].socket = s
	batch := make([]Desc, 64)
	s.Refill()
	for b.Loop() {
		for i := range uint32(len(batch)) { // the kernel receives
			s.rx.slots[(words[4]+i)&255] = Desc{Addr: s.fill.slots[(words[1]+i)&255] + Headroom, Len: frameLength}
		}
		words[4], words[1] = words[4]+64, words[1]+64
		if s.Transmit(batch[:s.Receive(batch)]) != len(batch) {
			b.Fatal("not all forwarded")
		}
		s.tx.Submit()
		for i := range uint32(len(batch)) { // the kernel transmits
			s.completion.slots[(words[6]+i)&255] = s.tx.slots[(words[3]+i)&255].Addr
		}
		words[6], words[3] = words[6]+64, words[3]+64
		s.Reclaim()
		s.Refill()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/frame")
	checkSum(b, u, 0)
}
