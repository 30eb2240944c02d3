package xdp

import (
	"errors"
	"fmt"

	"holdfast/dataplane/packet"
)

// Config says which device becomes a data port.
type Config struct {
	// Device is its name in the network namespace of the calling thread.
	Device string
	// MAC is received besides the device's own address and all groups; the zero
	// value receives every frame (promiscuous).
	MAC packet.MAC
}

// Attach makes a device a data port: mute, down, and all its frames bound for the
// sockets that SetSocket will name. The daemon owns the device from now on; if it is
// up it is taken down, after the kernel's voice is taken. Addresses that somebody gave
// the device stay, and are of no effect.
//
// Where it fails nothing is left half set up: a device that was mute stays mute, any
// other gets back what was changed (IPv6 drops its addresses when a device goes down).
// The errors name what to do: xsk.ErrNoDevice, xsk.ErrNoPermission, xsk.ErrNoAFXDP,
// ErrForeignProgram, ErrInUse, ErrNoHook.
func Attach(c Config) (*Program, error) {
	p, err := attach(c)
	if err != nil {
		return nil, fmt.Errorf("attach to %s: %w", c.Device, err)
	}
	return p, nil
}

func attach(c Config) (*Program, error) {
	d, err := openDevice(c.Device)
	if err != nil {
		return nil, err
	}
	p := &Program{device: d, reception: none}
	if err := p.load(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	before, err := d.inspect()
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	err = p.install(c, before)
	if err != nil && !before.attached() {
		err = errors.Join(err, d.restore())
	}
	if err = errors.Join(err, before.ingress.close()); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// load brings programs and maps into the kernel. Nothing is attached yet.
func (p *Program) load() error {
	if err := loadKernelObjects(&p.objects, nil); err != nil {
		p.objects = kernelObjects{} // the loader closed what it had made
		return explainLoad(err)
	}
	return nil
}

// install changes the device, in the one order in which it is never open: the kernel
// is silenced before the device goes down (which makes it say goodbye to groups), and
// the device is down before receiving changes.
func (p *Program) install(c Config, before occupancy) error {
	d := p.device
	if err := d.silence(p.objects.HoldfastEgress); err != nil {
		return err
	}
	if err := d.handle.LinkSetDown(d.link); err != nil {
		return fmt.Errorf("take down: %w", explain(err))
	}
	var err error
	p.hook, p.fallback, err = replaceIngress(d.ifindex(), p.objects.HoldfastRx, before.ingress)
	if err != nil {
		return err
	}
	p.reception, err = openReception(d.ifindex(), c.MAC)
	return err
}
