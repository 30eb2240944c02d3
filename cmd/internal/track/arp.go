package track

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// arpLen is the length of an ARP message for IPv4 over Ethernet, in bytes.
const arpLen = 28

// askARP asks for the Ethernet address of a target (RFC 826).
//
//	 0       2       4   5   6       8            14           18           24           28
//	+-------+-------+---+---+-------+------------+------------+------------+------------+
//	|   1   | 0800  | 6 | 4 | 1, 2  | sender MAC | sender IP  | target MAC | target IP  |
//	+-------+-------+---+---+-------+------------+------------+------------+------------+
func askARP(ctx context.Context, device string, target netip.Addr) error {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return fmt.Errorf("device %s: %w", device, err)
	}
	own, err := ownAddress(link)
	if err != nil {
		return err
	}
	const protocol = unix.ETH_P_ARP<<8&0xff00 | unix.ETH_P_ARP>>8 // network order, packet(7)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("a socket for ARP: %w", err)
	}
	f := os.NewFile(uintptr(fd), "arp")
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Index}); err != nil {
		return fmt.Errorf("device %s: %w", device, err)
	}
	defer hangUp(ctx, f)()
	to, from := target.As4(), own.As4()
	ask := append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, link.HardwareAddr...)
	ask = append(append(append(ask, from[:]...), make([]byte, 6)...), to[:]...)
	everybody := &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	if err := unix.Sendto(fd, ask, 0, everybody); err != nil {
		return fmt.Errorf("device %s: %w", device, err)
	}
	buf := make([]byte, 2048)
	for {
		n, err := f.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errSilent
		}
		if err != nil {
			return plain(err)
		}
		if n >= arpLen && bytes.Equal(buf[6:8], []byte{0, 2}) && bytes.Equal(buf[14:18], to[:]) {
			return nil
		}
	}
}

// ownAddress returns an IPv4 address of a device.
func ownAddress(link *net.Interface) (netip.Addr, error) {
	all, err := link.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("device %s: %w", link.Name, err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			own, _ := netip.AddrFromSlice(n.IP.To4())
			return own, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("device %s has no IPv4 address to ask from", link.Name)
}
