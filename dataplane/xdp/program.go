package xdp

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"holdfast/dataplane/xsk"
)

// Program is the attachment to one device, as the process that made it holds it. What
// the kernel holds outlives it. Make one with Attach.
type Program struct {
	device    *device
	objects   kernelObjects
	hook      Hook
	fallback  error // why hook is not the native one; nil where it is
	reception int   // the packet socket of openReception
}

// Device returns the name of the device.
func (p *Program) Device() string { return p.device.name() }

// Ifindex returns the device's number, which AF_XDP sockets are bound by.
func (p *Program) Ifindex() int { return p.device.ifindex() }

// Hook returns where the receive program runs. At HookGeneric, sockets must be opened
// in copy mode: a driver in zero-copy mode would pass the generic hook by.
func (p *Program) Hook() Hook { return p.hook }

// Fallback returns, in the kernel's and the driver's words, why Hook is not
// HookNative, or nil. It is to be reported: generic is several times slower.
func (p *Program) Fallback() error { return p.fallback }

// Mode returns the port's mode given that of its (slowest) socket.
func (p *Program) Mode(socket xsk.Mode) Mode { return compose(p.hook, socket) }

// SetSocket makes the AF_XDP socket of descriptor fd receive the frames of a queue, in
// place of the one before. It must be bound to this device and this queue, or it
// receives nothing. A socket that is closed leaves its slot by itself.
func (p *Program) SetSocket(queue, fd int) error {
	if slots := int(p.objects.Xsks.MaxEntries()); queue < 0 || queue >= slots {
		return fmt.Errorf("socket of queue %d of %s: only queues 0 to %d can have one; make fewer with `ethtool -L %s combined %d`",
			queue, p.Device(), slots-1, p.Device(), slots)
	}
	if err := p.objects.Xsks.Put(uint32(queue), uint32(fd)); err != nil {
		return fmt.Errorf("socket of queue %d of %s: %w", queue, p.Device(), explain(err))
	}
	return nil
}

// Up brings the device up. Without sockets it receives nothing and stays mute.
func (p *Program) Up() error {
	if err := p.device.handle.LinkSetUp(p.device.link); err != nil {
		return fmt.Errorf("bring up %s: %w", p.Device(), explain(err))
	}
	return nil
}

// Silenced returns how many packets of the kernel itself were dropped on the device
// since Attach. Packets mean that something on this node uses the device instead of
// the TAP: an address that was left on it, a daemon bound to it.
func (p *Program) Silenced() (uint64, error) {
	var perCPU []uint64
	if err := p.objects.Silenced.Lookup(uint32(0), &perCPU); err != nil {
		return 0, fmt.Errorf("silenced packets of %s: %w", p.Device(), explain(err))
	}
	var sum uint64
	for _, n := range perCPU {
		sum += n
	}
	return sum, nil
}

// Close lets go of what the process holds. The device stays as it is, and mute: what
// opens it again is Detach. A second call does nothing.
func (p *Program) Close() error {
	if p.device == nil {
		return nil
	}
	name := p.device.name()
	err := p.objects.Close()
	if p.reception != none {
		err = errors.Join(err, unix.Close(p.reception))
	}
	p.device.close()
	p.device = nil
	if err != nil {
		return fmt.Errorf("close the program of %s: %w", name, err)
	}
	return nil
}
