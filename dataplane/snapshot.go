package dataplane

import (
	"sync/atomic"

	"holdfast/conntrack"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/gateway"
	"holdfast/nat"
	"holdfast/rules"
	"holdfast/rules/limit"
	"holdfast/rules/table"
)

// Snapshot is everything that the path reads of the configuration: immutable, published
// behind one atomic pointer, which a worker loads once a turn, so that no burst meets two of
// them. The tables it points to live on from one to the next.
type Snapshot struct {
	Generation uint64 // counts what was published since the start, so that each differs from all others

	Rules  *rules.Set
	Hits   []RuleHits // of each worker; a new Set begins at zero
	NAT    *nat.Policy
	Ports  *nat.Pool
	Limits *limit.Table  // nil: no rule has one
	Tables *table.Tables // of addresses, as Rules ask them; nil: they hold nothing
	Routes *fib.Table
	Table  *conntrack.Table

	Gateways *gateway.Set  // by the numbers that connections and hops have; nil: none
	Steering *rules.Routes // the policy's [[routes]]; nil: the kernel's routes hold for all
	Down     gateway.Down  // gateways that get no new connections
}

// RuleHits counts the packets that each rule decided on, by Verdict.Rule. One worker writes
// it; anybody may read.
type RuleHits []atomic.Uint64

// NewRuleHits returns counters of a Set for so many workers.
func NewRuleHits(workers int, set *rules.Set) []RuleHits {
	all := make([]RuleHits, workers)
	for i := range all {
		all[i] = make(RuleHits, set.Len()+1)
	}
	return all
}
