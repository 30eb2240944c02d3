package smallscope

import "holdfast/sync/cluster"

// Sizes of scopes: what `make test` goes through whole in some seconds, and what `make soak`
// goes through as far as its limit.
type Size uint8

const (
	Gate Size = iota
	Soak
)

// Scopes returns those of a size.
func Scopes(size Size) (all []Scope) {
	for _, l := range lanes(size) {
		all = append(all, l.Scope(l.name, depthMax))
	}
	for _, r := range elections(size) {
		all = append(all, r.Scope(r.name, depthMax))
	}
	return all
}

// Named returns a scope by its name.
func Named(name string) (Scope, bool) {
	for _, size := range []Size{Gate, Soak} {
		for _, s := range Scopes(size) {
			if s.Name == name {
				return s, true
			}
		}
	}
	return Scope{}, false
}

// depthMax is no bound: scopes end by what they allow.
const depthMax = 200

// named is an election with the name of its scope.
type named struct {
	name string
	Roles
}

// elections are the scopes of the election. The times stand to each other as those of the
// defaults do, and in a beat of two units the node takes two turns, as cluster.Node does.
func elections(size Size) []named {
	coarse := cluster.Timing{Heartbeat: 1, Lease: 2, DeadAfter: 3, AloneAfter: 5}
	preempt := coarse
	preempt.PreemptAfter = 3
	fine := cluster.Timing{Heartbeat: 2, Lease: 4, DeadAfter: 6, AloneAfter: 10}
	if size == Gate {
		return []named{
			{"election-loss", Roles{Nodes: 2, Timing: coarse, Units: 7, Late: 1, Losses: 2, Stalls: 2}},
			{"election-pause", Roles{Nodes: 2, Timing: coarse, Units: 7, Late: 1, Stalls: 2, Pauses: 1}},
			{"election-crash", Roles{Nodes: 2, Timing: coarse, Units: 7, Late: 1, Losses: 1, Crashes: 1}},
			{"election-cut", Roles{Nodes: 2, Timing: coarse, Units: 8, Late: 1, Cuts: 2}},
			{"election-cut-wait", Roles{Nodes: 2, Timing: coarse, Alone: cluster.AloneWait, Units: 8, Late: 1, Cuts: 2}},
			{"election-orders", Roles{Nodes: 2, Timing: coarse, Units: 8, Late: 1, Losses: 1, Orders: 2}},
			{"election-forced", Roles{Nodes: 2, Timing: coarse, Units: 8, Late: 1, Losses: 1, Forced: 2}},
			{"election-fault", Roles{Nodes: 2, Timing: preempt, Units: 9, Late: 1, Losses: 1, Faults: 3}},
			{"election-three", Roles{Nodes: 3, Timing: coarse, Units: 5, Late: 1, Crashes: 1}},
		}
	}
	return []named{
		{"election-long", Roles{Nodes: 2, Timing: coarse, Units: 12, Late: 2, Losses: 3, Stalls: 3, Pauses: 1}},
		{"election-crashes", Roles{Nodes: 2, Timing: coarse, Units: 12, Late: 2, Losses: 1, Stalls: 2, Crashes: 2, Orders: 1}},
		{"election-cuts", Roles{Nodes: 2, Timing: coarse, Units: 12, Late: 1, Losses: 1, Crashes: 1, Cuts: 2, Orders: 1}},
		{"election-fine", Roles{Nodes: 2, Timing: fine, Units: 20, Late: 2, Losses: 2, Stalls: 4, Crashes: 1}},
		{"election-faults", Roles{Nodes: 2, Timing: preempt, Units: 14, Late: 2, Losses: 1, Stalls: 1, Crashes: 1, Orders: 1, Faults: 3}},
		{"election-three-fault", Roles{Nodes: 3, Timing: preempt, Units: 7, Late: 1, Losses: 1, Crashes: 1, Faults: 2}},
		{"election-three-long", Roles{Nodes: 3, Timing: coarse, Units: 8, Late: 1, Losses: 2, Stalls: 2, Crashes: 1, Cuts: 1, Orders: 1}},
	}
}

// namedLane is a stream with the name of its scope.
type namedLane struct {
	name string
	Lane
}

// lanes are the scopes of a stream.
func lanes(size Size) []namedLane {
	if size == Gate {
		return []namedLane{
			{"lane-gaps", Lane{Batches: 3, Keeps: 8, Holds: 8, Ticks: 2, Flight: 2}},
			{"lane-twice", Lane{Batches: 2, Keeps: 8, Holds: 8, Ticks: 2, Flight: 2, Twice: 1}},
			{"lane-lost", Lane{Batches: 4, Keeps: 2, Holds: 2, Ticks: 1, Flight: 2}},
			{"lane-restart", Lane{Batches: 2, Keeps: 8, Holds: 8, Ticks: 2, Flight: 2, Restarts: 1}},
		}
	}
	return []namedLane{
		{"lane-gaps-long", Lane{Batches: 5, Keeps: 8, Holds: 8, Ticks: 6, Flight: 4, Twice: 1}},
		{"lane-lost-long", Lane{Batches: 6, Keeps: 3, Holds: 3, Ticks: 5, Flight: 3, Twice: 1}},
		{"lane-restarts", Lane{Batches: 4, Keeps: 3, Holds: 3, Ticks: 4, Flight: 3, Twice: 1, Restarts: 2}},
	}
}
