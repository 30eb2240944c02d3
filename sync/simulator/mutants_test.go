//go:build mutants

package simulator

import (
	"errors"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast/internal/mutant"
)

// quick are the bugs that some hundred schedules find. Those that take thousands are looked
// for by `make soak`.
var quick = []string{
	"AckBeforeApply", "BothKeepServing", "DeathTooEarly", "GapAskedForOnce", "GapSkipped",
	"KillForgotten", "LapsedLeaseExtended", "MergeRollsBack", "NonceReused", "OwnStallBlamed", "TombForgotten", "WindowOpen",
}

// TestPlanted plants the bugs of package mutant, one at a time, and wants a schedule that
// finds it: the quick ones within 2,000, or all within as many as MUTANT_SCHEDULES says.
func TestPlanted(t *testing.T) {
	limit, names := 2000, quick
	if text := os.Getenv("MUTANT_SCHEDULES"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
		names = slices.Sorted(maps.Keys(mutant.All))
	}
	for _, name := range names {
		planted := mutant.All[name]
		*planted = true
		seeds, what := hunt(t, limit)
		*planted = false
		if what == nil {
			t.Errorf("%s: not found by %d schedules", name, limit)
			continue
		}
		t.Logf("%s: found after %d schedules: %v", name, seeds, what)
	}
}

// hunt runs schedules until an invariant breaks, and returns how many it took.
func hunt(t *testing.T, limit int) (seeds int, what *Broken) {
	var next atomic.Int64
	var mu sync.Mutex
	var workers sync.WaitGroup
	seeds = limit
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := next.Add(1) - 1; seed < int64(limit); seed = next.Add(1) - 1 {
				r, err := Run(Plan(uint64(seed)), nil)
				if err != nil {
					t.Error(err)
					return
				}
				var broken *Broken
				if errors.As(r.Err, &broken) {
					mu.Lock()
					if what == nil || int(seed) < seeds {
						seeds, what = int(seed)+1, broken
					}
					mu.Unlock()
					return
				}
				mu.Lock()
				found := what != nil
				mu.Unlock()
				if found {
					return
				}
			}
		})
	}
	workers.Wait()
	return seeds, what
}
