// Package wire is the language of the nodes: how messages look as bytes. It holds no
// state and does nothing but append and decode, one pair for every message, side by side.
//
// All numbers are big-endian. A sealed datagram carries one batch:
//
//	 0       1       2       3       4                              11
//	+-------+-------+-------+-------+-------------------------------+
//	| kind  | 0     | lane          | sequence                      |
//	+-------+-------+-------+-------+-------------------------------+
//	| frame | frame | ...
//
//	kind      1 stream: what the workers of a node tell all peers, lane by lane
//	          2 control: what two nodes say to each other, in no order
//	lane      stream: the sender's lane; control: 0
//	sequence  stream: number of the batch in its lane, from 1 since the sender's boot;
//	          control: 0
//
// The boot is not named in a batch. A session of package seal lives in the memory of
// two processes, so it names both boots, and Hello says which: a batch belongs to the
// boot that the last Hello of its session named. A batch that is sent again keeps its
// lane and sequence, whatever session seals it.
//
// A frame is a message:
//
//	 0       1       2       3       4
//	+-------+-------+-------+-------+-------
//	| type  | flags | body length   | body
//	+-------+-------+-------+-------+-------
//
// Frames of a type that a node does not know are skipped by their length; that is how
// the language grows. Known types are strict: a length that does not fit, a flag or a
// value without meaning, bytes left over, each is a Malformed. A message has one
// encoding only. Decoding never panics, never reads past the frame, and what is true
// of a connection (can this tuple exist?) is checked by package conntrack.
//
// Times travel as what remains or what has passed, in milliseconds: nodes share no clock.
// Batches, frames and messages are plain values; nothing here is safe for concurrent use
// of the same value.
package wire
