// Package saved keeps the connections of a node over a restart of its daemon: a file that
// the daemon writes when it ends, and reads once when it begins (F7).
//
//	end:    table --Write--> file.new --fsync, rename--> file
//	begin:  file --Open--> gone from its folder, checked as a whole --Each--> states
//
// A file is used once. Open takes it out of its folder before anybody believes what it says,
// so neither a second start nor a crash in the middle meets connections that are of
// yesterday. What Open returns has been read to its end: its checksum is right and its count
// is that of its states, or it is refused whole. Each state is then believed as little as
// one that a peer tells: the table validates it.
//
// The checksum (xxHash64) finds what is torn or rotten. Against whoever may write to the
// file, its mode (0600) and its folder must help, as they do for the cluster's key.
//
// # Format
//
// All numbers big-endian. The states are the Inserts of package sync/wire, each with its
// frame header, so a state is written and read by the code that tells peers of it; a change
// of that form is a change of version.
//
//	 0                               8                               16
//	+-------------------------------+---------------+---------------+
//	| "HOLDFAST"                    | version       | 0             |
//	+-------------------------------+---------------+---------------+
//	| id of the boot (random, 16 bytes)                             |
//	+-------------------------------+-------------------------------+
//	| written at, CLOCK_BOOTTIME ns | written at, ns since 1970     |
//	+-------------------------------+-------------------------------+
//	| hash of the policy            | hash of what numbers mean     |
//	+-------------------------------+-------------------------------+
//	| frames: one Insert per connection ...                         |
//	+-------------------------------+-------------------------------+
//	| how many                      | xxHash64 of all before        |
//	+-------------------------------+-------------------------------+
package saved
