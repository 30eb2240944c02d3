package xsk

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Open binds a socket to a queue and gives the kernel frames to receive into. The
// device is one of the network namespace of the calling thread. Packets arrive once an
// XDP program redirects them to Fd.
//
// It refuses with ErrNoAFXDP, ErrNoPermission, ErrDeviceTaken, ErrNoDevice or
// ErrLockedMemory, and then nothing is left behind.
func Open(c Config) (*Socket, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	u := c.Umem
	if u.control < 0 {
		if u.control, err = controlSocket(); err != nil {
			return nil, err
		}
	}
	device, err := deviceName(u.control, c.Ifindex)
	if err != nil {
		return nil, err
	}
	u.settleGone()
	s, err := climb(c, device)
	if err != nil {
		return nil, fmt.Errorf("AF_XDP socket on queue %d of %s: %w", c.Queue, device, err)
	}
	u.settle(c.Ifindex, c.Queue)
	s.Refill()
	return s, nil
}

// climb tries the modes in order.
func climb(c Config, device string) (*Socket, error) {
	if c.Umem.holds(c.Ifindex, c.Queue) != nil {
		return nil, fmt.Errorf("%w (by this worker itself)", ErrDeviceTaken)
	}
	number := c.Umem.claimSlot()
	if number < 0 {
		return nil, fmt.Errorf("one packet memory serves %d sockets at most", slotsMax)
	}
	refusal, patience := errors.New("no mode was allowed"), c.Patience
	for _, mode := range c.Modes {
		s := &Socket{umem: c.Umem, slot: number, ifindex: c.Ifindex, queue: c.Queue, device: device, mode: mode, rings: c.Rings, fd: -1}
		if refusal = s.bindPatiently(c, &patience); refusal == nil {
			c.Umem.slots[number] = slot{socket: s, ifindex: c.Ifindex, queue: c.Queue}
			return s, nil
		}
		if errors.Is(refusal, ErrNoAFXDP) || errors.Is(refusal, ErrNoPermission) || errors.Is(refusal, ErrNoDevice) {
			break // no mode will help
		}
	}
	return nil, refusal
}

// bindPatiently binds, and waits for a queue that is just being given up: the kernel
// frees it one RCU grace period and one turn of a work queue after close(2). What it
// waits is taken off patience.
func (s *Socket) bindPatiently(c Config, patience *time.Duration) error {
	const step = time.Millisecond
	for {
		err := s.bind(c)
		if !errors.Is(err, unix.EBUSY) || *patience <= 0 {
			return err
		}
		time.Sleep(step)
		*patience -= step
	}
}

// bind makes a socket with its rings and binds it, joining the registration of another
// socket of the same mode where there is one.
func (s *Socket) bind(c Config) error {
	for {
		anchor := c.Umem.anchor(s.mode)
		err := s.bindTo(c, anchor)
		if err == nil {
			return nil
		}
		s.abandon()
		if anchor == nil || !errors.Is(err, unix.EBADF) {
			return err
		}
		// The anchor's device has left (NETDEV_UNREGISTER unbinds its sockets): never
		// ask it again, which also ends this loop.
		anchor.unbound = true
	}
}

// anchor returns an open socket whose registration one of that mode can join, or nil.
func (u *Umem) anchor(mode Mode) *Socket {
	for i := range u.slots {
		if s := u.slots[i].socket; s != nil && s.mode == mode && !s.unbound {
			return s
		}
	}
	return nil
}

// bindTo does what bind says for one anchor; nil means to register the memory anew.
func (s *Socket) bindTo(c Config, anchor *Socket) error {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return socketError(err)
	}
	s.fd = fd
	address := &unix.SockaddrXDP{Ifindex: uint32(c.Ifindex), QueueID: uint32(c.Queue)}
	if anchor != nil {
		// The anchor's flags hold for all (xp_assign_dev_shared): none may be given.
		address.Flags, address.SharedUmemFD = unix.XDP_SHARED_UMEM, uint32(anchor.fd)
	} else {
		address.Flags = unix.XDP_USE_NEED_WAKEUP | bindFlag(s.mode)
		if err := c.Umem.register(fd); err != nil {
			return registerError(err)
		}
	}
	if err := s.mapRings(); err != nil {
		return err
	}
	if err := s.setTxBudget(c.TxBudget); err != nil {
		return err
	}
	if err := unix.Bind(fd, address); err != nil {
		return bindError(err, s.device, c.Queue)
	}
	return nil
}

func bindFlag(mode Mode) uint16 {
	if mode == ModeZeroCopy {
		return unix.XDP_ZEROCOPY
	}
	return unix.XDP_COPY
}

// register makes the memory known to the kernel through a new socket (XDP_UMEM_REG).
func (u *Umem) register(fd int) error {
	return setOption(fd, unix.XDP_UMEM_REG, unix.XDPUmemReg{
		Addr: address(u.memory),
		Len:  uint64(len(u.owners)) * FrameSize,
		Size: FrameSize,
	})
}

// mapRings sizes the four rings and maps them.
func (s *Socket) mapRings() error {
	for _, ring := range []struct{ option, size int }{
		{unix.XDP_UMEM_FILL_RING, s.rings.Fill},
		{unix.XDP_UMEM_COMPLETION_RING, s.rings.Completion},
		{unix.XDP_RX_RING, s.rings.Rx},
		{unix.XDP_TX_RING, s.rings.Tx},
	} {
		if err := setOption(s.fd, ring.option, uint32(ring.size)); err != nil {
			return fmt.Errorf("make a ring of %d slots: %w", ring.size, err)
		}
	}
	offsets, err := getOption[unix.XDPMmapOffsets](s.fd, unix.XDP_MMAP_OFFSETS)
	if err != nil {
		return fmt.Errorf("layout of the rings: %w", err)
	}
	var errs [4]error
	s.fill.producer, s.fill.slots, s.mappings[0], errs[0] = mapProducer[uint64](s.fd, offsets.Fr, unix.XDP_UMEM_PGOFF_FILL_RING, uint32(s.rings.Fill))
	s.completion.consumer, s.completion.slots, s.mappings[1], errs[1] = mapConsumer[uint64](s.fd, offsets.Cr, unix.XDP_UMEM_PGOFF_COMPLETION_RING, uint32(s.rings.Completion))
	s.rx.consumer, s.rx.slots, s.mappings[2], errs[2] = mapConsumer[Desc](s.fd, offsets.Rx, unix.XDP_PGOFF_RX_RING, uint32(s.rings.Rx))
	s.tx.producer, s.tx.slots, s.mappings[3], errs[3] = mapProducer[Desc](s.fd, offsets.Tx, unix.XDP_PGOFF_TX_RING, uint32(s.rings.Tx))
	return errors.Join(errs[:]...)
}

// setTxBudget raises what one kick hands over. A kernel that does not know the option
// keeps its 32, and callers that repeat Kick notice nothing.
func (s *Socket) setTxBudget(budget int) error {
	if s.mode != ModeCopy || budget <= txBudgetMin {
		return nil
	}
	err := setOption(s.fd, unix.XDP_MAX_TX_SKB_BUDGET, uint32(budget))
	if err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return fmt.Errorf("transmit budget of %d: %w", budget, err)
	}
	return nil
}

// abandon undoes a bind that failed on the way.
func (s *Socket) abandon() {
	for i := range s.mappings {
		_ = s.mappings[i].unmap() // nothing has looked into it
	}
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
	}
	s.fd = -1
}
