package simulator

import (
	"testing"

	"holdfast/sync/cluster"
)

// TestREL12_AtMostOneNodeForwardsWhereVotesDecide runs schedules of elections with a witness:
// no two nodes forward at once, without any window, and one serves when the faults are over.
func TestREL12_AtMostOneNodeForwardsWhereVotesDecide(t *testing.T) {
	runElections(t, PlanWitness)
}

// TestAWitnessDecides: what two nodes do whose votes decide, when paths between the three are
// cut: at no instant two of them forward.
func TestAWitnessDecides(t *testing.T) {
	part := Step{At: second, Until: 2 * second, Action: Part, Node: 0}
	secede := func(node int) Step { return Step{At: second, Until: 2 * second, Action: Secede, Node: node} }
	forget := Step{At: second, Until: 2 * second, Action: Forget}
	const nobody = -1
	for _, row := range []struct {
		name   string
		steps  []Step
		serves int // at 1.9 s: the number of the node, from 0
	}{
		{"the witness dies", []Step{forget}, 0},
		{"the witness stands still", []Step{{At: second, Until: 2 * second, Action: Doze}}, 0},
		{"the active node does not reach the witness", []Step{secede(0)}, 0},
		{"nobody reaches the witness", []Step{secede(0), secede(1)}, 0},
		{"the nodes do not hear each other", []Step{part}, 0},
		{"the active node reaches nobody", []Step{part, secede(0)}, 1},
		{"the standby reaches nobody", []Step{part, secede(1)}, 0},
		{"nobody reaches anybody", []Step{part, secede(0), secede(1)}, nobody},
		{"the active node stands still", []Step{{At: second, Until: 2 * second, Action: Pause, Node: 0}}, 1},
		{"the active node dies, and there is no witness", []Step{forget, {At: second, Until: 2 * second, Action: Crash, Node: 0}}, nobody},
		{"the active node dies", []Step{{At: second, Until: 2 * second, Action: Crash, Node: 0}}, 1},
		{"an operator moves the role", []Step{{At: second, Action: Promote, Node: 1}}, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := situation([]cluster.PathKind{cluster.PathPort}, row.steps...)
			s.Shape.Alone, s.Shape.Witness = cluster.AloneWitness, true
			w := newWorld(s)
			w.at(1900*ms, func() {
				serves := nobody
				for _, n := range w.nodes {
					if n.forwards() {
						serves = n.id
					}
				}
				if serves != row.serves {
					t.Errorf("node %d forwards, want %d: %s", serves+1, row.serves+1, w.claims())
				}
			})
			r, err := w.play()
			w.end()
			if err != nil || r.Err != nil || r.Split {
				t.Errorf("%v %+v", err, r)
			}
		})
	}
}
