package dataplane

import (
	"holdfast/conntrack"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/gateway"
	"holdfast/nat"
	"holdfast/rules"
	"holdfast/rules/limit"
	"holdfast/rules/table"
)

// Snapshot is everything that the path reads of the configuration: immutable, published
// behind one atomic pointer. The tables it points to live on from one to the next.
type Snapshot struct {
	Rules  *rules.Set
	NAT    *nat.Policy
	Ports  *nat.Pool
	Limits *limit.Table  // nil: no rule has one
	Tables *table.Tables // of addresses, as Rules ask them; nil: they hold nothing
	Routes *fib.Table
	Table  *conntrack.Table

	Gateways *gateway.Set  // by the numbers that connections and hops have; nil: none
	Steering *rules.Routes // the policy's [[routes]]; nil: the kernel's routes hold for all
	Down     gateway.Down  // gateways that get no new connections; none as long as nobody probes
}
