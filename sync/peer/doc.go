// Package peer follows the streams of one peer: a pure machine without sockets,
// clock or tables. Batches, beats and ticks go in; batches in order and requests for
// what is missing come out.
//
// Every worker of the peer is a lane: a stream of batches numbered from 1 since the
// peer's boot. The machine hands batches on in that order, holds a bounded number that
// came too early, asks for gaps (Nack) until they are filled, and notices when the
// peer no longer has what is missing. How long it waits before it asks follows from how
// late batches come on this link, and before it asks again from how long answers take
// (wait.go, gap.go).
//
//	Probe --Hello--> Stream --every lane contiguous past what Hello named--> Stream, Complete
//	  ^                |  \
//	  +--Hello with another boot id (the peer restarted)
//	                    \--Lost: the peer's backlog no longer reaches back, or
//	                       Partial: its table holds more than its lanes have told
//	                       --> Stream, not Complete until it is Repaired (package repair)
//
// A node that is Complete for all its peers holds every connection that any of them
// has announced since its boot: that is the first form of readiness.
//
// Not safe for concurrent use; its driver is one goroutine per peer.
package peer
