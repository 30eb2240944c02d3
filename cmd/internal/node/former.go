package node

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/dataplane/xdp"
)

// former is what a device was before it became a port, so that a start that fails can
// give it back: becoming a port takes it down, and giving it up takes its addresses. The
// zero value is a device that was Holdfast's already, which stays mute.
type former struct {
	link      netlink.Link
	tags      xdp.Tags
	addresses []netlink.Addr
	routes    []netlink.Route // those that somebody made; the kernel's own come with the addresses
}

// remember looks at a device.
func remember(link netlink.Link) (former, error) {
	f := former{link: link}
	var err error
	if f.tags, err = xdp.ReadTags(link.Attrs().Name); err != nil {
		return former{}, err
	}
	if f.addresses, err = netlink.AddrList(link, netlink.FAMILY_ALL); err != nil {
		return former{}, fmt.Errorf("addresses of %s: %w", link.Attrs().Name, err)
	}
	routes, err := netlink.RouteList(link, netlink.FAMILY_ALL)
	if err != nil {
		return former{}, fmt.Errorf("routes over %s: %w", link.Attrs().Name, err)
	}
	for _, r := range routes {
		if r.Protocol != unix.RTPROT_KERNEL {
			f.routes = append(f.routes, r)
		}
	}
	return f, nil
}

// restore makes the device what it was. It is the kernel's again, and down.
func (f *former) restore() error {
	errs := []error{xdp.SetTags(f.link.Attrs().Name, f.tags)}
	for _, a := range f.addresses {
		a.Flags &^= unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
		errs = append(errs, netlink.AddrReplace(f.link, &a))
	}
	if f.link.Attrs().Flags&net.FlagUp != 0 {
		errs = append(errs, netlink.LinkSetUp(f.link))
		for _, r := range f.routes {
			r.Flags &= int(netlink.FLAG_ONLINK) // the others are the kernel's remarks
			errs = append(errs, netlink.RouteReplace(&r))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("giving %s back as it was: %w", f.link.Attrs().Name, err)
	}
	return nil
}
