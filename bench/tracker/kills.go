package tracker

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// Killed is what a kill of half of a Load's connections did, while a worker forwarded.
type Killed struct {
	Last     time.Duration // from the request to the end of the last burst in which a packet of a killed connection passed
	Returned time.Duration // until the connections were dead by what the call says
	Memory   time.Duration // until all of it was back
	Count    int           // what the kill says
	Lost     int           // packets of connections that live on, and were dropped
	Passed   int           // packets of killed connections that passed after the call had returned
}

// gateway returns the gateway of connection i: every second one has 2.
func gateway(i int) uint8 { return uint8(1 + i&1) }

// KillGateway kills the connections of gateway 2, half of all, by their class, while a
// worker takes packets of all through the tracker. The load is used up.
func (l *Load) KillGateway() (Killed, error) {
	return l.kill(func() (func() int, error) {
		k := l.Table.Kill(func(c *conntrack.Class) bool { return c.Gateway == 2 }, 0)
		return func() int { return l.Table.ReapedOf(&k) }, nil
	})
}

// KillNetwork kills the same connections, but finds them one by one, by what is no
// property of a class: an odd last bit of the client's address.
func (l *Load) KillNetwork() (Killed, error) {
	return l.kill(func() (func() int, error) {
		before, n := l.Table.Latest(), 0
		choice := &conntrack.Choice{Conn: func(v *conntrack.View) bool { return v.Original.Src[15]&1 == 1 }}
		for from, more := uint32(0), true; more; more = from != 0 {
			var ended int
			from, ended = l.Table.KillEach(from, 4096, l.now, before, choice)
			n += ended
		}
		return func() int { return n }, nil
	})
}

// kill runs a kill beside a worker.
func (l *Load) kill(do func() (count func() int, err error)) (k Killed, err error) {
	w := &witness{load: l, ready: make(chan struct{}), done: make(chan error, 1)}
	go w.run()
	<-w.ready
	begin := time.Now()
	count, err := do()
	k.Returned = time.Since(begin)
	w.returned.Store(int64(time.Since(w.start)))
	if err == nil {
		err = l.reap()
	}
	k.Memory = time.Since(begin)
	w.stop.Store(true)
	if err = errors.Join(err, <-w.done); err != nil {
		return k, err
	}
	k.Count, k.Lost, k.Passed = count(), w.lost, w.passedLate
	k.Last = max(0, w.lastPassed-begin.Sub(w.start))
	if left := l.Table.Len(); left != l.Conns-k.Count {
		return k, fmt.Errorf("%d connections are left of %d, %d were killed", left, l.Conns, k.Count)
	}
	return k, nil
}

// reap takes the dead away, in two halves, as the daemon does.
func (l *Load) reap() error {
	high := l.Table.High()
	var wg sync.WaitGroup
	for half := range uint32(2) {
		wg.Go(func() {
			reaped := make([]conntrack.Reaped, burst)
			for from, end := half*(high/2), high/2+half*(high-high/2); from < end; {
				next, _ := l.Table.Reap(from, min(4096, end-from), l.now, reaped, nil)
				if next == 0 {
					return // the end of the array
				}
				from = next
			}
		})
	}
	wg.Wait()
	return nil
}

// witness is the worker: it says which packets passed, and when.
type witness struct {
	load     *Load
	start    time.Time
	ready    chan struct{}
	stop     atomic.Bool
	returned atomic.Int64 // ns since start, 0 before
	done     chan error

	lost       int
	passedLate int
	lastPassed time.Duration // since start: when the last burst ended in which a packet of gateway 2 passed
}

func (w *witness) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w.done <- w.witness()
}

func (w *witness) witness() error {
	l := w.load
	var parsed [burst]packet.Parsed
	var hits [burst]conntrack.Hit
	var r conntrack.Result
	w.start = time.Now()
	for bursts := 0; ; bursts++ {
		if bursts == sampled/burst {
			close(w.ready) // every connection of the sample was seen
		}
		if bursts > sampled/burst && w.stop.Load() {
			return nil
		}
		at := bursts * burst % sampled
		// What begins after the call has returned must find the killed dead.
		late := w.returned.Load() != 0
		for i := range parsed {
			f := l.frames[at+i]
			if why := packet.Decode(f[:frameLen], &parsed[i]); why != 0 && parsed[i].Kind != packet.KindIP {
				return fmt.Errorf("frame %d: %v", at+i, why)
			}
		}
		l.Table.Lookup(parsed[:], hits[:])
		for i := range parsed {
			passed := l.Table.Track(&parsed[i], &hits[i], l.now, &r) == conntrack.OutcomePass
			killed := gateway(l.of[at+i]) == 2
			switch {
			case !passed && !killed:
				w.lost++
			case passed && killed:
				w.lastPassed = time.Since(w.start)
				if late {
					w.passedLate++
				}
			}
		}
	}
}
