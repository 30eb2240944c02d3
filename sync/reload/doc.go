// Package reload takes a policy through a cluster: pure parts without sockets or clock, and
// the file in which a node keeps what was confirmed. What is said is drawn in package wire.
//
//	Image        the files of a policy as one compressed piece
//	Fetch        gets an image in chunks, asking again for what is lost
//	Round        asks several nodes for one step until each has answered, is gone, or is late
//	Transaction  the steps of a reload in their order, over all nodes
//	Ledger       what one node has prepared, tries and keeps, and what it may be told next
//	Store        the kept policy on disk
//
// A node's ledger:
//
//	         prepare              commit              confirm
//	(kept) ----------> prepared ----------> trial ---------------> (kept: the new one)
//	  ^                   |                   |
//	  +--- revert, time --+--- revert, time --+
//
// Every step names its generation, and is refused where the ledger does not stand where the
// step begins; asked again for a step that is done, a node says that it is done. So orders
// may be lost, repeated and come in any order, and each node goes back by itself when nobody
// confirms, whoever has died meanwhile.
//
// What differs afterwards (a node that did not hear the confirmation, or was away) is mended
// by one rule: who hears a peer tell of a newer kept generation fetches it.
//
// Nothing here is safe for concurrent use.
package reload
