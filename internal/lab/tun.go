package lab

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// TUN makes a link whose far end is a descriptor of this process: an IP packet written to
// it comes in by the link, and what the link sends is read from it. Both happen in the
// call itself, so a packet that the kernel forwards between two of them is there to read
// when write returns. Reading never blocks (EAGAIN). The link is down and without
// addresses; the descriptor is the caller's to close.
func (n *Namespace) TUN(name string) (fd int, err error) {
	err = n.Do(func() error {
		fd, err = openTUN(name)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("TUN device %s in %s: %w", name, n.name, err)
	}
	return fd, nil
}

func openTUN(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return -1, errors.Join(fmt.Errorf("TUNSETIFF: %w", err), unix.Close(fd))
	}
	return fd, nil
}
