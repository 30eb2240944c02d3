// Package repair makes the table of a node equal to a peer's, and proves it: the bulk
// transfer to a node that joins, and the repair of what differs, are one mechanism.
//
//	forwarding node                                      its peer
//	Rounds: sums its table, over and over  --Digest-->   Check: sums its own, compares
//	                                       <--Proof---   equal, moving, divergent
//	                                       <--Request--  Need: the divergent shards, or all
//	Transfer: walks its table, Inserts of  --lane---->   applied as ever; what was named is noted
//	  those shards, with credit            --End----->   Leftovers: what was not named has ended
//
// A node that joins needs all and asks for all. It counts as complete with proof only:
// when every shard has been compared and none differs. The transfer goes by a lane that is
// the peer's alone, so losses are repaired as on any lane, beside the live stream, which
// wins wherever both speak of a connection, because states are a join.
//
// The parts are machines that are stepped: they hold no clock, no socket, no goroutine.
// Each says which of the node's goroutines it belongs to.
package repair
