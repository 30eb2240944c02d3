package dataplane

import (
	"time"

	"holdfast/internal/mutant"
)

const (
	slowEach  = 2 * time.Millisecond // a burst
	lossEvery = 1000                 // packets
)

// handicap spoils a burst that has come in, in builds that the benchmark's tests make to see
// whether the suite notices (package mutant); in others it is never called.
func (w *Worker) handicap(b *burst) {
	if mutant.Slow {
		time.Sleep(slowEach)
	}
	if mutant.Lossy {
		if w.unlost += b.n; w.unlost >= lossEvery {
			w.unlost -= lossEvery
			b.n--
			w.umem.Free(b.desc[b.n : b.n+1])
		}
	}
}
