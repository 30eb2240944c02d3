// Package journal stands between the tracker and the peers: outwards what changed, from
// the workers to the sync link (Journal, Outlet); inwards what the peers tell, into the
// table and the port maps (Applier).
//
// A Journal is one lane. Its worker appends a message when it changes a connection, at
// once, into the open batch: no queue, no second pass, no allocation. Flush closes the
// batch, numbers it, keeps a copy in the backlog and hands it, sealed, to
// every peer's socket.
//
//	Insert, Update, Delete --> open batch --Flush--> number n --> backlog[n mod size]
//	                                                    |
//	                                                    +--seal per peer--> socket
//
// The worker flushes at the end of every turn, before it kicks: so when a packet leaves,
// the peers have been told of what it changed. Window edges are exported ahead, so a
// long transfer brings an update per megabyte, not per packet, and nothing is gained by
// holding updates back (with 1 ms of delay a connection 2 ms old was lost in 2 of 5
// failovers: its peer had not heard of the SYN/ACK that the client had).
//
// Inwards a batch is read twice: once for what it names, so that the table can bring all of it
// near at once (conntrack.Table.Warm), and once to apply it, in order (ahead.go).
//
// Append and Flush belong to the lane's goroutine. Batch, Sent and Held are safe from any.
package journal
