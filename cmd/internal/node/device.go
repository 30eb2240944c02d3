package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/dataplane"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/tap"
	"holdfast/dataplane/xdp"
	"holdfast/dataplane/xsk"
)

// port is a logical port with what the daemon holds of it.
type port struct {
	dataplane.Port
	prefixes []netip.Prefix
	queues   xsk.PortQueues
	program  *xdp.Program
	tap      *tap.Tap
	former   former        // what the device was before this start
	carrier  atomic.Uint32 // a tap.Carrier
}

// look refuses devices that cannot be data ports, before any is touched.
func look(ports []*port) error {
	for _, p := range ports {
		if err := p.look(); err != nil {
			return fmt.Errorf("port %s: %w", p.Name, err)
		}
	}
	return nil
}

func (p *port) look() error {
	link, err := netlink.LinkByName(p.Device)
	if err != nil {
		return fmt.Errorf("device %s: %w: name one of `ip link` in [devices] of the node file", p.Device, err)
	}
	if err := p.checkDevice(link); err != nil {
		return err
	}
	p.queues.Device = p.Device
	if p.queues.Channels, err = xsk.ReadChannels(p.Device); err != nil {
		return err
	}
	attached, err := xdp.Attached(p.Device)
	if err == nil && !attached {
		p.former, err = remember(link)
	}
	return err
}

// attach makes every port's device mute, gives it its TAP and brings it up; look has been
// there before. On error the devices are as they were before.
func attach(ports []*port, log *slog.Logger) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, release(ports, detachFresh))
		}
	}()
	for _, p := range ports {
		if err := p.attach(log); err != nil {
			return fmt.Errorf("port %s: %w", p.Name, err)
		}
	}
	return nil
}

func (p *port) attach(log *slog.Logger) error {
	var err error
	if p.program, err = xdp.Attach(xdp.Config{Device: p.Device, MAC: p.MAC}); err != nil {
		if p.former.link == nil || errors.Is(err, xdp.ErrForeignProgram) || errors.Is(err, xdp.ErrInUse) {
			return err // nothing was changed, or nothing is to be given back
		}
		return errors.Join(err, p.former.restore())
	}
	if why := p.program.Fallback(); why != nil {
		log.Warn("no native XDP: the generic hook is several times slower", "port", p.Name, "device", p.Device, "why", why)
	}
	p.Ifindex, p.Program = p.program.Ifindex(), p.program
	if p.program.Hook() == xdp.HookGeneric {
		p.Modes = []xsk.Mode{xsk.ModeCopy} // a driver in zero-copy mode would pass the hook by
	}
	if p.tap, err = tap.Open(tap.Config{
		Name: tap.Name(p.Name), MAC: p.MAC, MTU: p.MTU, Addresses: p.prefixes,
	}); err != nil {
		return err
	}
	p.Kernel = p.tap
	return p.program.Up()
}

// checkDevice refuses a device that cannot be a data port.
func (p *port) checkDevice(link netlink.Link) error {
	a := link.Attrs()
	if a.Flags&net.FlagLoopback != 0 {
		return fmt.Errorf("device %s is the loopback: name a device of its own", p.Device)
	}
	if a.EncapType != "ether" {
		return fmt.Errorf("device %s is of kind %q, not Ethernet: name an Ethernet device", p.Device, a.EncapType)
	}
	const mtuMax = xsk.FrameRoom - 14 - 4 // Ethernet header and one VLAN tag
	if a.MTU > mtuMax {
		return fmt.Errorf("device %s has an MTU of %d, and frames have room for %d: `ip link set %s mtu 1500`", p.Device, a.MTU, mtuMax, p.Device)
	}
	p.MTU = a.MTU
	return nil
}

// releaseHow says what becomes of devices.
type releaseHow uint8

const (
	stayMute    releaseHow = iota // the daemon ends; its devices stay silent
	detachFresh                   // a start failed; devices that were not ours go back
)

// release lets go of what attach holds.
func release(ports []*port, how releaseHow) error {
	var errs []error
	for _, p := range ports {
		if p.tap != nil {
			errs = append(errs, p.tap.Close())
			p.tap = nil
		}
		if p.program == nil {
			continue
		}
		errs = append(errs, p.program.Close())
		p.program = nil
		if how == detachFresh && p.former.link != nil {
			errs = append(errs, xdp.Detach(p.Device), p.former.restore())
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
