package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/track"
	"holdfast/dataplane"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/tap"
	"holdfast/dataplane/xdp"
	"holdfast/dataplane/xsk"
)

// device is a network device with what the daemon holds of it. One or more ports are on it.
type device struct {
	name    string
	ports   []*port // in the order of their IDs, at least one
	queues  xsk.PortQueues
	mtu     int // bytes of an IP packet, tagged or not
	program *xdp.Program
	former  former // what it was before this start
}

// port is a logical port with what the daemon holds of it.
type port struct {
	dataplane.Port
	on       *device
	prefixes []netip.Prefix
	tap      *tap.Tap
	carrier  atomic.Uint32 // a tap.Carrier
	tracked  *track.Level  // the carrier, as far as it has a say in who serves
}

// tagged reports whether a port of the device has a VLAN.
func (d *device) tagged() bool {
	return slices.ContainsFunc(d.ports, func(p *port) bool { return p.VLAN != packet.Untagged })
}

// names lists the ports of the device, for messages.
func (d *device) names() string {
	var all []string
	for _, p := range d.ports {
		all = append(all, p.Name)
	}
	if len(all) == 1 {
		return "port " + all[0]
	}
	return "ports " + strings.Join(all, ", ")
}

// look refuses devices that cannot be data ports, before any is touched.
func look(devices []*device) error {
	for _, d := range devices {
		if err := d.look(); err != nil {
			return fmt.Errorf("%s: %w", d.names(), err)
		}
	}
	return nil
}

func (d *device) look() error {
	link, err := netlink.LinkByName(d.name)
	if err != nil {
		return fmt.Errorf("device %s: %w: name one of `ip link` in [devices] of the node file", d.name, err)
	}
	if err := d.check(link); err != nil {
		return err
	}
	d.queues.Device = d.name
	if d.queues.Channels, err = xsk.ReadChannels(d.name); err != nil {
		return err
	}
	attached, err := xdp.Attached(d.name)
	if err == nil && !attached {
		d.former, err = remember(link)
	}
	return err
}

// attach makes every device mute, gives its ports their TAPs and brings it up; look has
// been there before. On error the devices are as they were before.
func attach(devices []*device, log *slog.Logger) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, release(devices, detachFresh))
		}
	}()
	for _, d := range devices {
		if err := d.attach(log); err != nil {
			return fmt.Errorf("%s: %w", d.names(), err)
		}
	}
	return nil
}

// attachment says how the device is to receive: by its port's MAC. With a tagged port
// it is promiscuous, because the ports have a MAC each, and because most hardware filters
// out the VLANs that no kernel device asks for.
func (d *device) attachment() xdp.Config {
	if d.tagged() {
		return xdp.Config{Device: d.name}
	}
	return xdp.Config{Device: d.name, MAC: d.ports[0].MAC}
}

func (d *device) attach(log *slog.Logger) error {
	var err error
	if d.program, err = xdp.Attach(d.attachment()); err != nil {
		if d.former.link == nil || errors.Is(err, xdp.ErrForeignProgram) || errors.Is(err, xdp.ErrInUse) {
			return err // nothing was changed, or nothing is to be given back
		}
		return errors.Join(err, d.former.restore())
	}
	if why := d.program.Fallback(); why != nil {
		log.Warn("no native XDP: the generic hook is several times slower", "ports", d.names(), "device", d.name, "why", why)
	}
	if d.tagged() {
		if err := xdp.SetTags(d.name, xdp.TagsInFrame); err != nil {
			return err
		}
	}
	for _, p := range d.ports {
		if err := p.open(); err != nil {
			return err
		}
	}
	return d.program.Up()
}

// open gives a port of an attached device its TAP.
func (p *port) open() (err error) {
	p.Ifindex, p.Program, p.MTU = p.on.program.Ifindex(), p.on.program, p.on.mtu
	if p.on.program.Hook() == xdp.HookGeneric {
		p.Modes = []xsk.Mode{xsk.ModeCopy} // a driver in zero-copy mode would pass the hook by
	}
	if p.tap, err = tap.Open(tap.Config{
		Name: tap.Name(p.Name), MAC: p.MAC, MTU: p.MTU, Addresses: p.prefixes,
	}); err != nil {
		return err
	}
	p.Kernel = p.tap
	return nil
}

// check refuses a device that cannot be a data port.
func (d *device) check(link netlink.Link) error {
	a := link.Attrs()
	if a.Flags&net.FlagLoopback != 0 {
		return fmt.Errorf("device %s is the loopback: name a device of its own", d.name)
	}
	if a.EncapType != "ether" {
		return fmt.Errorf("device %s is of kind %q, not Ethernet: name an Ethernet device", d.name, a.EncapType)
	}
	const mtuMax = xsk.FrameRoom - 14 - packet.TagLen // Ethernet header and one VLAN tag
	if a.MTU > mtuMax {
		return fmt.Errorf("device %s has an MTU of %d, and frames have room for %d: `ip link set %s mtu 1500`", d.name, a.MTU, mtuMax, d.name)
	}
	d.mtu = a.MTU
	return nil
}

// releaseHow says what becomes of devices.
type releaseHow uint8

const (
	stayMute    releaseHow = iota // the daemon ends; its devices stay silent
	detachFresh                   // a start failed; devices that were not ours go back
)

// release lets go of what attach holds.
func release(devices []*device, how releaseHow) error {
	var errs []error
	for _, d := range devices {
		for _, p := range d.ports {
			if p.tap != nil {
				errs = append(errs, p.tap.Close())
				p.tap = nil
			}
		}
		if d.program == nil {
			continue
		}
		errs = append(errs, d.program.Close())
		d.program = nil
		if how == detachFresh && d.former.link != nil {
			errs = append(errs, xdp.Detach(d.name), d.former.restore())
		}
	}
	return errors.Join(errs...)
}

// mirrorCarrier follows the devices' carrier and MTU, and shows the TAPs the same.
func mirrorCarrier(ports []*port, updates <-chan netlink.LinkUpdate, log *slog.Logger) {
	for u := range updates {
		for _, p := range ports {
			if int(u.Index) != p.Ifindex {
				continue
			}
			carrier := tap.CarrierLost
			if u.Flags&unix.IFF_LOWER_UP != 0 {
				carrier = tap.CarrierPresent
			}
			p.carrier.Store(uint32(carrier))
			p.tracked.Tell(carrier == tap.CarrierLost)
			if err := p.tap.SetCarrier(carrier); err != nil {
				log.Warn("mirroring the carrier", "port", p.Name, "err", err)
			}
		}
	}
}

// addressesOf returns the bare addresses of prefixes.
func addressesOf(prefixes []netip.Prefix) []packet.Addr {
	var all []packet.Addr
	for _, p := range prefixes {
		all = append(all, packet.AddrFrom(p.Addr()))
	}
	return all
}
