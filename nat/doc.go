// Package nat turns policy and tuple into a reply tuple, and keeps account of the
// ports of the external addresses.
//
// A translation is nothing but a pair of tuples: the original one, as the first packet
// came, and the reply one, as its answers will come. The connection table stores both
// and works out from them how to rewrite; this package does not know the table. It
// says where connections go, and hands out ports:
//
//	inside 10.0.0.2:40000 > 198.51.100.7:443     original
//	       198.51.100.7:443 > 203.0.113.2:40000  reply: port 40000 of 203.0.113.2 is bound to 10.0.0.2:40000
//
// # Two stages
//
// A first packet meets its destination's translation before routes and rules and its
// source's behind them, so that rules judge who really talks to whom (I15):
//
//	Policy.Destination -> route -> rules -> Policy.Source -> the table
//	dnat, redirect                          masquerade, snat
//	         static, nptv6, none: at both
//
// A connection may meet one translation at each: twice NAT (I16). Every kind is compiled
// from a Translation, its blueprint, to rules by port, of which the first that applies wins.
//
// A hairpin (I8) is a destination translation of a connection that does not come from
// outside. Its source is translated as if it had left by the outside, so that it goes back
// the way it came; where nothing there applies and it turns back into the segment it came
// from, it gets the node's own address on that.
//
// # Who does what
//
// A Policy is compiled and immutable; a reload compiles another. A Pool outlives policies,
// because live connections hold its ports: it has a PortMap per external address and
// protocol, under the terms of the policy that was compiled last.
//
// The life of a binding: Policy.Source takes a port for a new connection before any
// lock of the table. The table proves the reply tuple free; where it clashes, the caller
// asks for the next attempt and releases the refused one, a bounded number of times.
// A replicated connection takes its port by Pool.Take when it is applied, so nothing is
// left to do at promotion. When a connection ends, Pool.BindingOf tells from its tuples
// what it holds, and Pool.Release lets go of it. A binding has no owner but the
// connection, so connections do not store it; see Binding for how it follows.
//
// What a connection holds is exact under one policy. A reload that changes which addresses
// let connections in may leave an account short of, or with, a share too many for
// connections of before; then a port is free too early or too late, and never is a packet
// delivered wrongly, because every reply tuple is proved by the table.
//
// # Who answers for external addresses
//
// Those that lie in a port's own network are asked for there, by ARP and ND. Policy.Answers
// says which they are, and the data plane answers: they are in no kernel, so nothing of
// them has to move with the role, and they are not addresses of the node.
//
// # Rules of a port (the items are of docs/behaviour.md)
//
//   - It belongs to one inside endpoint (address, port, protocol) at a time, whatever
//     the remote ends: no overloading (I4), but where AddressAndPortDependent asks for it.
//     Counted, one for each connection.
//   - An endpoint keeps its port for all its connections (I5).
//   - A new endpoint keeps its own port number where free (I2), else gets one of the
//     same class and parity, drawn at random (I2, I3; RFC 6056), else of the same class,
//     else is refused (I9). The search looks at 36 words at most.
//   - One that leads to a service of the node, or is forwarded by a translation that names
//     ports, is never given (I14). One that forwards all ports keeps none back: it would
//     leave nothing to give.
//   - The node's own connections are in the same account: a local address that is
//     external, too, owns the ports that the node sends from.
//   - A port without connections may wait for its endpoint (HoldDown, I10); an address may
//     have a limited number (PortsPerSource, I22).
//   - A source that nothing translates keeps its port unless its reply tuple is another
//     connection's; then it gets another one of its own address (I19).
//
// ICMP identifiers are ports of one class without parity. Protocols without ports are
// translated by address alone, and bind nothing; nor does Static, whose addresses have no
// account, nor NPTv6, which is a function of the address.
//
// # Concurrency
//
// Everything may be called by all workers at once. A PortMap has one lock, held for
// about 100 ns per new or ended connection and never together with another one.
// Storage is free of pointers.
package nat
