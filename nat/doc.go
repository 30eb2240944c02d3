// Package nat turns policy and tuple into a reply tuple, and keeps account of the
// ports of the external addresses.
//
// A translation is nothing but a pair of tuples: the original one, as the first packet
// came, and the reply one, as its answers will come. The connection table stores both
// and works out from them how to rewrite; this package does not know the table. It
// hands out ports:
//
//	inside 10.0.0.2:40000 > 198.51.100.7:443     original
//	       198.51.100.7:443 > 203.0.113.2:40000  reply: port 40000 of 203.0.113.2 is bound to 10.0.0.2:40000
//
// # Who does what
//
// A Policy is compiled from masquerade rules and immutable; a reload compiles another.
// A Pool outlives policies, because live connections hold its ports: it has a PortMap
// per external address and protocol.
//
// The life of a binding: Policy.Propose takes a port for a new connection before any
// lock of the table. The table proves the reply tuple free; where it clashes, the caller
// asks for the next attempt and releases the refused one, a bounded number of times.
// A replicated connection takes its port by Pool.Take when it is applied, so nothing is
// left to do at promotion. When a connection ends, Pool.BindingOf tells from its tuples
// what it holds, and Pool.Release lets go of it. A binding has no owner but the
// connection, so connections do not store it.
//
// # Rules of a port (the items are of docs/behaviour.md)
//
//   - It belongs to one inside endpoint (address, port, protocol) at a time, whatever
//     the remote ends: no overloading (I4). Counted, one for each connection.
//   - An endpoint keeps its port for all its connections (as I5).
//   - A new endpoint keeps its own port number where free (I2), else gets one of the
//     same class and parity, drawn at random (I2, I3; RFC 6056), else of the same class,
//     else is refused (I9). The search looks at 36 words at most.
//
// ICMP identifiers are ports of one class without parity. Protocols without ports are
// translated by address alone, and bind nothing.
//
// # Concurrency
//
// Everything may be called by all workers at once. A PortMap has one lock, held for
// about 100 ns per new or ended connection and never together with another one.
// Storage is free of pointers.
package nat
