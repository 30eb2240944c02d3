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

// TestO1_CrossedInserts lets goroutines insert, find and remove connections whose tuples
// cross: every pair of endpoints in both directions, so that the two shards come in
// either order, and many goroutines want the same. Run with -race, which also checks the
// lock order.
func TestO1_CrossedInserts(t *testing.T) {
	checkLocks.Store(true)
	defer checkLocks.Store(false)
	const workers, rounds, ports = 6, 1000, 12
	table := newTable(t, Config{Capacity: 4096})
	var inserted, removed atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		for g := range workers {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(g), 7))
				var res Result
				var s State
				hits := make([]Hit, 1)
				for range rounds {
					p := parsed(tuple(packet.UDP, "10.0.0.1", uint16(r.IntN(ports)), "10.0.0.2", uint16(r.IntN(ports))), 0)
					if r.IntN(2) == 0 {
						p.Tuple = p.Tuple.Reply()
					}
					table.Lookup([]packet.Parsed{p}, hits)
					if table.Track(&p, &hits[0], 1, &res) == OutcomePass {
						if r.IntN(3) == 0 && table.Remove(res.Index, res.Incarnation, 1, &s) {
							removed.Add(1)
						}
						continue
					}
					pr := proposalFor(p.Tuple)
					switch table.Insert(&pr, &p, 1, &res) {
					case Inserted:
						inserted.Add(1)
					case Exists:
					default:
						t.Errorf("insert of a free or known tuple clashed")
					}
				}
			})
		}
		wg.Wait()
	}()
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("deadlock:\n%s", buf[:runtime.Stack(buf, true)])
	}
	if want := int(inserted.Load() - removed.Load()); table.Len() != want {
		t.Errorf("%d inserted - %d removed, but %d present", inserted.Load(), removed.Load(), table.Len())
	}
	count := 0
	var v View
	for i := range table.High() {
		if table.View(i, 1, &v) {
			count++
		}
	}
	if count != table.Len() {
		t.Errorf("%d live entries, %d counted", count, table.Len())
	}
}

// TestO1_OneEntryPerClash lets all goroutines insert the same connection at once, over
// and over, from both sides.
func TestO1_OneEntryPerClash(t *testing.T) {
	checkLocks.Store(true)
	defer checkLocks.Store(false)
	const workers, rounds = 6, 300
	table := newTable(t, Config{Capacity: 4096})
	start := make([]chan struct{}, rounds)
	for i := range start {
		start[i] = make(chan struct{})
	}
	var won [rounds]atomic.Int32
	var wg sync.WaitGroup
	for g := range workers {
		wg.Go(func() {
			for i := range rounds {
				<-start[i]
				tup := numbered(i)
				if g%2 == 1 {
					tup = tup.Reply()
				}
				var r Result
				p := parsed(tup, 0)
				pr := proposalFor(tup)
				if table.Insert(&pr, &p, 1, &r) == Inserted {
					won[i].Add(1)
				}
			}
		})
	}
	for i := range start {
		close(start[i])
	}
	wg.Wait()
	for i := range won {
		if won[i].Load() != 1 {
			t.Errorf("connection %d was inserted %d times", i, won[i].Load())
		}
	}
	if table.Len() != rounds {
		t.Errorf("%d connections, want %d", table.Len(), rounds)
	}
}

// TestO3_ReadersDuringGrowth looks connections up while shards grow and others come and
// go: a connection that is there may be missed by a reader, but not twice by a reader
// that asks Insert, which is what the pipeline does.
func TestO3_ReadersDuringGrowth(t *testing.T) {
	const fixed = 500
	churn := 30000
	if raceBuild {
		churn = 10000
	}
	table := newTable(t, Config{Capacity: uint32(fixed + churn)})
	for i := range fixed {
		insertNumbered(t, table, i)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			keys, hits := make([]packet.Parsed, 64), make([]Hit, 64)
			var r Result
			for !stop.Load() {
				for i := range keys {
					keys[i] = parsed(numbered(rand.IntN(fixed)), 0)
				}
				table.Lookup(keys, hits)
				for i := range keys {
					for tries := 0; table.Track(&keys[i], &hits[i], 1, &r) != OutcomePass; tries++ {
						pr := proposalFor(keys[i].Tuple)
						if got := table.Insert(&pr, &keys[i], 1, &r); got != Exists || tries > 100 {
							t.Errorf("a connection was lost: %v", got)
							return
						}
					}
				}
			}
		})
	}
	for i := range churn {
		r := insertNumbered(t, table, fixed+i)
		if i%3 == 0 {
			var s State
			table.Remove(r.Index, r.Incarnation, 1, &s)
		}
	}
	stop.Store(true)
	wg.Wait()
}
