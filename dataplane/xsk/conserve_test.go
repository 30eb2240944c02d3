package xsk

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestFramesAreConserved forwards a load both ways between two ports while the links
// flap, one end after the other, and closes and reopens the sockets in between. The
// frames add up in each turn, and all come home in the end.
func TestFramesAreConserved(t *testing.T) {
	const reopenEvery = 4
	flaps := 32
	if n, err := strconv.Atoi(os.Getenv("HOLDFAST_FLAPS")); err == nil {
		flaps = n // for a long run
	}
	r := newRig(t, 2, 1)
	worker := r.umem(small.Frames(3))
	ports := []struct {
		device string
		queue  int
	}{{"p0", 0}, {"p0", 1}, {"p1", 0}}
	sockets := make([]*Socket, len(ports))
	open := func() {
		for i, p := range ports {
			sockets[i] = r.open(p.device, p.queue, worker, Config{})
		}
	}
	open()

	var over atomic.Bool
	var turns, forwarded, flapped atomic.Int64
	var background sync.WaitGroup
	background.Go(func() { load(t, r, &over) })
	background.Go(func() {
		defer over.Store(true)
		for i := range flaps {
			link := []string{"p0", "g0", "p1", "g1"}[i%4]
			// Each flap meets traffic, and the worker takes some turns while it lasts.
			advance(t, "forwarding", &forwarded, 64)
			if err := r.space.Down(link); err != nil {
				t.Error(err)
			}
			advance(t, "turns", &turns, 3)
			if err := r.space.Up(link); err != nil {
				t.Error(err)
			}
			flapped.Add(1)
		}
	})

	batch := make([]Desc, 64)
	var weather Weather
	reopened := 0
	for next := int64(reopenEvery); !over.Load(); turns.Add(1) {
		n := forward(sockets[0], sockets[2], batch)
		n += forward(sockets[1], sockets[2], batch)
		n += forward(sockets[2], sockets[turns.Load()%2], batch)
		forwarded.Add(int64(n))
		checkSum(t, worker, 0)
		if flapped.Load() >= next {
			next += reopenEvery
			reopened++
			for _, s := range sockets {
				weather = met(t, weather, s)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				checkSum(t, worker, 0)
			}
			open()
		}
	}
	background.Wait()
	t.Logf("%d turns, %d frames, %d flaps, reopened %d times, %+v", turns.Load(), forwarded.Load(), flapped.Load(), reopened, weather)
	// The links are up: what was posted is still posted, and traffic flows again.
	eventually(t, "all kicked", func() bool { return kickAll(sockets[0]) == KickedAll && kickAll(sockets[2]) == KickedAll })
	r.close(worker, sockets...)
}

// advance waits until a counter has gone up by n. It runs beside the test's goroutine,
// which alone may end the test.
func advance(t *testing.T, what string, counter *atomic.Int64, n int64) {
	target := counter.Load() + n
	for end := time.Now().Add(deadline); counter.Load() < target; runtime.Gosched() {
		if time.Now().After(end) {
			t.Errorf("not within %v: %d more %s", deadline, n, what)
			return
		}
	}
}

// met adds what a socket met to sum, and fails on what a flap cannot cause.
func met(t *testing.T, sum Weather, s *Socket) Weather {
	t.Helper()
	w := s.Weather()
	if w.Other != 0 || w.Gone != 0 {
		t.Errorf("%s met %+v", s, w)
	}
	return Weather{Again: sum.Again + w.Again, Busy: sum.Busy + w.Busy, Down: sum.Down + w.Down}
}

// load sends into every queue of the far ends until it is over, and takes what comes.
func load(t *testing.T, r *rig, over *atomic.Bool) {
	u := r.umem(small.Frames(3))
	var ends []*Socket
	for _, end := range []struct {
		device string
		queue  int
	}{{"g0", 0}, {"g0", 1}, {"g1", 0}} {
		s, err := r.tryOpen(end.device, end.queue, u, Config{})
		if err != nil {
			t.Error(err)
			return
		}
		ends = append(ends, s)
	}
	batch := make([]Desc, 64)
	for !over.Load() {
		for _, s := range ends {
			n := write(u, batch, 0)
			u.Free(batch[s.Transmit(batch[:n]):n])
			kickAll(s)
			s.Reclaim()
			u.Free(batch[:s.Receive(batch)])
			s.Refill()
		}
	}
	for _, s := range ends {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if a := u.Account(); a.Sum() != a.Total || u.Faults() != 0 {
		t.Errorf("the load's frames do not add up: %+v, %d faults", a, u.Faults())
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
}
