package gen

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Side is one of the two ends that a replay sends from: a raw socket on a link, which
// counts besides what IP packets come to its MAC.
type Side struct {
	fd             int
	dstMAC, srcMAC net.HardwareAddr
	arrived        uint64
	buffer         []byte
	frame          []byte
}

// sideBuffer is a socket's receive buffer in bytes: some thousand frames.
const sideBuffer = 8 << 20

// NewSide opens a side on a link of the namespace of the caller's thread. The packets it
// sends go from srcMAC to dstMAC, whatever the capture says.
func NewSide(ifindex int, dstMAC, srcMAC net.HardwareAddr) (*Side, error) {
	if len(dstMAC) != 6 || len(srcMAC) != 6 {
		return nil, fmt.Errorf("side on link %d: two MACs are needed", ifindex)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("side on link %d: socket: %w", ifindex, err)
	}
	s := &Side{fd: fd, dstMAC: dstMAC, srcMAC: srcMAC, buffer: make([]byte, 64)}
	for _, option := range []struct{ level, name, value int }{
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, sideBuffer},
	} {
		if err := unix.SetsockoptInt(fd, option.level, option.name, option.value); err != nil {
			return nil, errors.Join(fmt.Errorf("side on link %d: setsockopt %d: %w", ifindex, option.name, err), s.Close())
		}
	}
	const allProtocols = uint16(unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00) // network byte order
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: allProtocols, Ifindex: ifindex}); err != nil {
		return nil, errors.Join(fmt.Errorf("side on link %d: bind: %w", ifindex, err), s.Close())
	}
	return s, nil
}

// send sends an IP packet. It reports EAGAIN and ENOBUFS, which pass.
func (s *Side) send(packet []byte) error {
	etherType := uint16(unix.ETH_P_IP)
	if packet[0]>>4 == 6 {
		etherType = unix.ETH_P_IPV6
	}
	s.frame = append(append(append(s.frame[:0], s.dstMAC...), s.srcMAC...), byte(etherType>>8), byte(etherType))
	_, err := unix.Write(s.fd, append(s.frame, packet...))
	return err
}

// count takes what has arrived off the socket and returns how many IP packets to its own
// MAC those were since the side was opened: what kernels say to all does not count.
func (s *Side) count() (uint64, error) {
	for {
		n, _, err := unix.Recvfrom(s.fd, s.buffer, unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return s.arrived, nil
		case err != nil:
			return s.arrived, fmt.Errorf("side: receiving: %w", err)
		}
		if n >= 34 && bytes.Equal(s.buffer[:6], s.srcMAC) && (s.buffer[12] == 0x08 && s.buffer[13] == 0 || s.buffer[12] == 0x86 && s.buffer[13] == 0xdd) {
			s.arrived++
		}
	}
}

// Close closes the socket.
func (s *Side) Close() error { return unix.Close(s.fd) }
