package gate

import "sync/atomic"

// Progress is one worker's sign of life. The worker steps it once per loop turn,
// the cluster looks whether all moved since it looked last. The padding keeps two
// workers' steps off one cache line.
type Progress struct {
	turns atomic.Uint64
	_     [56]byte
}

// Step is called by the owning worker once per loop turn.
func (p *Progress) Step() { p.turns.Store(p.turns.Load() + 1) }

// Turns returns how many loop turns the worker has made.
func (p *Progress) Turns() uint64 { return p.turns.Load() }

// Watch remembers the turns of a set of workers. Not safe for concurrent use.
type Watch struct {
	workers []*Progress
	seen    []uint64
}

// NewWatch watches the given workers.
func NewWatch(workers []*Progress) *Watch {
	return &Watch{workers: workers, seen: make([]uint64, len(workers))}
}

// AllTurned reports whether every worker has made so many turns since the last call of Begin.
func (w *Watch) AllTurned(turns uint64) bool {
	for i, p := range w.workers {
		if p.Turns()-w.seen[i] < turns {
			return false
		}
	}
	return true
}

// Begin begins to count turns anew.
func (w *Watch) Begin() {
	for i, p := range w.workers {
		w.seen[i] = p.Turns()
	}
}

// AllMoved reports whether every worker has made at least one turn since the last
// call that returned true for it, and names the first that has not (-1: none).
func (w *Watch) AllMoved() (stuck int, moved bool) {
	stuck = -1
	for i, p := range w.workers {
		turns := p.Turns()
		if turns == w.seen[i] && stuck < 0 {
			stuck = i
		}
	}
	if stuck >= 0 {
		return stuck, false
	}
	w.Begin()
	return -1, true
}
