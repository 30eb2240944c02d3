package dataplane

import (
	"slices"

	"holdfast/conntrack"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/gateway"
	"holdfast/dataplane/packet"
)

// Which way packets leave. A connection is given its port and its gateway with its first
// packet and keeps them:
//
//	first packet      by the gateway that the policy's routes choose, else as the kernel's
//	                  routes say, which may be through a gateway too
//	original packets  by the connection's gateway, if it is on the port they leave by
//	replies           by the connection's gateway, if it is on the port the first came in by;
//	                  else as the routes say, and by that port
//
// A connection has one gateway. It is on the port that the connection left by, or, where
// there is none, on the one that it came in by. A gateway on the port that serves both
// directions leads the original one.

// route returns the next hop of a connection's first packet, whose tuple is t behind
// destination NAT.
func (w *Worker) route(t *packet.Tuple, in packet.PortID) fib.Hop {
	hop := w.hopTo(t.Dst)
	if !steerable(&hop, &t.Dst) {
		return hop
	}
	if group := w.snapshot.Steering.Match(t, in); group != nil {
		if n := group.Choose(t, w.snapshot.Down); n != gateway.None {
			return w.snapshot.Routes.Gateway(uint8(n))
		}
	}
	return hop
}

// steerable reports whether the policy's routes may speak of a destination: it lies behind
// a router, or the kernel has no route to it. What is on a port's own network, or here, or
// refused by a route of the kernel's, is not.
func steerable(hop *fib.Hop, dst *packet.Addr) bool {
	switch hop.Kind {
	case fib.Forward, fib.Unresolved:
		return hop.Via != *dst
	case fib.Unroutable:
		return true
	}
	return false
}

// gatewayOf returns the gateway that a new connection keeps: the one that its first packet
// leaves by, else the one that it came from.
func (w *Worker) gatewayOf(b *burst, i int, hop *fib.Hop) uint8 {
	if hop.Gateway != 0 {
		return hop.Gateway
	}
	return uint8(w.cameBy(b, i))
}

// cameBy returns the gateway that a packet came from: the router whose MAC it has, else
// the one that the routes name for its source, or that must have been, None where the
// source is on the port's own network.
func (w *Worker) cameBy(b *burst, i int) gateway.Number {
	src := &b.parsed[i].Tuple.Src
	all := w.snapshot.Gateways.On(b.in.ID, src)
	if len(all) == 0 {
		return gateway.None
	}
	mac := packet.SrcMAC(b.frame[i])
	for _, n := range all {
		if hop := w.snapshot.Routes.Gateway(uint8(n)); hop.Kind == fib.Forward && hop.MAC == mac {
			return n
		}
	}
	back := w.hopTo(*src)
	switch {
	case back.Port == b.in.ID:
		return gateway.Number(back.Gateway)
	case back.Gateway != 0:
		return all[0] // the routes prefer another port's, and it came in by this one
	}
	return gateway.None
}

// behindGateway reports whether a source to which the routes lead by back may come in by a
// port all the same: it lies behind one of the policy's gateways, and so it may lie behind
// another, on that port. What is on some port's own network, or behind a router that is no
// gateway, may not.
func (w *Worker) behindGateway(in packet.PortID, src *packet.Addr, back *fib.Hop) bool {
	return back.Gateway != 0 && len(w.snapshot.Gateways.On(in, src)) > 0
}

// hopOf returns the next hop of a packet of a connection, whose destination is dst behind
// the translation.
func (w *Worker) hopOf(r *conntrack.Result, dst *packet.Addr) fib.Hop {
	if r.Gateway() != 0 {
		if way := r.Way(); w.leads(&way) {
			return w.snapshot.Routes.Gateway(way.Gateway)
		}
	}
	hop := w.hopTo(*dst)
	if hop.Port != r.Exit() {
		way, src := r.Way(), packet.Addr{}
		if r.Translated {
			src = r.Rewrite.Src
		}
		return w.astray(&way, &src, dst, hop)
	}
	return hop
}

// hopBy returns the next hop of a packet from src to dst, as it leaves, that goes the way
// of a connection.
func (w *Worker) hopBy(way *conntrack.Way, src, dst *packet.Addr) fib.Hop {
	if w.leads(way) {
		return w.snapshot.Routes.Gateway(way.Gateway)
	}
	hop := w.hopTo(*dst)
	if hop.Port != way.Exit {
		return w.astray(way, src, dst, hop)
	}
	return hop
}

// leads reports whether the packets of a way leave by the connection's gateway.
func (w *Worker) leads(way *conntrack.Way) bool {
	port := w.snapshot.Gateways.Port(gateway.Number(way.Gateway))
	return port == way.Exit && port != packet.NoPort && (way.Direction == conntrack.Original || way.Entry != way.Exit)
}

// unroutable is the hop of what must not leave.
var unroutable = fib.Hop{Kind: fib.Unroutable, Port: packet.NoPort}

// astray returns the hop of a packet that the routes would send by another port than its
// connection's. Replies leave by the port that the connection came in by, where that has a
// gateway. A source that is the old port's own address means nothing to the neighbours of
// another port: nobody would answer it there, and a provider may take it for a forgery
// (Q6, RFC 2827). What is left follows the routes: somebody inside has moved.
func (w *Worker) astray(way *conntrack.Way, src, dst *packet.Addr, hop fib.Hop) fib.Hop {
	switch {
	case hop.Kind == fib.Local:
	case way.Exit == packet.Self:
		return unroutable // for an address that this node has no more
	case way.Direction == conntrack.Reply:
		if all := w.snapshot.Gateways.On(way.Exit, dst); len(all) > 0 {
			return w.snapshot.Routes.Gateway(uint8(all[0]))
		}
	case int(way.Exit) < len(w.shares) && slices.Contains(w.shares[way.Exit].Addresses, *src):
		return unroutable
	}
	return hop
}
