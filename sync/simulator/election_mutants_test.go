//go:build mutants

package simulator

import (
	"errors"
	"testing"

	"holdfast/internal/mutant"
)

// TestPlantedInElections plants the bugs that let two nodes forward, and wants a schedule of
// elections that finds each: two promotions that both stand on a healed partition, a revived
// node that keeps its lease, an equal term accepted; and a vote that is given to two.
func TestPlantedInElections(t *testing.T) {
	const limit = 1500
	for _, name := range []string{"BothKeepServing", "LapsedLeaseExtended", "EqualTermAccepted", "VoteGivenTwice"} {
		planted := mutant.All[name]
		*planted = true
		var broken *Broken
		seed := uint64(0)
		for ; seed < limit && broken == nil; seed++ {
			s := PlanElection(seed)
			if name == "VoteGivenTwice" {
				s = PlanWitness(seed)
			}
			if s.Shape.Nodes > 3 {
				continue // two find as much in a tenth of the time
			}
			r, err := Run(s, nil)
			if err != nil {
				t.Fatal(err)
			}
			errors.As(r.Err, &broken)
		}
		*planted = false
		if broken == nil {
			t.Errorf("%s: not found by %d schedules", name, limit)
			continue
		}
		t.Logf("%s: found after %d schedules: %v", name, seed, broken)
	}
}
