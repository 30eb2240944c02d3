package simulator

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast/sync/cluster"
)

// TestREL12_AtMostOneNodeForwards runs schedules of elections: of two to eight nodes with one
// to three paths between them no two forward at once, save in the window that the written
// rule admits (together.go): every path between the two is faulty.
func TestREL12_AtMostOneNodeForwards(t *testing.T) {
	runElections(t, PlanElection)
}

// runElections runs the schedules that plan makes, for as long as the gate gives them.
func runElections(t *testing.T, plan func(seed uint64) Schedule) {
	t.Helper()
	first, count, soak := extent(t)
	if !soak {
		count = gateElections
	}
	if testing.Short() {
		count = min(count, gateLeast)
	}
	var next, splits, promotions, failed, ran atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(count) && failed.Load() < 5; i = next.Add(1) - 1 {
				seed := first + uint64(i)
				r, err := Run(plan(seed), nil)
				if err != nil || r.Err != nil {
					failed.Add(1)
					t.Errorf("seed %d: %v %v\n\treplay: go run ./sync/simulator/run %s --seed %d --shrink --trace", seed, err, r.Err, map[bool]string{false: "--elections", true: "--witness"}[plan(seed).Shape.Witness], seed)
				}
				ran.Add(1)
				promotions.Add(int64(r.Failovers))
				if r.Split {
					splits.Add(1)
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d schedules of elections, %d changes of the active node; in %d two nodes forwarded at once, in the window that is admitted",
		ran.Load(), promotions.Load(), splits.Load())
}

// situation is a schedule of two nodes in which one thing happens.
func situation(paths []cluster.PathKind, steps ...Step) Schedule {
	s := Schedule{Seed: 1, Shape: Shape{
		Nodes: 2, Workers: 1, Flows: 1, End: 3 * second, Backlog: 256, Paths: paths,
		Timing: cluster.Timing{Heartbeat: 20 * ms, Lease: 100 * ms, DeadAfter: 150 * ms, AloneAfter: 800 * ms},
	}}
	for i := range 20 {
		steps = append(steps, Step{At: 500*ms + int64(i)*100*ms, Action: Open, Flow: 0})
	}
	s.Steps = steps
	return s
}

// told runs a schedule that must hold, and returns what became of it.
func told(t *testing.T, s Schedule) Result {
	t.Helper()
	r, err := Run(s, nil)
	if err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	return r
}

// TestWindowWithoutWitness names the window in which two nodes may forward: no witness, and
// every path between them cut. It begins DeadAfter after the cut and ends when they hear
// each other again. With one path left, of whatever kind, there is none.
func TestWindowWithoutWitness(t *testing.T) {
	all := Step{At: 1 * second, Until: 2 * second, Action: Part, Node: 0}
	if r := told(t, situation([]cluster.PathKind{cluster.PathPort}, all)); !r.Split {
		t.Error("every path was cut, and two nodes did not forward: the window is gone, and this test with it")
	}
	sync := Step{At: 1 * second, Until: 2 * second, Action: Sever, Node: 0, Peer: 1}
	for _, row := range []struct {
		name      string
		paths     []cluster.PathKind
		failovers int
	}{
		{"the only sync link is cut, a data port goes on", []cluster.PathKind{cluster.PathPort}, 0},
		{"two sync links are cut, a data port goes on", []cluster.PathKind{cluster.PathSync, cluster.PathPort}, 0},
	} {
		if r := told(t, situation(row.paths, sync)); r.Split || r.Failovers != row.failovers {
			t.Errorf("%s: split %v, %d failovers", row.name, r.Split, r.Failovers)
		}
	}
}

// TestASecondSyncLinkTakesOver: one of two sync links dies, in both directions or in one, and
// nothing is lost and nobody takes over; both nodes are ready all the time.
func TestASecondSyncLinkTakesOver(t *testing.T) {
	for _, cuts := range [][]Step{
		{{At: second, Until: 2 * second, Action: Cut, Node: 0, Peer: 1}, {At: second, Until: 2 * second, Action: Cut, Node: 1, Peer: 0}},
		{{At: second, Until: 2 * second, Action: Cut, Node: 0, Peer: 1}},
		{{At: second, Until: 2 * second, Action: Cut, Node: 1, Peer: 0}},
	} {
		w := newWorld(situation([]cluster.PathKind{cluster.PathSync}, cuts...))
		w.at(1900*ms, func() {
			for _, n := range w.nodes {
				status := n.cluster.Status(n.local())
				if p := status.Peers[0]; !status.Ready || p.Behind > 0 || p.Unconfirmed > 1 {
					t.Errorf("%v: node %d: ready %v (%s), %d behind, %d unconfirmed", cuts, n.id+1, status.Ready, status.NotReady, p.Behind, p.Unconfirmed)
				}
			}
		})
		r, err := w.play()
		w.end()
		if err != nil || r.Err != nil || r.Failovers != 0 || r.Split {
			t.Errorf("%v: %v %+v", cuts, err, r)
		}
	}
}

// TestOnlyTheSyncLinkDies: the standby hears by a data port that its peer serves, and stays mute;
// it is not ready, and says why, until the link is whole and has brought what it missed.
func TestOnlyTheSyncLinkDies(t *testing.T) {
	w := newWorld(situation([]cluster.PathKind{cluster.PathPort}, Step{At: second, Until: 2 * second, Action: Sever, Node: 0, Peer: 1}))
	look := func(at int64, ready bool) {
		w.at(at, func() {
			if s := w.nodes[1].cluster.Status(w.nodes[1].local()); s.Ready != ready || s.Beat.Role != 0 || s.Active != "n1" {
				t.Errorf("at %d ms: %v, ready %v (%s), active %q", at/ms, s.Beat.Role, s.Ready, s.NotReady, s.Active)
			}
		})
	}
	look(900*ms, true)
	look(1500*ms, false)
	look(2500*ms, true)
	r, err := w.play()
	w.end()
	if err != nil || r.Err != nil || r.Failovers != 0 {
		t.Errorf("%v %+v", err, r)
	}
}

// TestAStoppedNodeComesBackMute: a node that stands still for a second believes that it
// serves when it comes back; not one packet leaves it before it is promoted anew (INV1).
func TestAStoppedNodeComesBackMute(t *testing.T) {
	r := told(t, situation(nil, Step{At: second, Until: 2 * second, Action: Pause, Node: 0}))
	if r.Failovers != 1 || r.Split {
		t.Errorf("%d failovers, split %v", r.Failovers, r.Split)
	}
}

// TestAClockThatJumpsEndsTheLease: a clock that leaps ahead by ten seconds ends the lease of its
// node, which must be promoted anew; on the other node it makes nobody dead.
func TestAClockThatJumpsEndsTheLease(t *testing.T) {
	r := told(t, situation(nil, Step{At: second, Action: Leap, Node: 0, Amount: 10_000}))
	if r.Failovers != 1 || r.Split {
		t.Errorf("the active node's clock: %d failovers, split %v", r.Failovers, r.Split)
	}
	r = told(t, situation(nil, Step{At: second, Action: Leap, Node: 1, Amount: 10_000}))
	if r.Failovers != 0 || r.Split {
		t.Errorf("the standby's clock: %d failovers, split %v", r.Failovers, r.Split)
	}
}

// TestBothNodesStartAtOnce: of two that die and come back together one serves, the one of
// higher priority.
func TestBothNodesStartAtOnce(t *testing.T) {
	r := told(t, situation(nil,
		Step{At: second, Until: second + 50*ms, Action: Crash, Node: 0}, Step{At: second, Until: second + 50*ms, Action: Crash, Node: 1}))
	if r.Failovers != 1 || r.Split {
		t.Errorf("%d promotions after the first, split %v", r.Failovers, r.Split)
	}
}
