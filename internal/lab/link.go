package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// End is one end of a veth pair.
type End struct {
	Namespace *Namespace
	Name      string           // at most 15 bytes
	MAC       net.HardwareAddr // nil: the kernel draws one
	Queues    int              // receive and transmit queues each; 0: one
	MTU       int              // bytes; 0: 1500
	Addresses []netip.Prefix   // address and prefix length, as "10.0.0.1/24"
}

// Veth makes a pair of links, each in its namespace from its first moment, gives both
// their addresses and brings both up.
func (l *Lab) Veth(a, b End) error {
	describe := func(err error) error {
		return fmt.Errorf("veth %s in %s to %s in %s: %w", a.Name, a.Namespace.name, b.Name, b.Namespace.name, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = a.Name
	attrs.HardwareAddr = a.MAC
	attrs.MTU = mtu(a)
	attrs.NumTxQueues, attrs.NumRxQueues = queues(a), queues(a)
	veth := netlink.NewVeth(attrs)
	veth.PeerName = b.Name
	veth.PeerHardwareAddr = b.MAC
	veth.PeerMTU = uint32(mtu(b))
	veth.PeerNumTxQueues, veth.PeerNumRxQueues = uint32(queues(b)), uint32(queues(b))
	veth.PeerNamespace = netlink.NsFd(b.Namespace.Fd())
	if err := a.Namespace.handle.LinkAdd(veth); err != nil {
		return describe(err)
	}
	for _, end := range []End{a, b} {
		for _, address := range end.Addresses {
			if err := end.Namespace.Address(end.Name, address); err != nil {
				return describe(err)
			}
		}
		if err := end.Namespace.Up(end.Name); err != nil {
			return describe(err)
		}
	}
	return nil
}

func queues(e End) int { return max(1, e.Queues) }

func mtu(e End) int {
	if e.MTU == 0 {
		return 1500
	}
	return e.MTU
}

// Bridge makes a switch: every frame is forwarded at once (no spanning tree, no
// snooping) and the switch itself says nothing (no IPv6 of its own).
func (n *Namespace) Bridge(name string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	snooping := false
	if err := n.handle.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
		return fmt.Errorf("bridge %s in %s: %w", name, n.name, err)
	}
	if err := n.silence(name); err != nil {
		return err
	}
	return n.Up(name)
}

// Attach makes link a port of bridge; both are in this namespace. The link loses its
// IPv6, so that the switch port says nothing of its own.
func (n *Namespace) Attach(bridge, link string) error {
	master, err := n.Link(bridge)
	if err != nil {
		return err
	}
	port, err := n.Link(link)
	if err != nil {
		return err
	}
	if err := n.silence(link); err != nil {
		return err
	}
	if err := n.handle.LinkSetMaster(port, master); err != nil {
		return fmt.Errorf("attach %s to bridge %s in %s: %w", link, bridge, n.name, err)
	}
	return nil
}

// silence takes IPv6 off a link, where the kernel has it.
func (n *Namespace) silence(link string) error {
	err := n.Sysctl("net/ipv6/conf/"+link+"/disable_ipv6", "1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Link finds a link by name.
func (n *Namespace) Link(name string) (netlink.Link, error) {
	link, err := n.handle.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("link %s in %s: %w", name, n.name, err)
	}
	return link, nil
}

// Up brings a link up, Down takes it down.
func (n *Namespace) Up(link string) error {
	return n.withLink("bring up", link, func(l netlink.Link) error { return n.handle.LinkSetUp(l) })
}

// Down takes a link down.
func (n *Namespace) Down(link string) error {
	return n.withLink("take down", link, func(l netlink.Link) error { return n.handle.LinkSetDown(l) })
}

// Delete removes a link, and with it the other end of a veth pair.
func (n *Namespace) Delete(link string) error {
	return n.withLink("delete", link, func(l netlink.Link) error { return n.handle.LinkDel(l) })
}

// Address adds an address with its prefix length to a link, usable at once.
func (n *Namespace) Address(link string, address netip.Prefix) error {
	return n.withLink("add "+address.String()+" to", link, func(l netlink.Link) error {
		a := &netlink.Addr{IPNet: ipNet(address)}
		if address.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		return n.handle.AddrAdd(l, a)
	})
}

// RemoveAddress takes an address off a link.
func (n *Namespace) RemoveAddress(link string, address netip.Prefix) error {
	return n.withLink("remove "+address.String()+" from", link, func(l netlink.Link) error {
		return n.handle.AddrDel(l, &netlink.Addr{IPNet: ipNet(address)})
	})
}

// Route adds a route. An invalid via means that destination is on the link itself.
func (n *Namespace) Route(destination netip.Prefix, via netip.Addr, link string) error {
	return n.withLink("route "+destination.String()+" over", link, func(l netlink.Link) error {
		route := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(destination.Masked())}
		if via.IsValid() {
			route.Gw = via.AsSlice()
		} else {
			route.Scope = netlink.SCOPE_LINK
		}
		return n.handle.RouteAdd(route)
	})
}

// Own makes every address of a prefix one of the namespace's own (a route of type local):
// it answers ARP for them on each of its links, without an address each.
func (n *Namespace) Own(prefix netip.Prefix) error {
	return n.withLink("own "+prefix.String()+" by", "lo", func(l netlink.Link) error {
		return n.handle.RouteAdd(&netlink.Route{
			LinkIndex: l.Attrs().Index, Dst: ipNet(prefix.Masked()), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST,
		})
	})
}

// DefaultRoute sends what no other route covers, of via's family, to via.
func (n *Namespace) DefaultRoute(via netip.Addr) error {
	if err := n.handle.RouteAdd(&netlink.Route{Gw: via.AsSlice()}); err != nil {
		return fmt.Errorf("default route via %s in %s: %w", via, n.name, err)
	}
	return nil
}

// Neighbor sets a permanent neighbour, so that addr is never asked for.
func (n *Namespace) Neighbor(link string, addr netip.Addr, mac net.HardwareAddr) error {
	return n.withLink("set neighbour "+addr.String()+" on", link, func(l netlink.Link) error {
		return n.handle.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: addr.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT})
	})
}

// withLink looks a link up by name and wraps what do says with what was to be done.
func (n *Namespace) withLink(what, name string, do func(netlink.Link) error) error {
	link, err := n.Link(name)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := do(link); err != nil {
		return fmt.Errorf("%s %s in %s: %w", what, name, n.name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// deleteLinks removes every link of the namespace but the loopback, so that nothing
// is left even while some socket still holds the namespace.
func (n *Namespace) deleteLinks() error {
	links, err := n.handle.LinkList()
	if err != nil {
		return fmt.Errorf("links of %s: %w", n.name, err)
	}
	var errs []error
	for _, link := range links {
		switch link.Type() {
		case "veth", "bridge", "dummy", "tuntap", "tun":
			var gone netlink.LinkNotFoundError
			err := n.handle.LinkDel(link) // the other end of a pair may be gone by now
			if err != nil && !errors.Is(err, unix.ENODEV) && !errors.As(err, &gone) {
				errs = append(errs, fmt.Errorf("delete %s in %s: %w", link.Attrs().Name, n.name, err))
			}
		}
	}
	return errors.Join(errs...)
}
