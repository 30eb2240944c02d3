package simulator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"holdfast/sync/cluster"
)

// Units of virtual time, in ns.
const (
	ms     = int64(1e6)
	second = int64(1e9)
)

// Schedule is one run: what the world is made of, and what happens in it. Everything
// follows from the seed; Steps may be taken away to find those that matter.
type Schedule struct {
	Seed  uint64
	Shape Shape
	Steps []Step
}

// Shape is what a world is made of.
type Shape struct {
	Nodes   int
	Workers int
	Timing  cluster.Timing
	Alone   cluster.Alone
	Paths   []cluster.PathKind // between two nodes, besides the first
	Witness bool               // there is one
	Backlog uint64             // batches that a lane keeps
	Flows   int
	End     int64 // ns: the faults stop, the network heals, and everything must come right
}

// Action is what a step does. The zero value is illegal.
type Action uint8

// The actions: those of the work first, then those of the operator, then the faults.
const (
	Open     Action = 1 + iota // a flow begins, or begins anew
	Exchange                   // Amount segments go to and fro in a flow
	Close                      // a flow ends in order
	Reset                      // a flow is reset
	KillRule                   // `holdfast kill rule=N`
	KillOne                    // `holdfast kill` of one connection
	Promote                    // `holdfast promote`
	Demote                     // `holdfast demote`
	Ail                        // a node has a trouble: Amount off its priority, or a fault from 80 on
	Sever                      // every sync link between two nodes is cut, in both directions

	Secede // the way between a node and the witness is cut: Amount 1 to it, 2 from it, 0 both
	Garble // the way between a node and the witness loses, delays and doubles datagrams
	Doze   // the witness stands still
	Forget // the witness dies, and is started again, at Until

	Lose      // Amount per mille of the datagrams of a link
	Burst     // losses come in runs: Amount per mille begin one
	Duplicate // Amount per mille
	Reorder   // Amount per mille are held back, by up to 50 ms
	Delay     // Amount ms more, and as much jitter
	Flip      // Amount per mille have a bit turned over
	Truncate  // Amount per mille are cut
	Replay    // Amount per mille bring a recording along
	Narrow    // the link carries Amount kbit/s, and drops what waits for a second
	Cut       // path Amount of a link carries nothing, in one direction
	Part      // a node is cut off from all others
	Pause     // a node stands still
	Hiccup    // a node stands still in the middle of a heartbeat
	Jam       // a node's worker does not move
	Leap      // a node's clock leaps ahead by Amount ms
	Crash     // a node's process dies, and is started again, empty, at Until
	Leave     // the same in order: the daemon is told to end
	actions
)

var actionNames = [actions]string{
	Open: "open", Exchange: "exchange", Close: "close", Reset: "reset", KillRule: "kill-rule", KillOne: "kill-one",
	Promote: "promote", Demote: "demote", Ail: "ail", Sever: "sever", Secede: "secede", Garble: "garble", Doze: "doze", Forget: "forget",
	Lose: "lose", Burst: "burst", Duplicate: "duplicate", Reorder: "reorder",
	Delay: "delay", Flip: "flip", Truncate: "truncate", Replay: "replay", Narrow: "narrow", Cut: "cut", Part: "part",
	Pause: "pause", Hiccup: "hiccup", Jam: "jam", Leap: "leap", Crash: "crash", Leave: "leave",
}

// String returns the action's word.
func (a Action) String() string { return actionNames[min(a, actions-1)] }

// Step is one thing that happens.
type Step struct {
	Number    int   // in the whole schedule; it names the step for Without
	At, Until int64 // ns since the world's begin; faults last until Until
	Action    Action
	Node      int // whom it concerns, or where a link begins
	Peer      int // where a link ends
	Flow      int
	Amount    int
}

// String returns one line of a printed schedule.
func (s Step) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%4d  %9.3f ms  %-9v", s.Number, float64(s.At)/1e6, s.Action)
	switch {
	case s.Action <= Reset || s.Action == KillOne:
		fmt.Fprintf(&b, " flow %d", s.Flow)
	case s.Action == KillRule:
		fmt.Fprintf(&b, " rule %d", s.Amount)
	case s.Action == Sever || s.Action >= Lose && s.Action <= Cut:
		fmt.Fprintf(&b, " node %d > %d", s.Node+1, s.Peer+1)
	default:
		fmt.Fprintf(&b, " node %d", s.Node+1)
	}
	if s.Amount != 0 && s.Action != KillRule {
		fmt.Fprintf(&b, " %d", s.Amount)
	}
	if s.Until != 0 {
		fmt.Fprintf(&b, " for %.3f ms", float64(s.Until-s.At)/1e6)
	}
	return b.String()
}

// Without returns the schedule without the steps of the given numbers.
func (s Schedule) Without(numbers []int) Schedule {
	s.Steps = slices.DeleteFunc(slices.Clone(s.Steps), func(x Step) bool { return slices.Contains(numbers, x.Number) })
	return s
}

// Plan makes the schedule of a seed.
func Plan(seed uint64) Schedule {
	rng := rand.New(rand.NewPCG(seed, 0x686f6c6466617374))
	s := Schedule{Seed: seed, Shape: planShape(rng)}
	s.planWork(rng)
	s.planFaults(rng)
	slices.SortStableFunc(s.Steps, func(a, b Step) int { return int(min(max(a.At-b.At, -1), 1)) })
	for i := range s.Steps {
		s.Steps[i].Number = i
	}
	return s
}

func planShape(rng *rand.Rand) Shape {
	s := Shape{
		Nodes: 2 + rng.IntN(4)/3, Workers: 1 + rng.IntN(3), Flows: 1 + rng.IntN(8),
		End: 500*ms + rng.Int64N(2500*ms), Backlog: 256,
		Timing: cluster.Timing{Heartbeat: 20 * ms, Lease: 100 * ms, DeadAfter: 150 * ms, AloneAfter: 800 * ms},
	}
	if rng.IntN(3) == 0 {
		s.Timing = cluster.Timing{Heartbeat: 10 * ms, Lease: 30 * ms, DeadAfter: 50 * ms, AloneAfter: 500 * ms}
	}
	if rng.IntN(4) == 0 {
		s.Alone = cluster.AloneWait
	}
	if rng.IntN(4) == 0 {
		s.Backlog = 8 // what a peer misses is soon gone for good
	}
	return s
}

// settled is how long the nodes are left alone to find each other and elect.
const settled = 150 * ms

func (s *Schedule) planWork(rng *rand.Rand) {
	span := s.Shape.End - settled
	for flow := range s.Shape.Flows {
		at := settled + rng.Int64N(span/2)
		s.add(Step{At: at, Action: Open, Flow: flow})
		for range rng.IntN(8) {
			at += rng.Int64N(span / 4)
			x := Step{At: at, Action: Exchange, Flow: flow, Amount: 1 + rng.IntN(4)}
			switch rng.IntN(12) {
			case 0:
				x.Action, x.Amount = Close, 0
			case 1:
				x.Action, x.Amount = Reset, 0
			case 2, 3:
				x.Action, x.Amount = Open, 0
			case 4, 5:
				x.Amount = 20 + rng.IntN(60) // edges move on
			}
			s.add(x)
		}
	}
	// Kills come soon after what they meet, so that the messages of both are on their way.
	work := s.Steps
	for range rng.IntN(6) {
		met := work[rng.IntN(len(work))]
		kill := Step{At: met.At + rng.Int64N(20*ms), Action: KillOne, Flow: met.Flow}
		if rng.IntN(2) == 0 {
			kill.Action, kill.Flow, kill.Amount = KillRule, 0, 1+met.Flow%2
		}
		s.add(kill)
	}
	for range rng.IntN(6) / 4 {
		s.add(Step{At: settled + rng.Int64N(span), Action: Promote + Action(rng.IntN(2)), Node: rng.IntN(s.Shape.Nodes)})
	}
}

// planFaults draws the faults: a schedule in four has none but what the work brings.
func (s *Schedule) planFaults(rng *rand.Rand) {
	switch rng.IntN(8) {
	case 0, 1:
		return
	case 2:
		s.planStorm(rng)
		return
	case 3:
		s.planRevenants(rng)
		return
	}
	for range 1 + rng.IntN(10) {
		x := Step{Action: Lose + Action(rng.IntN(int(actions-Lose))), At: rng.Int64N(s.Shape.End), Node: rng.IntN(s.Shape.Nodes)}
		x.Peer = (x.Node + 1 + rng.IntN(s.Shape.Nodes-1)) % s.Shape.Nodes
		x.Until = min(x.At+1+rng.Int64N(s.Shape.End), s.Shape.End)
		switch x.Action {
		case Lose:
			x.Amount = 1 + rng.IntN(300)
		case Burst:
			x.Amount = 1 + rng.IntN(30)
		case Duplicate, Reorder, Flip, Truncate, Replay:
			x.Amount = 1 + rng.IntN(200)
		case Delay:
			x.Amount = 1 + rng.IntN(1<<rng.IntN(10))
		case Narrow:
			x.Amount = 20 + rng.IntN(2000)
		case Cut, Part, Pause, Jam:
			x.Until = min(x.At+1+rng.Int64N(1<<(20+rng.IntN(12))), s.Shape.End)
		case Hiccup:
			x.Amount, x.Until = 1+rng.IntN(400), 0
		case Leap:
			x.Amount, x.Until = 1+rng.IntN(1<<(4+rng.IntN(10))), 0
		case Crash, Leave:
			if rng.IntN(3) == 0 { // not all of them, so that most schedules end with equal tables
				continue
			}
			x.Until = min(x.At+1*ms+rng.Int64N(600*ms), s.Shape.End)
		}
		s.add(x)
	}
}

// planStorm has every link lose much while connections begin and are killed at once: lanes
// overtake each other all the time.
func (s *Schedule) planStorm(rng *rand.Rand) {
	s.Shape.Workers = 3
	for from := range s.Shape.Nodes {
		for to := range s.Shape.Nodes {
			if from != to {
				s.add(Step{Action: Lose, Node: from, Peer: to, At: 100 * ms, Until: s.Shape.End, Amount: 150 + rng.IntN(150)})
			}
		}
	}
	for range 12 {
		begin := Step{Action: Open, At: settled + rng.Int64N(s.Shape.End-settled), Flow: rng.IntN(s.Shape.Flows)}
		s.add(begin)
		kill := Step{Action: KillOne, At: begin.At + rng.Int64N(8*ms), Flow: begin.Flow}
		if rng.IntN(3) == 0 {
			kill.Action, kill.Flow, kill.Amount = KillRule, 0, 1+begin.Flow%2
		}
		s.add(kill)
	}
}

// planRevenants has nodes die and come back while what their former lives have sent is still
// on its way.
func (s *Schedule) planRevenants(rng *rand.Rand) {
	for from := range s.Shape.Nodes {
		for to := range s.Shape.Nodes {
			if from == to {
				continue
			}
			link := Step{Action: Delay, Node: from, Peer: to, At: 100 * ms, Until: s.Shape.End, Amount: 1 + rng.IntN(40)}
			s.add(link)
			link.Action, link.Amount = Reorder, 100+rng.IntN(300)
			s.add(link)
		}
	}
	for range 1 + rng.IntN(3) {
		at := settled + rng.Int64N(s.Shape.End-settled)
		s.add(Step{Action: Crash + Action(rng.IntN(2)), Node: rng.IntN(s.Shape.Nodes), At: at, Until: at + ms + rng.Int64N(20*ms)})
	}
}

func (s *Schedule) add(x Step) {
	if x.At < s.Shape.End {
		s.Steps = append(s.Steps, x)
	}
}
