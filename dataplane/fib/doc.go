// Package fib tells where a packet goes next: through which logical port and to which
// Ethernet address. It follows the kernel's routes and neighbours by netlink, where
// administrators, routing daemons and the kernel's own ARP and ND put them.
//
// # Folded into one lookup
//
// Routes and neighbours are folded into one prefix tree. A neighbour on a directly
// connected network is a host prefix beneath that network's; a route through a gateway
// refers to the gateway's hop. So one longest-prefix match gives a resolved Hop:
//
//	0.0.0.0/0       -> gateway 0: Forward wan 02:..:01     route via 203.0.113.1, which is a neighbour
//	10.0.0.0/24     -> Unresolved lan                      on the link: whom to ask is the destination
//	10.0.0.7/32     -> Forward lan 02:..:07                a neighbour
//	10.0.0.1/32     -> Local                               the node's own address
//
// A Table publishes immutable snapshots behind one atomic pointer: Lookup takes no lock
// and allocates nothing. A neighbour changes a snapshot by a path copy; routes are
// folded anew, because the kernel does not report every route that it removes (those of
// an IPv4 link that goes down). A notification about routes, addresses or links says
// only that there is something new to read, and the dump is the truth. At most a tenth
// of the watcher's time goes into dumps.
//
// # Which routes
//
// Tables main and local, the lowest metric first, of several next hops the first that is
// alive. A port is reached through its TAP, so only routes over those interfaces lead
// anywhere; what is routed over another interface of the node is Unroutable, and is not
// sent by a less specific route either. Of one prefix, a route over a port is preferred
// to any other.
//
// # Neighbours, active and mute
//
// Only an active node may ask, so only there the kernel resolves, and the Watcher keeps
// what it uses fresh: whatever the kernel calls stale is probed again, before it has to
// be found out by losing packets. A mute node lives on what its peers replicate (Learn),
// which is usable at once and wins over the kernel's older knowledge; Activate hands it
// to the kernel as stale, so that it is probed. What a probe disproves is forgotten.
//
// # Concurrency
//
// Table.Lookup and Watcher.Resolve may be called by every worker. Run is one goroutine;
// the other methods of Watcher may be called from any.
package fib
