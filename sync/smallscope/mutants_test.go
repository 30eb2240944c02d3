//go:build mutants

package smallscope

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"holdfast/internal/mutant"
)

// planted are the bugs that the scopes of the gate must find. Those that are missing lie
// outside the machines that are searched here (the record layer, readiness): the simulator
// finds them.
var planted = []string{
	"BothKeepServing", "DeathTooEarly", "EqualTermAccepted", "LapsedLeaseExtended", "OwnStallBlamed",
	"AckBeforeApply", "GapAskedForOnce", "GapSkipped", "LossHidden",
}

// TestPlanted plants the bugs one at a time, and wants a scope that finds each, by a sequence
// of steps that breaks the same law when it is taken again.
func TestPlanted(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(mutant.All)) {
		bug, must := mutant.All[name], slices.Contains(planted, name)
		if !must {
			continue
		}
		*bug = true
		states, what := hunt(t)
		*bug = false
		if what == nil {
			t.Errorf("%s: not found in %d states", name, states)
			continue
		}
		t.Logf("%s: found after %d states, by %d steps of %s: %v", name, states, len(what.Path), what.Scope, what.Why)
	}
}

// TestPlantedInTheJoin plants a merge that rolls back.
func TestPlantedInTheJoin(t *testing.T) {
	mutant.MergeRollsBack = true
	defer func() { mutant.MergeRollsBack = false }()
	triples, err := Join()
	if err == nil {
		t.Fatalf("MergeRollsBack: not found in %d triples", triples)
	}
	t.Logf("MergeRollsBack: found after %d triples: %v", triples, err)
}

// hunt searches the scopes until a law breaks.
func hunt(t *testing.T) (states int, what *Broken) {
	for _, scope := range Scopes(Gate) {
		r := Search(scope, Limit{})
		states += r.States
		if r.Broken == nil {
			continue
		}
		if _, err := Replay(scope, r.Broken.Path); err == nil || !errors.Is(err, errLaw) || err.Error() != r.Broken.Why.Error() {
			t.Errorf("taken again, the steps come to %v\n%v", err, r.Broken)
		}
		return states, r.Broken
	}
	return states, nil
}
