package xsk

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// unsentPause is how long a worker sleeps at most while descriptors wait to be kicked.
const unsentPause = time.Millisecond

// Poller lets an idle worker sleep until a packet arrives or another descriptor (a TAP,
// an eventfd) is readable. The zero value is ready to use; it belongs to one goroutine.
//
// It never makes a socket transmit. In copy mode poll(2) does what a kick does
// (xsk_poll calls xsk_generic_xmit), behind the back of the lease: so sockets with
// unsent descriptors are left out, and the sleep is short while there are any.
type Poller struct {
	sockets []*Socket     // nil for other descriptors
	fds     []unix.PollFd // one for each of sockets
}

// AddSocket adds a socket. A closed one is passed over.
func (p *Poller) AddSocket(s *Socket) {
	p.sockets = append(p.sockets, s)
	p.fds = append(p.fds, unix.PollFd{Events: unix.POLLIN})
}

// AddFd adds a descriptor that is waited for until it is readable.
func (p *Poller) AddFd(fd int) {
	p.sockets = append(p.sockets, nil)
	p.fds = append(p.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
}

// Reset takes everything out, for a worker whose sockets have changed.
func (p *Poller) Reset() { p.sockets, p.fds = p.sockets[:0], p.fds[:0] }

// Wait sleeps for at most timeout, and returns how many sockets and descriptors are
// readable or broken: 0 after the timeout, or when a signal came in between.
func (p *Poller) Wait(timeout time.Duration) (int, error) {
	for i, s := range p.sockets {
		if s == nil {
			continue
		}
		p.fds[i].Fd = int32(s.fd) // poll(2) passes over negative ones
		if s.fd >= 0 && s.Unsent() > 0 {
			p.fds[i].Fd = -1
			timeout = min(timeout, unsentPause)
		}
	}
	limit := unix.NsecToTimespec(max(0, timeout).Nanoseconds())
	n, err := unix.Ppoll(p.fds, &limit, nil)
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("wait for packets on %d descriptors: %w", len(p.fds), err)
	}
	return n, nil
}
