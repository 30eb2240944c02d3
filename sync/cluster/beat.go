package cluster

import "holdfast/dataplane/gate"

// Alone says what a node does that hears nobody.
type Alone uint8

const (
	// AloneServe promotes the best node there is after Timing.AloneAfter, with an alarm.
	AloneServe Alone = iota
	// AloneWait never promotes a node that hears nobody, and ends the lease of one that stops hearing its peers.
	AloneWait
	// AloneWitness lets votes decide: see votes.
	AloneWitness
)

// Timing holds the clocks of an election, all in nanoseconds.
// Invariant: Heartbeat < Lease < DeadAfter, so that a node is silent before its peer speaks.
type Timing struct {
	Heartbeat  int64 // between two beats
	DeadAfter  int64 // of silence until a peer counts as dead
	Lease      int64 // how long the right to transmit runs from a clock reading
	AloneAfter int64 // without a ready node until an unready one serves

	// PreemptAfter is how long a ready node of higher priority waits until it takes the role
	// from the active one; 0: it does not.
	PreemptAfter int64
}

// Beat is what a node says of itself in every heartbeat.
type Beat struct {
	Node     uint16
	Role     gate.Role
	Term     uint64 // the highest term this node has seen
	Priority int32  // what is left of it (Health); below 0: a fault keeps the node from serving
	Ready    bool   // its table is complete
	Wants    bool   // it asks the active node to hand over
	Yields   bool   // it has just given up the role and lets others claim first

	Life uint64 // of the node, as its session says; it is not part of a heartbeat

	Generation uint64 // of the policy that it keeps; it is not part of a heartbeat, but of a Standing
}
