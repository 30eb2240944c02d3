// Package fragment collects the pieces of fragmented datagrams until they are whole.
//
// Nothing about a piece alone can be trusted: only the first has ports, and what a receiver
// makes of overlaps, of a second end or of a checksum shows when all are together. So a
// Tracker keeps copies of the pieces, and the datagram takes the path as one packet when
// the last of them is there; it leaves cut as it came (packet.Cutter). A rule, a window or
// a translation sees whole datagrams only, and of a bad one nothing has left.
//
// # Bounds
//
// A Tracker has a fixed memory of a little under 4 MiB, for all workers and ports of a node,
// which is taken when it is made. A source may use an eighth of it, so its own losses or its
// flood hit itself; a flood from many sources pushes out what has waited longest. A
// datagram waits 30 s at most, 60 s in IPv6, and never longer than that from its first
// piece. One that was caught with an overlap keeps its name, without memory, for as long,
// so that its later pieces begin nothing new (RFC 8200 section 4.5, RFC 5722).
//
// # Who calls
//
// Any worker, at any time: one lock guards all of it, because the pieces of one datagram
// may come in by several queues. A piece takes some hundreds of nanoseconds under it.
// Time is an argument. Identities, which the pieces of translated datagrams get, need no
// lock.
//
// The package decides nothing about headers: package packet reads and writes them.
package fragment
