// Package smallscope goes through everything that can happen in a very small scope: two or
// three nodes, a message or two on their way, a few faults. Package simulator draws long
// histories of large worlds from a seed; this one takes every history of a small world, so
// within its scope nothing is left to chance. Most faults of a protocol show in a small
// scope already, if it is searched whole.
//
//	Scope --New--> World --Steps--> every step that can be taken now
//	                 ^                 |
//	                 |               Take ----> a law does not hold: Broken, with the steps
//	                 |                 |
//	                 +-- a new state --+ Fingerprint: one that was there already is not
//	                                     searched again
//	               Settle: where the steps end the faults do too, and all must come right
//
// Worlds are made of production machines, whose state is theirs: it can be read (by
// reflection, fingerprint.go), but not copied. So a search goes back to a state by taking
// its steps again. A sequence that breaks a law is among the shortest that do. A scope is
// searched whole where Result.Closed says so: then no order of its steps breaks a law.
//
// What is not production is what calls the machines: seat.go, in the order of cluster.Node,
// and lane.go, in that of its reader of one peer.
// What is checked and how to look at a failure says docs/simulator.md.
package smallscope
