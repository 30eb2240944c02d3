package xsk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Channels is how many queues of a device are in use.
type Channels struct {
	Receive  int
	Transmit int
}

// ReadChannels asks a device of the current network namespace for its queues (ethtool
// -l, then -x). A driver that answers neither is taken to have one pair; had it more,
// packets of the others would meet no socket and be dropped by the XDP program.
func ReadChannels(device string) (Channels, error) {
	fd, err := controlSocket()
	if err != nil {
		return Channels{}, fmt.Errorf("queues of %s: %w", device, err)
	}
	defer func() { _ = unix.Close(fd) }() // it was only asked; nothing to lose

	request := ethtoolChannels{Cmd: unix.ETHTOOL_GCHANNELS}
	err = ethtool(fd, device, &request)
	if err == nil {
		return Channels{
			Receive:  max(1, int(request.RxCount+request.CombinedCount)),
			Transmit: max(1, int(request.TxCount+request.CombinedCount)),
		}, nil
	}
	if errors.Is(err, unix.ENODEV) {
		return Channels{}, fmt.Errorf("queues of %s: %w (%w)", device, ErrNoDevice, err)
	}
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return Channels{}, fmt.Errorf("queues of %s: %w", device, err)
	}
	rings := ethtoolRxnfc{Cmd: unix.ETHTOOL_GRXRINGS}
	if err := ethtool(fd, device, &rings); err == nil && rings.Data > 0 {
		return Channels{Receive: int(rings.Data), Transmit: int(rings.Data)}, nil
	}
	return Channels{Receive: 1, Transmit: 1}, nil
}

// ReceiveQueues returns how many receive queues a device of the current network
// namespace has.
func ReceiveQueues(device string) (int, error) {
	channels, err := ReadChannels(device)
	return channels.Receive, err
}

// controlSocket opens a socket for questions about devices of the current namespace.
func controlSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("control socket: %w", err)
	}
	return fd, nil
}

// deviceName asks for the name of a device, which fails where the device is no more.
func deviceName(control, ifindex int) (string, error) {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	ifr.SetUint32(uint32(ifindex))
	if err := unix.IoctlIfreq(control, unix.SIOCGIFNAME, ifr); err != nil {
		return "", fmt.Errorf("device of index %d: %w (%w)", ifindex, ErrNoDevice, err)
	}
	return ifr.Name(), nil
}
