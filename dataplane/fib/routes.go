package fib

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/dataplane/packet"
)

// loopbackIndex is the ifindex of lo in every namespace (LOOPBACK_IFINDEX of net/flow.h).
const loopbackIndex = 1

// candidate is a route of the kernel's with what decides between routes of one prefix.
type candidate struct {
	route  Route
	local  bool // from table local, which the kernel asks first
	metric int
}

// routesOf reads all routes, the best of every prefix first. links are the ports'
// interfaces.
func routesOf(handle *netlink.Handle, links map[int]packet.PortID) ([]Route, error) {
	var all []candidate
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		every := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		err := handle.RouteListFilteredIter(family, every, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if c, ok := candidateOf(&r, links); ok {
				all = append(all, c)
			}
			return true
		})
		if err != nil {
			return nil, fmt.Errorf("reading routes: %w", err)
		}
	}
	slices.SortStableFunc(all, compareCandidates)
	routes := make([]Route, len(all))
	for i := range all {
		routes[i] = all[i].route
	}
	return routes, nil
}

// compareCandidates puts the better of two first: what is local, then what leads to a
// port or ends here, then the lower metric.
func compareCandidates(a, b candidate) int {
	rank := func(c *candidate) int {
		switch {
		case c.local:
			return 0
		case c.route.Kind != Unroutable:
			return 1
		}
		return 2
	}
	return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.metric, b.metric))
}

// candidateOf translates a route, or says that it is not for this table.
func candidateOf(r *netlink.Route, links map[int]packet.PortID) (candidate, bool) {
	prefix, ok := prefixOf(r)
	if !ok || r.Table != unix.RT_TABLE_MAIN && r.Table != unix.RT_TABLE_LOCAL {
		return candidate{}, false
	}
	c := candidate{local: r.Table == unix.RT_TABLE_LOCAL, metric: r.Priority}
	c.route = Route{Prefix: prefix, Port: packet.NoPort}
	_, onPort := links[r.LinkIndex]
	switch r.Type {
	case unix.RTN_UNICAST:
		if prefix.Addr().Is6() && prefix.Addr().IsLinkLocalUnicast() {
			return candidate{}, false // one on every link: it says nothing
		}
		return c, c.route.lead(r, links)
	case unix.RTN_LOCAL, unix.RTN_ANYCAST:
		// An address of another interface (management, sync) is not offered on the ports.
		c.route.Kind = Unroutable
		if onPort || r.LinkIndex == loopbackIndex {
			c.route.Kind = Local
		}
	case unix.RTN_BROADCAST:
		c.route.Kind = Broadcast
	case unix.RTN_BLACKHOLE:
		c.route.Kind = Blackhole
	case unix.RTN_UNREACHABLE:
		c.route.Kind = Unreachable
	case unix.RTN_PROHIBIT:
		c.route.Kind = Prohibited
	default:
		return candidate{}, false
	}
	return c, true
}

// prefixOf returns the destination; netlink gives a default route one of its family.
func prefixOf(r *netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(r.Dst.IP)
	ones, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok // 0.0.0.0 comes in 16 bytes
}

// lead fills in where a unicast route leads. It reports false where all its next hops
// are dead. Of several the first that has its carrier is taken.
func (to *Route) lead(r *netlink.Route, links map[int]packet.PortID) bool {
	hops := r.MultiPath
	if len(hops) == 0 {
		hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via, Flags: r.Flags}}
	}
	var chosen *netlink.NexthopInfo
	for _, hop := range hops {
		if hop.Flags&unix.RTNH_F_DEAD != 0 {
			continue
		}
		if chosen == nil || chosen.Flags&unix.RTNH_F_LINKDOWN != 0 && hop.Flags&unix.RTNH_F_LINKDOWN == 0 {
			chosen = hop
		}
	}
	if chosen == nil {
		return false
	}
	port, ok := links[chosen.LinkIndex]
	if !ok {
		to.Kind = Unroutable
		return true
	}
	to.Kind, to.Port, to.Via = Forward, port, gatewayOf(chosen)
	return true
}

// gatewayOf returns the gateway of a next hop, of either family (RFC 5549 has IPv4
// behind IPv6 ones), or the zero address.
func gatewayOf(hop *netlink.NexthopInfo) packet.Addr {
	gw := hop.Gw
	if via, ok := hop.Via.(*netlink.Via); ok {
		gw = via.Addr
	}
	addr, ok := addrOf(gw)
	if !ok || addr.Netip().IsUnspecified() {
		return packet.Addr{}
	}
	return addr
}

// addrOf converts an address of 4 or 16 bytes.
func addrOf(ip net.IP) (packet.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return packet.Addr{}, false
	}
	return packet.AddrFrom(a), true
}
