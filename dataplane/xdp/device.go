package xdp

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/dataplane/xsk"
)

// device is a network device with the netlink socket that reaches it.
type device struct {
	handle *netlink.Handle
	link   netlink.Link // as it was when it was opened
}

func openDevice(name string) (*device, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	found, err := handle.LinkByName(name)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
		err = fmt.Errorf("%w: `ip link` lists those that are there", xsk.ErrNoDevice)
	case err != nil:
		err = explain(err)
	case found.Attrs().Flags&net.FlagLoopback != 0 || found.Attrs().EncapType != "ether":
		err = errors.New("not an Ethernet device: name one in the configuration")
	}
	if err != nil {
		handle.Close()
		return nil, err
	}
	return &device{handle: handle, link: found}, nil
}

func (d *device) name() string { return d.link.Attrs().Name }
func (d *device) ifindex() int { return d.link.Attrs().Index }
func (d *device) close()       { d.handle.Close() }

// occupancy is what was attached to a device when we came.
type occupancy struct {
	ingress ingress
	egress  egress
}

// attached reports whether some of it is Holdfast's.
func (o occupancy) attached() bool { return o.ingress.program != nil || o.egress.ours }

// read asks for what is attached to the device; ingress must be closed.
func (d *device) read() (occupancy, error) {
	in, err := d.readIngress()
	if err != nil {
		return occupancy{}, err
	}
	out, err := d.readEgress()
	if err != nil {
		return occupancy{}, errors.Join(err, in.close())
	}
	return occupancy{in, out}, nil
}

// inspect is read for who wants to change it: a device that is somebody else's, or a
// living Holdfast's, is an error.
func (d *device) inspect() (occupancy, error) {
	found, err := d.read()
	if err != nil {
		return occupancy{}, err
	}
	if err := d.admit(found); err != nil {
		return occupancy{}, errors.Join(err, found.ingress.close())
	}
	return found, nil
}

func (d *device) admit(found occupancy) error {
	for _, foreign := range []string{found.ingress.foreign, found.egress.foreign} {
		if foreign != "" {
			return fmt.Errorf("%w: %s", ErrForeignProgram, foreign)
		}
	}
	if found.ingress.program == nil {
		return nil
	}
	used, err := inUse(found.ingress.program)
	if err != nil {
		return err
	}
	if used {
		return ErrInUse
	}
	return nil
}

// restore gives back a device that was not ours before: without programs of ours, and
// up if it was.
func (d *device) restore() error {
	found, err := d.read()
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	err = errors.Join(d.release(found), found.ingress.close())
	if err == nil && d.link.Attrs().Flags&net.FlagUp != 0 {
		err = d.handle.LinkSetUp(d.link)
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}
