package dataplane

import (
	"holdfast/conntrack"
	"holdfast/dataplane/fib"
	"holdfast/nat"
	"holdfast/rules"
)

// Snapshot is everything that the path reads of the configuration: immutable, published
// behind one atomic pointer. The tables it points to live on from one to the next.
type Snapshot struct {
	Rules  *rules.Set
	NAT    *nat.Policy
	Ports  *nat.Pool
	Routes *fib.Table
	Table  *conntrack.Table
}
