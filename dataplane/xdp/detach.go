package xdp

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Attached reports whether a device carries a program of Holdfast, of a living one or
// a dead one.
func Attached(name string) (bool, error) {
	d, err := openDevice(name)
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", name, err)
	}
	defer d.close()
	found, err := d.read()
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", name, err)
	}
	return found.attached(), found.ingress.close()
}

// Detach gives a device back to the kernel: it takes addresses off and the device
// down, so that nothing speaks for the node by accident, and then removes the
// programs, last the one that keeps the kernel silent. A Detach that was interrupted
// is completed by another one.
//
// Nothing is done where nothing of Holdfast's is attached. The device of a living
// Holdfast is refused with ErrInUse; programs of others are left alone.
func Detach(name string) error {
	d, err := openDevice(name)
	if err != nil {
		return fmt.Errorf("detach from %s: %w", name, err)
	}
	defer d.close()
	if err := d.detach(); err != nil {
		return fmt.Errorf("detach from %s: %w", name, err)
	}
	return nil
}

func (d *device) detach() error {
	found, err := d.read()
	if err != nil {
		return err
	}
	defer func() { _ = found.ingress.close() }() // a reference to a program has nothing to lose
	if !found.attached() {
		return nil
	}
	if found.ingress.program != nil {
		used, err := inUse(found.ingress.program)
		if err != nil {
			return err
		}
		if used {
			return ErrInUse
		}
	}
	if err := d.removeAddresses(); err != nil {
		return err
	}
	if err := d.handle.LinkSetDown(d.link); err != nil {
		return fmt.Errorf("take down: %w", explain(err))
	}
	return d.release(found)
}

// release removes our programs, and the qdisc if nobody else uses it.
func (d *device) release(found occupancy) error {
	if found.ingress.program != nil {
		if err := setIngress(d.ifindex(), found.ingress.hook, none, found.ingress.program); err != nil {
			return fmt.Errorf("remove the XDP program: %w", explain(err))
		}
	}
	if !found.egress.qdisc {
		return nil
	}
	return d.unsilence(found.egress)
}

func (d *device) removeAddresses() error {
	addresses, err := d.handle.AddrList(d.link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("ask for addresses: %w", explain(err))
	}
	for _, a := range addresses {
		// A secondary IPv4 address goes with its primary.
		if err := d.handle.AddrDel(d.link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("take off %s: %w", a.IPNet, explain(err))
		}
	}
	return nil
}
