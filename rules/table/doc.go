// Package table holds the tables of addresses that rules ask: "<name>" in a from or to.
//
//	             +-- entries of the policy and its file: never change, belong to a generation
//	Table -------+
//	             +-- entries that come and go: added by commands and by the path,
//	                 each with a lifetime of its own; they survive a reload
//
// An entry is a prefix, or a prefix behind a "!". The longest prefix that holds an address
// decides: 10.0.0.5 is not held by a table of 10.0.0.0/8 and !10.0.0.5. Where both halves
// have the same prefix, the policy's entry decides, so what the policy keeps out of a table
// cannot be added to it. A table that has none but excluding entries holds nothing.
//
// # Concurrency
//
// Every method may be called by any goroutine. Looking an address up takes no lock and
// allocates nothing: each half is a persistent prefix tree behind one atomic pointer
// (github.com/gaissmai/bart), and a writer publishes a new root that shares all but one path
// with the old one. So adding an entry costs the same in a large table as in a small one, and
// replacing all entries is one store. Writers of one table take turns under a lock that is
// held for a few microseconds; only Expire, Replace and Flush touch many entries, and they
// hold it for a few at a time, or for one store.
//
// # Time
//
// Time is an argument, in ns of CLOCK_BOOTTIME. An entry whose lifetime is over leaves with
// the next Expire, so it holds a little longer than it says, never shorter.
//
// # Other nodes
//
// Every change has a Version, and of two changes of one entry the later holds (Merge), so nodes
// that tell each other of all changes come to the same, in whatever order they hear of them.
// What has left is remembered for a while (graves), and what was flushed by one number, the
// floor. Tell and Changes say what there is to tell, Digest what a table comes to. Who tells
// whom and when is not known here.
//
// # Memory
//
// A table has at most so many entries that come and go as its Plan says; one more is refused
// and counted, until others leave. An entry takes some 250 bytes with its part of the tree.
//
// # Reload
//
// Tables are all tables of one policy and immutable as a set; New takes over from the tables
// before what came and went in those of the same name, and the counts of entries that stay. A
// path that still judges by the old Tables and one that judges by the new ones see the same
// added entries, and each the written entries of its own policy.
package table
