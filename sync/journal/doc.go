// Package journal stands between the tracker and the peers: outwards what changed, from
// the workers to the sync link (Journal, Outlet); inwards what the peers tell, into the
// table and the port maps (Applier).
//
// A Journal is one lane. Its worker appends a message when it changes a connection, at
// once, into the open batch: no queue, no second pass, no allocation. Flush closes the
// batch when it is due, numbers it, keeps a copy in the backlog and hands it, sealed, to
// every peer's socket.
//
//	Insert, Update, Delete --> open batch --Flush--> number n --> backlog[n mod size]
//	                                                    |
//	                                                    +--seal per peer--> socket
//
// A batch with an insert or a delete is due at once, so that a first packet never leaves
// before the peers were told; one with updates alone may wait for updateDelay.
//
// Append and Flush belong to the lane's goroutine. Batch, Sent and Held are safe from any.
package journal
