// Package gateway chooses by which gateway a new connection leaves.
//
// A policy names its gateways, each a router on one port. A Group is what a [[routes]]
// of the policy lists: several of them with weights, and what sticks together. Choose is
// a pure function of the packet's tuple and of which gateways are down, the same on every
// node, so nothing has to be told but the choice, which lies in the connection itself.
//
// # The choice
//
//	isp1 weight 1, isp2 weight 3      hash of what sticks, as a fraction of 2^64
//	|-- isp1 --|------------- isp2 -------------|
//	0         1/4                               1
//
// A gateway that is down keeps its piece, and what falls there is thrown again among the
// others. So when it goes down only its connections move, and when it comes back only
// those do: the other gateways' sources stay where they are.
//
// The hash has no key. Whoever can choose its own address or port can choose its gateway
// among those that the route offers it, which it could do by trying too; a secret would
// move everybody when it is replaced.
//
// # What this package is not
//
// It does not look at packets on their way (package dataplane does), does not know next
// hops (package fib), and does not probe: Down is handed in. A Monitor judges attempts that
// others make. All but the Monitor is immutable once made and safe for concurrent use;
// Choose allocates nothing.
package gateway
