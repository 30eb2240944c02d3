package tap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"holdfast/dataplane/packet"
)

// prefix begins the device name of every logical port.
const prefix = "hf-"

// MaxPortName is how long a logical port's name may be, in bytes, so that the device
// name fits (IFNAMSIZ less the terminating zero and the prefix).
const MaxPortName = unix.IFNAMSIZ - 1 - len(prefix)

// What Open refuses with; each comes wrapped with the device and with what to do.
var (
	// ErrNameTaken: a device of that name exists.
	ErrNameTaken = errors.New("device name is taken")
	// ErrNoTun: the kernel has no TAP devices, or none are visible here.
	ErrNoTun = errors.New("no TAP devices: load the module with `modprobe tun`, or make /dev/net/tun visible to the daemon")
	// ErrNoPermission: not root.
	ErrNoPermission = errors.New("no permission for TAP devices: run as root, or with CAP_NET_ADMIN")
)

// Name returns the device name of a logical port: hf-lan for lan.
func Name(port string) string { return prefix + port }

// Config describes the face of one logical port.
type Config struct {
	Name      string         // of the device, see the function Name
	MAC       packet.MAC     // shared by the nodes of the cluster
	MTU       int            // bytes of IP packet; at least 68, for IPv6 at least 1280
	Addresses []netip.Prefix // shared addresses with their networks; may include a link-local one
}

// Tap is one open TAP device. Make one with Open.
type Tap struct {
	name    string
	ifindex int
	fd      int
	handle  *netlink.Handle // in the namespace of Open
	link    netlink.Link
}

// Open makes the device in the network namespace of the calling thread, gives it its
// MAC, MTU and addresses, and with those of IPv6 the link-local one that it cannot do
// without, and brings it up. The kernel adds nothing of its own: no address or route from
// router advertisements, and addresses are used without asking whether somebody has them,
// because the other nodes do.
//
// Where it fails no device is left.
func Open(c Config) (*Tap, error) {
	t := &Tap{name: c.Name, fd: -1}
	if err := t.open(c); err != nil {
		return nil, fmt.Errorf("open TAP %s: %w", c.Name, errors.Join(err, t.close()))
	}
	return t, nil
}

func (t *Tap) open(c Config) error {
	var err error
	if t.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	if err := t.refuseTaken(); err != nil {
		return err
	}
	if t.fd, err = create(c.Name); err != nil {
		return err
	}
	if t.link, err = t.handle.LinkByName(c.Name); err != nil {
		return fmt.Errorf("find it: %w", err)
	}
	t.ifindex = t.link.Attrs().Index
	if err := t.muteIPv6(); err != nil {
		return err
	}
	if err := t.handle.LinkSetHardwareAddr(t.link, c.MAC[:]); err != nil {
		return fmt.Errorf("set address %s: %w", c.MAC, err)
	}
	if err := t.handle.LinkSetMTU(t.link, c.MTU); err != nil {
		return fmt.Errorf("set MTU %d: %w", c.MTU, err)
	}
	if err := t.handle.LinkSetUp(t.link); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	return t.addAddresses(withLinkLocal(c.Addresses, c.MAC))
}

// refuseTaken looks for a device of the same name first, because the driver's own
// answer does not tell a clash from anything else. It is asked all the same: its
// IFF_TUN_EXCL closes the gap between looking and making.
func (t *Tap) refuseTaken() error {
	found, err := t.handle.LinkByName(t.name)
	var missing netlink.LinkNotFoundError
	switch {
	case err == nil:
		return fmt.Errorf("%w by a device of type %s: stop the daemon that has it, rename it (`ip link set %s name OTHER`), or rename the port in the configuration",
			ErrNameTaken, found.Type(), t.name)
	case !errors.As(err, &missing):
		return fmt.Errorf("look for the name: %w", err)
	}
	return nil
}

// create makes the device: frames without a header before them, no persistence, and
// nothing that the reader would have to complete.
func create(name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return -1, fmt.Errorf("a device name has 1 to %d bytes, so a port's name at most %d", unix.IFNAMSIZ-1, MaxPortName)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, explain(fmt.Errorf("open /dev/net/tun: %w", err))
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return -1, errors.Join(explain(fmt.Errorf("TUNSETIFF: %w", err)), unix.Close(fd))
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, 0); err != nil {
		return -1, errors.Join(fmt.Errorf("switch offloads off: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// explain adds what a refusal of the driver means.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w (%w)", ErrNoTun, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", ErrNoPermission, err)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w by a device that was made this moment: stop the other daemon (%w)", ErrNameTaken, err)
	}
	return err
}

// withLinkLocal adds a link-local address to IPv6 addresses that have none (RFC 4291
// sections 2.1 and 2.5.1): made of the MAC, so that it is shared as they are. Without one
// the kernel asks for no neighbour on anybody's behalf (ndisc_send_ns of net/ipv6/ndisc.c).
func withLinkLocal(addresses []netip.Prefix, mac packet.MAC) []netip.Prefix {
	six := false
	for _, p := range addresses {
		if p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			return addresses
		}
		six = six || p.Addr().Is6()
	}
	if !six {
		return addresses
	}
	made := [16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
	return append(slices.Clone(addresses), netip.PrefixFrom(netip.AddrFrom16(made), 64))
}

// addAddresses gives the device its addresses, usable at once.
func (t *Tap) addAddresses(addresses []netip.Prefix) error {
	for _, p := range addresses {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := t.handle.AddrAdd(t.link, a); err != nil {
			return fmt.Errorf("add address %s: %w", p, err)
		}
	}
	return nil
}

// muteIPv6 keeps the kernel from giving the device addresses or routes of its own. It
// comes before the device is up. A kernel without IPv6 needs none of it.
func (t *Tap) muteIPv6() error {
	present, err := ignoreAdvertisements(t.name)
	if err != nil || !present {
		return err
	}
	if err := t.handle.LinkSetIP6AddrGenMode(t.link, nl.IN6_ADDR_GEN_MODE_NONE); err != nil {
		return fmt.Errorf("switch its own IPv6 addresses off: %w", err)
	}
	return nil
}

// Name returns the device's name.
func (t *Tap) Name() string { return t.name }

// Ifindex returns the device's number, by which addresses, routes and neighbours name it.
func (t *Tap) Ifindex() int { return t.ifindex }

// Fd returns the descriptor, for poll(2): readable when the kernel has a frame.
func (t *Tap) Fd() int { return t.fd }

// SetMTU sets the largest IP packet in bytes.
func (t *Tap) SetMTU(mtu int) error {
	if err := t.handle.LinkSetMTU(t.link, mtu); err != nil {
		return fmt.Errorf("set MTU of TAP %s to %d: %w", t.name, mtu, err)
	}
	return nil
}

// Carrier says whether a port has a link partner. The zero value is no carrier.
type Carrier uint8

const (
	CarrierLost Carrier = iota
	CarrierPresent
)

// SetCarrier shows the kernel the carrier of the port: without one its routes are dead
// and routing daemons see the link down.
func (t *Tap) SetCarrier(carrier Carrier) error {
	if err := unix.IoctlSetPointerInt(t.fd, unix.TUNSETCARRIER, int(carrier)); err != nil {
		return fmt.Errorf("set carrier of TAP %s: %w", t.name, err)
	}
	return nil
}

// Close takes the device away, and its addresses, routes and neighbours with it.
func (t *Tap) Close() error {
	if err := t.close(); err != nil {
		return fmt.Errorf("close TAP %s: %w", t.name, err)
	}
	return nil
}

func (t *Tap) close() error {
	if t.handle != nil {
		t.handle.Close()
		t.handle = nil
	}
	if t.fd < 0 {
		return nil
	}
	fd := t.fd
	t.fd = -1
	return unix.Close(fd)
}
