package demo

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"holdfast/internal/lab"
)

// flushNeighbors forgets all neighbours of a link of the calling thread's namespace.
func flushNeighbors(link string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	all, err := netlink.NeighList(l.Attrs().Index, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for i := range all {
		if err := netlink.NeighDel(&all[i]); err != nil {
			return err
		}
	}
	return nil
}

// neighborOf returns the MAC that a host has for an address now.
func neighborOf(ns *lab.Namespace, link string, addr netip.Addr) (net.HardwareAddr, error) {
	l, err := ns.Link(link)
	if err != nil {
		return nil, err
	}
	all, err := ns.Handle().NeighList(l.Attrs().Index, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		if n.IP.Equal(net.IP(addr.AsSlice())) && n.HardwareAddr != nil {
			return n.HardwareAddr, nil
		}
	}
	return nil, fmt.Errorf("%v is not known", addr)
}
