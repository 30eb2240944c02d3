// Package digest compares tables of two nodes without sending them: sums of the exported
// form of every connection, by shards that mean the same on every node.
//
//	identity (zone, protocol, original tuple) --xxhash64--> the high 16 bits: shard
//	what an Insert would say of it            --xxhash64--> its number
//	sum of a shard = the sum modulo 2^64 of the numbers of its connections
//
// A table moves while it is summed, so a sum alone proves nothing. What changed, and when,
// the receiver knows without the sender's help, for it hears of every change by the lanes
// (Ledger). A shard is compared if nothing that the sender has told since before its round
// began, and nothing from elsewhere, has touched it until the receiver's own sum is done;
// the others are moving, and another round's.
//
//	sender    positions P ---- sums its table ----> Digest(P, sums)
//	receiver      ... applies all of P ... sums its table ... which shards were touched by
//	              a batch past P? moving : equal or divergent
//
// So the sender's path pays nothing, and the receiver one store per change.
//
// What is summed are the bytes of wire.AppendInsert without index, timeouts and idle time, which are each node's own: what
// cannot be told cannot be compared, and what is told is compared as it was told.
package digest
