package seal

import (
	"math/rand/v2"
	"testing"
)

// slowWindow is the obvious twin of Window: it remembers every counter.
type slowWindow struct {
	newest uint64
	seen   map[uint64]bool
}

func (w *slowWindow) fresh(c uint64) bool {
	return !w.seen[c] && (c > w.newest || w.newest-c < windowSize)
}

func (w *slowWindow) mark(c uint64) {
	w.seen[c] = true
	w.newest = max(w.newest, c)
}

func TestWindowAgainstItsTwin(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var w Window
		twin := slowWindow{seen: map[uint64]bool{}}
		base := uint64(0)
		for range 2000 {
			switch rng.IntN(20) {
			case 0:
				base += rng.Uint64N(3000) // a jump, over the whole window at times
			case 1:
				base += 64 - base%64 // the edge of a word
			default:
				base += rng.Uint64N(3)
			}
			c := base
			if back := rng.Uint64N(1200); rng.IntN(2) == 0 && back <= base {
				c -= back
			}
			if got, want := w.Fresh(c), twin.fresh(c); got != want {
				t.Fatalf("seed %d: counter %d after %d: %v, twin says %v", seed, c, w.newest, got, want)
			} else if got {
				w.Mark(c)
				twin.mark(c)
			}
		}
	}
}

func TestWindowEdges(t *testing.T) {
	for _, newest := range []uint64{0, 1, 63, 64, 959, 960, 961, 1000, 1023, 1024, 1 << 20, maxCounter} {
		var w Window
		if !w.Fresh(newest) {
			t.Fatalf("%d is not fresh in an empty window", newest)
		}
		w.Mark(newest)
		if w.Fresh(newest) {
			t.Errorf("%d twice", newest)
		}
		if newest >= windowSize {
			if !w.Fresh(newest - windowSize + 1) {
				t.Errorf("newest %d: the oldest in the window is refused", newest)
			}
			if w.Fresh(newest - windowSize) {
				t.Errorf("newest %d: one behind the window is accepted", newest)
			}
		}
		for _, jump := range []uint64{63, 64, 65, 15 * 64, 16 * 64, 17 * 64, 1 << 30} {
			ahead := w
			if ahead.Mark(newest + jump); ahead.Fresh(newest + jump) {
				t.Errorf("%d twice", newest+jump)
			}
			if got, want := ahead.Fresh(newest), false; got != want {
				t.Errorf("newest %d: fresh again after a jump of %d", newest, jump)
			}
			if !ahead.Fresh(newest + jump - 1) {
				t.Errorf("jump of %d marks its neighbour", jump)
			}
		}
	}
}
