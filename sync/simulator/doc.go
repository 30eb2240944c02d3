// Package simulator runs whole clusters in one goroutine and in virtual time: the production
// machines of cluster, peer, journal, seal, wire and conntrack, with their datagrams sealed
// as they are on the wire, over a network and on machines of which a seed says what goes
// wrong. After every event it asks whether all that must hold does, and when the faults have
// stopped, whether all that must come about has.
//
//	seed --Plan--> Schedule (shape, steps) --Run--> Result (broken invariant, trace)
//	                   ^                                |
//	                   +---- Shrink: fewer steps -------+
//
//	             World: one heap of events, virtual nanoseconds
//	  flow --segments--> node (table, journals, cluster.Node, lease, clock) --datagrams--> link
//	                       ^                                                                |
//	                       +---------- loss, delay, bit flips, recordings, cuts -----------+
//
// What is played and not production: the network (network.go), the worker's hands
// (worker.go: which calls of table, port maps and journal a packet brings about), the ends
// of connections (flow.go). Everything that a node decides, believes or sends is production
// code, driven through cluster's steps (Receive, Due, Obey, Turn).
//
// A run is one goroutine and depends on its schedule alone: the same seed gives the same
// trace, byte by byte. Several runs may go on at once. docs/simulator.md says what is
// checked and how to look at a failure.
package simulator
