package replica

import (
	"time"

	"holdfast/bench/tracker"
	"holdfast/dataplane/gate"
	"holdfast/sync/digest"
	"holdfast/sync/repair"
)

// Pass sums a table of so many connections n times, and returns how long each took.
func Pass(conns, n int) (took []time.Duration, err error) {
	load, err := tracker.Fill(conns, 0)
	if err != nil {
		return nil, err
	}
	defer load.Close()
	var sums digest.Sums
	for range n {
		cpu := processTime()
		for p := digest.Begin(load.Table, digest.BitsFor(conns), &sums); !p.Step(2048, gate.Now()); {
		}
		took = append(took, processTime()-cpu)
	}
	return took, nil
}

// Beside measures packets of established connections, ns each, in turn without rounds and
// with rounds of the same table running as a node's prover runs them.
func Beside(conns, packets, rounds int) (without, with []float64, err error) {
	load, err := tracker.Fill(conns, 0)
	if err != nil {
		return nil, nil, err
	}
	defer load.Close()
	w := load.Worker()
	measure := func() (float64, error) {
		n, took, err := w.Packets(packets)
		return float64(took.Nanoseconds()) / float64(n), err
	}
	if _, err := measure(); err != nil {
		return nil, nil, err
	}
	for range rounds {
		ns, err := measure()
		if err != nil {
			return nil, nil, err
		}
		without = append(without, ns)
		stop, done := make(chan struct{}), make(chan struct{})
		go proveUntil(load, stop, done)
		ns, err = measure()
		close(stop)
		<-done
		if err != nil {
			return nil, nil, err
		}
		with = append(with, ns)
	}
	return without, with, nil
}

// proveUntil runs rounds: a tenth of the time, in steps, and at most one each second.
func proveUntil(load *tracker.Load, stop, done chan struct{}) {
	defer close(done)
	r := repair.NewRounds(load.Table)
	for {
		begin := time.Now()
		for r.Begin(gate.Now()); !r.Step(2048, gate.Now()); {
			select {
			case <-stop:
				return
			default:
			}
		}
		took := time.Since(begin)
		select {
		case <-stop:
			return
		case <-time.After(max(time.Second, 10*took) - took):
		}
	}
}
