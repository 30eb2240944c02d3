// Package track watches what says whether this node should serve: carriers of ports, gateways
// and other targets, programs, the daemon itself.
//
// Every item has a health (gateway.Health) and a say: nothing, a weight that is taken off the
// node's priority while it is down, or a fault, with which this node does not serve where
// another can. Sum adds the says of all items that are down; what follows from it is for the
// election.
//
//	carrier ----- netlink ------> settle ---+
//	target, gateway -- probes --> Monitor --+--> items --> Sum --> the election
//	program -- exit status -----> Monitor --+        \---> Change --> hooks, gateways, log
//	self ------ workers, table -> settle ---+
//
// # What a standby can know
//
// A standby is mute on its data ports, and their addresses are another node's: it asks nothing
// there. So a probe that leaves by a port rests on a standby, and what it found is forgotten,
// which counts as good. Only what was down when this node gave the role up is held to be down
// for Hold, since the node would be handed the role back at once otherwise; the hold
// doubles each time that it was found down again (up to 32 times Hold), and a target that has
// answered for as long as that is given the whole of its credit back. Carriers, programs, the
// daemon itself, and targets on a device that is no port's are known on every node at all times.
//
// Judging is pure (Monitor, settle, held): time comes in as ns. What makes attempts runs in a
// goroutine of its own and waits for nobody else.
package track
