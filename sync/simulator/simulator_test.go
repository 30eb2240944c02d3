package simulator

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Schedules of the gate (gateSchedules: some ten seconds of a slow machine, always the same
// ones, so that its outcome is the code's and not the machine's) and of `make soak`.
const (
	gateLeast     = 40 // also of -short
	soakSchedules = 100_000
)

// extent says which schedules are run. HOLDFAST_SOAK makes them many, HOLDFAST_SEED others.
func extent(t *testing.T) (first uint64, count int, soak bool) {
	t.Helper()
	count, soak = gateSchedules, os.Getenv("HOLDFAST_SOAK") != ""
	if soak {
		count = soakSchedules
	}
	if text := os.Getenv("HOLDFAST_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatalf("HOLDFAST_SEED=%q: %v", text, err)
		}
		first = seed << 20
	}
	return first, count, soak
}

// collectRarely lets the heap grow to so many per cent more than lives: a world is small and
// leaves much behind.
const collectRarely = 400

// TestREL4_NoScheduleBreaksAnInvariant runs schedules of two and three production nodes
// under everything that a network, a machine and an operator can do to them.
func TestREL4_NoScheduleBreaksAnInvariant(t *testing.T) {
	first, count, _ := extent(t)
	if testing.Short() {
		count = min(count, gateLeast)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(collectRarely))
	begin := time.Now()
	var next atomic.Int64
	var sum totals
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(count) && sum.failed.Load() < 5; i = next.Add(1) - 1 {
				sum.run(t, first+uint64(i))
			}
		})
	}
	workers.Wait()
	n := sum.count.Load()
	t.Logf("%d schedules, %v of virtual time, in %v: %d ended with tables compared, in %d two nodes served at once, "+
		"%d changes of the active node, %d packets passed, %d datagrams", n, time.Duration(sum.virtual.Load()).Round(time.Second),
		time.Since(begin).Round(time.Second), sum.compared.Load(), sum.split.Load(), sum.failovers.Load(), sum.passed.Load(), sum.datagrams.Load())
	if sum.failed.Load() == 0 && sum.compared.Load() < n*3/4 {
		t.Errorf("only %d of %d schedules ended with tables that had to be equal: they show too little", sum.compared.Load(), n)
	}
}

// totals of many schedules.
type totals struct {
	count, failed, virtual, compared, split, failovers, passed, datagrams atomic.Int64
}

func (s *totals) run(t *testing.T, seed uint64) {
	r, err := Run(Plan(seed), nil)
	if err != nil {
		t.Error(err)
		s.failed.Add(1)
		return
	}
	if r.Err != nil {
		s.failed.Add(1)
		t.Errorf("seed %d: %v\n\treplay: go run ./sync/simulator/run --seed %d --shrink --trace", seed, r.Err, seed)
	}
	s.count.Add(1)
	s.virtual.Add(r.Took)
	s.passed.Add(int64(r.Passed))
	s.failovers.Add(int64(r.Failovers))
	s.datagrams.Add(int64(r.Datagrams))
	if r.Compared {
		s.compared.Add(1)
	}
	if r.Split {
		s.split.Add(1)
	}
}

// TestSameSeedSameTrace: every byte that is sent and every instant follows from the seed,
// else a failure could not be looked at again.
func TestSameSeedSameTrace(t *testing.T) {
	for seed := range uint64(gateTwice) {
		var traces [2]Result
		for i := range traces {
			r, err := Run(Plan(seed), nil)
			if err != nil {
				t.Fatal(err)
			}
			traces[i] = r
		}
		if traces[0] != traces[1] {
			t.Errorf("seed %d: %+v, then %+v", seed, traces[0], traces[1])
		}
	}
	a, errA := Run(Plan(1), nil)
	b, errB := Run(Plan(2), nil)
	if errA != nil || errB != nil || a.Trace == b.Trace {
		t.Errorf("two seeds have one trace: %v %v %x", errA, errB, a.Trace)
	}
}
