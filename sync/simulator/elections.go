package simulator

import (
	"math/rand/v2"
	"slices"

	"holdfast/sync/cluster"
)

// PlanElection makes the schedule of a seed in which almost everything is about who serves:
// two to eight nodes with several paths between them, partitions of all kinds, nodes that stand
// still, die, or come back with another clock, troubles, orders of operators, and all nodes
// started at once. There is little other work.
func PlanElection(seed uint64) Schedule {
	rng := rand.New(rand.NewPCG(seed, 0x656c656374696f6e))
	s := Schedule{Seed: seed, Shape: planShape(rng)}
	s.Shape.Nodes = 2 + max(0, rng.IntN(20)-13) // most have two, few have eight
	s.Shape.Workers, s.Shape.Flows = 1, 1+rng.IntN(2)
	for range rng.IntN(3) {
		s.Shape.Paths = append(s.Shape.Paths, cluster.PathKind(rng.IntN(2)))
	}
	if rng.IntN(3) == 0 {
		s.Shape.Timing.PreemptAfter = 300 * ms
	}
	s.planWork(rng)
	for range 2 + rng.IntN(10) {
		s.planTrial(rng)
	}
	slices.SortStableFunc(s.Steps, func(a, b Step) int { return int(min(max(a.At-b.At, -1), 1)) })
	for i := range s.Steps {
		s.Steps[i].Number = i
	}
	return s
}

// planTrial draws one thing that tries an election.
func (s *Schedule) planTrial(rng *rand.Rand) {
	at := rng.Int64N(s.Shape.End)
	// From a millisecond to seconds, short ones more often.
	until := min(at+ms+rng.Int64N(1<<(20+rng.IntN(12))), s.Shape.End)
	node := rng.IntN(s.Shape.Nodes)
	peer := (node + 1 + rng.IntN(s.Shape.Nodes-1)) % s.Shape.Nodes
	one := Step{At: at, Until: until, Node: node, Peer: peer}
	switch rng.IntN(12) {
	case 0: // every path of a node
		one.Action = Part
		s.add(one)
	case 1, 2: // every sync link between two nodes, while data ports go on
		one.Action = Sever
		s.add(one)
	case 3: // one path in one direction
		one.Action, one.Amount = Cut, rng.IntN(1+len(s.Shape.Paths))
		s.add(one)
	case 4:
		one.Action, one.Amount = Lose, 100+rng.IntN(400)
		s.add(one)
	case 5, 6:
		one.Action = Pause
		s.add(one)
	case 7:
		one.Action, one.Until, one.Amount = Hiccup, 0, 1+rng.IntN(1000)
		s.add(one)
	case 8:
		one.Action, one.Until, one.Amount = Leap, 0, 1+rng.IntN(1<<(4+rng.IntN(10)))
		s.add(one)
	case 9:
		one.Action, one.Amount = Ail, 1+rng.IntN(120)
		s.add(one)
	case 10:
		one.Action = Crash + Action(rng.IntN(2))
		one.Until = min(at+ms+rng.Int64N(600*ms), s.Shape.End)
		if rng.IntN(4) > 0 {
			s.add(one)
			return
		}
		for id := range s.Shape.Nodes { // all at once
			one.Node = id
			s.add(one)
		}
	case 11:
		one.Action, one.Until = Promote+Action(rng.IntN(2)), 0
		s.add(one)
	}
}

// ailFault is from which Amount on a trouble is a fault.
const ailFault = 80

// ail gives a node a trouble, or takes it away.
func (n *node) ail(amount int) {
	n.health = cluster.Health{}
	switch {
	case amount >= ailFault:
		n.health.Fault = "planned"
	case amount > 0:
		n.health.Lowered = int32(amount)
	}
	if n.up {
		n.cluster.SetHealth(n.health)
	}
}
