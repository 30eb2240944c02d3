// Package dataplane is the way of a packet: the worker's loop (worker.go), the one path
// (pipeline.go), the first packet of a connection (admit.go), packets for the node
// itself (local.go) and those that it sends (own.go), ICMP errors about what the connections carry (related.go) and those of our
// own (answer.go), what the ends of a killed connection are told (abort.go), and what happens
// between the last stage and the wire (transmit.go). What happens to connections is told
// to whoever watches by events.go, and put in order by gather.go.
//
// A Worker is one goroutine on one locked thread. It owns its packet memory, its sockets
// on every port and its lane of the journal; it shares the connection table, the port
// maps, the routes and the policy's Snapshot with the other workers, and each of these is
// safe for that.
//
// # Ports and devices
//
// A logical port is a device or a VLAN of one (device.go). The ports of a device share its
// sockets; vlan.go tells their frames apart by tag before the path and tags them after it.
// On the path no frame has a tag.
//
// # Forwarding
//
// Where a router has a choice, this one does the following. Errors of our own come from
// the address of the port that the packet came in by, quote it as its sender sent it, and
// are limited per port. A packet whose neighbour is silent waits three seconds, as long as
// the kernel asks, before its sender is told. No redirect is sent, followed or passed on
// (L5). A too-big message of less than 1280 bytes is passed on and not obeyed: we shrink
// nothing (L3). Link-local addresses are never forwarded, with or without a route (RFC
// 3927 section 7, L9). An ICMP error about a later fragment has no ports to be known by and
// is dropped (H7).
//
// # Fragments
//
// A piece of a datagram is collected, with those that other workers got, and the datagram
// takes the path as one packet when it is whole (fragments.go, package fragment).
//
// # The log
//
// What rules want logged is copied into the worker's ring of the packet log (packetlog.go) and
// published with what has become of it at the end of its burst (logbook.go). That a connection
// has all of its packets logged is a bit of its class, which the path has in hand.
//
// # The right to speak
//
// A worker reads the clock once per turn. While the lease is held at that reading it is
// active: packets take the path, the kernel's faces (TAPs) are served. While it is not,
// everything received is dropped and nothing is handed to the kernel. Between the last
// stage and the wire the lease is compared once more with a fresh reading, directly
// before every kick; if it has lapsed by then the worker closes its sockets, so that what
// lies in their rings never leaves, and opens them again, mute.
//
// # Order within a turn
//
//	receive -> path -> journal flushed -> lease compared -> kick -> reclaim, refill -> sweep
//
// The journal goes first: when a packet leaves, the peers have been told of its connection.
package dataplane
