package conntrack

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// TimeoutSetsMax is how many sets of timeouts a table knows: the default, number 0, and those that
// rules bring (Proposal.Timeouts).
const TimeoutSetsMax = 16

// erasMax bounds how many eras before the present one are remembered.
const erasMax = 8

// regimes is all that a table knows of timeouts: what holds now, what held before, and how
// much of it the pressure leaves. The path loads one pointer. Every method may be called by
// any goroutine at any time.
//
// A new regime applies to what is refreshed from then on (E10). Until then a connection has
// the longest of the limits that have held since its last refresh; so lowering a timeout
// ends nobody at once, and raising one saves those who are still there:
//
//	limit = max { limit of era k : era k is not over before the last refresh }
//
//	           change: 10 min -> 1 min
//	-- packet -----|--------------------------- idle, ends 10 min after its packet
//	---------------|------ packet ------------- ends 1 min after its packet
//
// This is what nf_conntrack does, for other reasons: there the deadline stands in the
// entry. Here it protects the shadows, whose stamps are as old as a third of the timeout
// by which their owner refreshes them: judged by a limit that is suddenly a tenth of it, a
// peer would forget connections that live. Who wants the idle ones gone at once kills them
// by min-idle.
type regimes struct {
	current atomic.Pointer[regime]
	left    atomic.Uint32 // per mille; what the pressure leaves of a timeout. 0: not asked yet, all of it
	mu      sync.Mutex    // one change at a time
}

// era is the sets that held from one moment on. It is immutable.
type era struct {
	since int64 // ms of CLOCK_BOOTTIME
	sets  [TimeoutSetsMax]limits
}

// regime is what holds now and what held before. It is immutable.
type regime struct {
	era
	adaptive Adaptive
	before   []*era // the last first, at most erasMax
}

// begin sets what holds from the beginning: one set for all. It is for New.
func (r *regimes) begin(t *Timeouts) error { return r.change([]*Timeouts{t}, Adaptive{}, 0) }

// change puts other sets in force from now on, CLOCK_BOOTTIME in ns. sets[0] is the
// default, and what a number without a set means. Nothing changes where it returns an
// error, which names the set and the timer.
func (r *regimes) change(sets []*Timeouts, a Adaptive, now int64) error {
	if len(sets) == 0 || len(sets) > TimeoutSetsMax {
		return fmt.Errorf("conntrack: %d sets of timeouts: must be 1 to %d", len(sets), TimeoutSetsMax)
	}
	if err := a.check(); err != nil {
		return err
	}
	next := &regime{adaptive: a, era: era{since: now / 1e6}}
	for i := range next.sets {
		if i >= len(sets) {
			next.sets[i] = next.sets[0]
			continue
		}
		compiled, err := sets[i].compile()
		if err != nil {
			return fmt.Errorf("set %d of timeouts: %w", i, err)
		}
		next.sets[i] = compiled
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if last := r.current.Load(); last != nil {
		if last.sets == next.sets { // a reload that is about something else makes no era
			next.since, next.before = last.since, last.before
		} else {
			next.before = slices.Insert(slices.Clone(last.before), 0, &era{last.since, last.sets})
			next.before = next.before[:min(len(next.before), erasMax)]
		}
	}
	r.current.Store(next)
	return nil
}

// adapts reports whether anybody needs to count the connections for press.
func (r *regimes) adapts() bool { return r.current.Load().adaptive.End != 0 || r.left.Load() != 0 }

// press takes note of how full the table is. The sweep calls it where it begins a turn
// around the table, so a count that takes every lock once is cheap enough.
func (r *regimes) press(live, capacity int) {
	r.left.Store(r.current.Load().adaptive.factor(live, capacity))
}

// period returns log2 of a connection's export period in ms.
func (r *regimes) period(set uint8, f Flags, timer Timer) uint8 {
	return r.current.Load().sets[set%TimeoutSetsMax].period[translated(f)][timer]
}

// at returns what judges idle connections at a time, in ns. It is taken once for many.
func (r *regimes) at(now int64, g Grace) judge {
	factor := uint32(factorWhole)
	// Pressure is the owner's affair: it refreshes its peers after a third of the whole
	// timeout, so a shadow's must stay whole; and what it ends, it tells them.
	if left := r.left.Load(); left != 0 && g == GraceOwner {
		factor = left
	}
	return judge{regime: r.current.Load(), now: now / 1e6, factor: factor, grace: g}
}

// judge says which connections are idle for too long, at one moment.
type judge struct {
	regime *regime
	now    int64 // ms
	factor uint32
	grace  Grace
}

// expired reports whether a connection is over that has been idle for so many ms.
func (j *judge) expired(set uint8, f Flags, timer Timer, idle uint32) bool {
	// Without pressure the limit of now is the least that limit can return; nearly every
	// connection is judged by this line.
	if j.factor == factorWhole && idle <= j.regime.sets[set%TimeoutSetsMax].idle[translated(f)][timer] {
		return false
	}
	return j.grace != GraceEternal && idle > j.limit(set, f, timer, idle)
}

// limit returns for how many ms a connection may be idle that has been for idle already.
func (j *judge) limit(set uint8, f Flags, timer Timer, idle uint32) uint32 {
	set, column := set%TimeoutSetsMax, translated(f)
	limit := j.regime.sets[set].idle[column][timer]
	refreshed, since := j.now-int64(idle), j.regime.since
	for _, e := range j.regime.before {
		if refreshed >= since {
			break
		}
		limit, since = max(limit, e.sets[set].idle[column][timer]), e.since
	}
	return j.grace.apply(scale(limit, j.factor))
}
