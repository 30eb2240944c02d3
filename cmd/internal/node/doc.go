// Package node is the daemon: it builds the house from the two configuration files, runs
// it, answers the API and takes it down again.
//
// Start, and why in this order (each step undoes what came before it if it fails):
//
//	files, keys          nothing is touched before everything written is understood
//	the API socket       its lock says that no other daemon is here
//	devices looked at    what cannot be a port, or has too few queues, is refused untouched
//	attach               every device mute and down, before anything else of it is used
//	up, TAPs, routes     the kernel's faces stand; the devices are up, and silent
//	table, NAT, rules    the first Snapshot
//	links, journals      where the workers will send
//	workers              sockets open; frames arrive and are dropped: no lease yet
//	cluster              may grant the lease
//	what was saved       connections of the life before, where there is no peer to ask
//
// Taking down is the reverse: the lease is revoked and the peers told before the workers
// stop. The devices stay attached, and so mute; `holdfast detach` gives them back.
package node
