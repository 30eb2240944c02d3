package conntrack

import (
	"sync"
	"testing"
	"time"

	"holdfast/dataplane/packet"
)

// TestE10_LoweredThroughTheTable lowers the established timeout of a running table: the
// connection that nobody refreshes keeps its old one, the other has the new one.
func TestE10_LoweredThroughTheTable(t *testing.T) {
	for _, refreshed := range []bool{false, true} {
		tr := newTracer(t, [2]uint32{1, 1}, false)
		tr.run(shake)
		lowered := DefaultTimeouts()
		lowered.Plain[TimerEstablished] = 10 * time.Second
		if err := tr.table.SetTimeouts([]*Timeouts{lowered}, Adaptive{}, tr.now+second); err != nil {
			t.Fatal(err)
		}
		want := 432000
		if refreshed {
			tr.now += 2 * second
			tr.run("-> A seq=1 ack=1 => pass ES")
			want = 10
		}
		if left := tr.view().Left; left != time.Duration(want)*time.Second {
			t.Errorf("refreshed %v: %v are left, want %d s", refreshed, left, want)
		}
		if got := tr.lifetime(); got != want+1 {
			t.Errorf("refreshed %v: lived %d s, want %d", refreshed, got, want)
		}
	}
}

// TestE10_RaisedThroughTheTable saves who is idle.
func TestE10_RaisedThroughTheTable(t *testing.T) {
	tr := newTracer(t, [2]uint32{1, 1}, false)
	tr.run("-> S seq=0 => new SS")
	raised := DefaultTimeouts()
	raised.Plain[TimerSynSent] = 200 * time.Second
	if err := tr.table.SetTimeouts([]*Timeouts{raised}, Adaptive{}, tr.now+second); err != nil {
		t.Fatal(err)
	}
	if got := tr.lifetime(); got != 201 {
		t.Errorf("lived %d s, want 200", got)
	}
}

// TestE10_OfTheRule: a connection runs on the set that its rule brings.
func TestE10_OfTheRule(t *testing.T) {
	own := DefaultTimeouts()
	own.Plain[TimerEstablished], own.Translated[TimerEstablished] = 20*time.Second, 30*time.Second
	for _, nat := range []bool{false, true} {
		tr := newTracer(t, [2]uint32{1, 1}, nat)
		if err := tr.table.SetTimeouts([]*Timeouts{DefaultTimeouts(), DefaultTimeouts(), own}, Adaptive{}, tr.now); err != nil {
			t.Fatal(err)
		}
		tr.proposal.Timeouts = 2
		tr.run(shake)
		want := map[bool]int{false: 20, true: 30}[nat]
		if got := tr.lifetime(); got < want || got > want+1 {
			t.Errorf("nat %v: lived %d s, want %d", nat, got, want)
		}
	}
}

// TestAdaptiveThroughTheTable fills a table to nine tenths: half of each timeout is left,
// and the whole again once it has emptied.
func TestAdaptiveThroughTheTable(t *testing.T) {
	table := newTable(t, Config{Capacity: 1000})
	if err := table.SetTimeouts([]*Timeouts{only(TimerUDP, 100)}, Adaptive{Start: 600, End: 1200}, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 900 {
		insertNumbered(t, table, i)
	}
	ended := make([]Ended, 1000)
	sweep := func(at int64, want int) {
		t.Helper()
		if _, n := table.Sweep(0, 1000, at*second, GraceOwner, ended); n != want {
			t.Errorf("after %d s %d ended, want %d", at, n, want)
		}
	}
	sweep(49, 0)
	var v View
	if !table.View(0, 49*second, &v) || v.Left > time.Second+10*time.Millisecond {
		t.Errorf("%v left, want the second that the pressure leaves", v.Left)
	}
	sweep(51, 900)
	insertNumbered(t, table, 1) // its stamp is that of the beginning
	sweep(60, 0)
}

// TestSetTimeoutsWhileTracking changes timeouts while workers track and sweep: for the
// race detector.
func TestSetTimeoutsWhileTracking(t *testing.T) {
	table := newTable(t, Config{Capacity: 1000})
	p := parsed(numbered(1), 0)
	pr := proposalFor(p.Tuple)
	var r Result
	if got := table.Insert(&pr, &p, 1, &r); got != Inserted {
		t.Fatal(got)
	}
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			ended, hits := make([]Ended, 10), make([]Hit, 1)
			for now := int64(1); now < 2000; now++ {
				var r Result
				keys := []packet.Parsed{p}
				table.Lookup(keys, hits)
				table.Track(&keys[0], &hits[0], now*1e6, &r)
				if now%50 == 0 { // each counts the connections: slow with the lock checks
					table.Sweep(0, 10, now*1e6, GraceOwner, ended)
				}
			}
		})
	}
	for i := range 200 {
		if err := table.SetTimeouts([]*Timeouts{only(TimerUDP, 100+i%2)}, Adaptive{Start: 600, End: 1200}, int64(i)*1e7); err != nil {
			t.Error(err)
		}
	}
	workers.Wait()
	if table.Len() != 1 {
		t.Error("the connection is gone")
	}
}
