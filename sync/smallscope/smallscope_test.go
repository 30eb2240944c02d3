package smallscope

import (
	"os"
	"testing"
	"time"

	"holdfast/internal/race"
)

// Limits of one scope of `make soak`: 30 bytes of memory a state.
const (
	soakStates = 20_000_000
	soakTime   = 20 * time.Minute
)

// raceStates bounds a scope where the race detector watches: it is one goroutine.
const raceStates = 500

// TestREL5_NoInterleavingBreaksALaw goes through every sequence of steps of each scope. The
// scopes of the gate are searched whole; those of the soak as far as their limit.
func TestREL5_NoInterleavingBreaksALaw(t *testing.T) {
	size, limit := Gate, Limit{}
	if os.Getenv("HOLDFAST_SOAK") != "" {
		size, limit = Soak, Limit{States: soakStates, Time: soakTime}
	}
	if race.Enabled && size == Gate {
		limit.States = raceStates // TestREL7 searches them whole, in a build without the detector
	}
	states, steps := 0, 0
	for _, scope := range Scopes(size) {
		r := Search(scope, limit)
		states, steps = states+r.States, steps+r.Steps
		t.Logf("%s: %s\n\t%v", scope.Name, scope.What, r)
		switch {
		case r.Broken != nil:
			t.Error(r.Broken)
		case size == Gate && !r.Closed && limit == (Limit{}):
			t.Errorf("%s was not searched whole", scope.Name)
		}
	}
	t.Logf("%d states and %d steps in all", states, steps)
}

// TestREL8_EveryTripleJoins goes through all triples of states of a small domain.
func TestREL8_EveryTripleJoins(t *testing.T) {
	triples, err := Join()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d triples", triples)
}

// TestReplayIsTheSame: the same steps come to the same state, else states could not be
// reached again. It takes the last step that there is, and so for a while, twice.
func TestReplayIsTheSame(t *testing.T) {
	for _, scope := range Scopes(Gate) {
		var prints [2][]uint64
		for i := range prints {
			w := scope.New()
			for steps := w.Steps(nil); len(steps) > 0 && len(prints[i]) < 40; steps = w.Steps(nil) {
				if err := w.Take(steps[(len(prints[i])*7)%len(steps)]); err != nil {
					t.Fatalf("%s: %v", scope.Name, err)
				}
				prints[i] = append(prints[i], w.Fingerprint())
			}
			w.Close()
		}
		if len(prints[0]) == 0 || len(prints[0]) != len(prints[1]) {
			t.Fatalf("%s: %d steps, then %d", scope.Name, len(prints[0]), len(prints[1]))
		}
		for k := range prints[0] {
			if prints[0][k] != prints[1][k] {
				t.Errorf("%s: step %d has come to two states", scope.Name, k)
			}
		}
	}
}

// TestPathsAreReadBack: what a failure prints is what the command takes.
func TestPathsAreReadBack(t *testing.T) {
	path, err := ParsePath(JoinPath([]int{0, 3, 12}))
	if err != nil || len(path) != 3 || path[2] != 12 {
		t.Errorf("read back as %v, %v", path, err)
	}
	if _, err := ParsePath("1.x"); err == nil {
		t.Error("1.x was taken for a path")
	}
	if _, err := Replay(Scopes(Gate)[0], []int{99}); err == nil {
		t.Error("a step that does not exist was taken")
	}
}
