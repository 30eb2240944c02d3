package track

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A probe is made by the node's kernel from a device's own addresses, so it takes the way that
// every packet of the node takes: policy, tracking, next hop. It leaves by its device whatever
// the routes prefer. A socket is opened for each attempt: a device that has gone and come back
// is no other case.

// errSilent: nobody answered in time.
var errSilent = errors.New("no answer in time")

// bound binds a socket to a device before it sends.
func bound(device string) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), device) }); e != nil {
			return e
		}
		if err != nil {
			return fmt.Errorf("device %s: %w", device, err)
		}
		return nil
	}
}

// AskTCP connects to a target by a device, and closes the connection.
func AskTCP(device string, target netip.AddrPort) func(context.Context) error {
	return func(ctx context.Context) error {
		d := net.Dialer{Control: bound(device), KeepAlive: -1}
		conn, err := d.DialContext(ctx, "tcp", target.String())
		if err != nil {
			return plain(err)
		}
		return conn.Close()
	}
}

// AskICMP sends an echo request (RFC 792, RFC 4443 section 4.1) by a device, and waits for the
// reply that carries the same 16 random bytes.
//
//	 0       1       2               4               6               8              24
//	+-------+-------+---------------+---------------+---------------+---------------+
//	| type  |   0   |   checksum    |  identifier   |   sequence    | random        |
//	+-------+-------+---------------+---------------+---------------+---------------+
func AskICMP(device string, target netip.Addr) func(context.Context) error {
	network, request, reply := "ip4:icmp", byte(8), byte(0)
	if target.Is6() {
		network, request, reply = "ip6:ipv6-icmp", 128, 129
	}
	to := &net.IPAddr{IP: target.AsSlice(), Zone: zoneOf(device, target)}
	return func(ctx context.Context) error {
		var echo [24]byte
		echo[0] = request
		rand.Read(echo[4:])
		if target.Is4() { // the kernel does it for ICMPv6 (RFC 3542 section 3.1)
			binary.BigEndian.PutUint16(echo[2:], onesComplement(echo[:]))
		}
		return exchange(ctx, device, network, to, echo[:], func(b []byte, from net.Addr) bool {
			return len(b) >= len(echo) && b[0] == reply && bytes.Equal(b[4:24], echo[4:24])
		})
	}
}

// AskNeighbor asks for the Ethernet address of a target on the link of a device: by ARP
// (RFC 826), or by a neighbour solicitation (RFC 4861 section 4.3). What the kernel believes
// of the neighbour is not asked.
func AskNeighbor(device string, target netip.Addr) func(context.Context) error {
	if target.Is4() {
		return func(ctx context.Context) error { return askARP(ctx, device, target) }
	}
	a := target.As16()
	group := netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]}) // RFC 4291 section 2.7.1
	to := &net.IPAddr{IP: group.AsSlice(), Zone: device}
	return func(ctx context.Context) error {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return fmt.Errorf("device %s: %w", device, err)
		}
		//	 0      1      2             4              8          24      25      26          32
		//	+------+------+-------------+--------------+----------+-------+-------+-----------+
		//	| 135  |  0   |  checksum   |      0       | target   |   1   |   1   | our MAC   |
		//	+------+------+-------------+--------------+----------+-------+-------+-----------+
		ask := make([]byte, 24, 32)
		ask[0] = 135
		copy(ask[8:], a[:])
		ask = append(append(ask, 1, 1), link.HardwareAddr...)
		return exchange(ctx, device, "ip6:ipv6-icmp", to, ask, func(b []byte, from net.Addr) bool {
			return len(b) >= 24 && b[0] == 136 && bytes.Equal(b[8:24], a[:])
		})
	}
}

// zoneOf returns the zone of an address that needs one.
func zoneOf(device string, a netip.Addr) string {
	if a.IsLinkLocalUnicast() && a.Is6() {
		return device
	}
	return ""
}

// exchange sends a message by a raw socket on a device, and waits for one that answers it.
func exchange(ctx context.Context, device, network string, to *net.IPAddr, message []byte, answers func(b []byte, from net.Addr) bool) error {
	any := "0.0.0.0"
	if to.IP.To4() == nil {
		any = "::"
	}
	listen := net.ListenConfig{Control: func(n, a string, c syscall.RawConn) error {
		if err := bound(device)(n, a, c); err != nil || to.IP.To4() != nil {
			return err
		}
		var err error // RFC 4861 section 4.3: a solicitation with another hop limit is not believed
		if e := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255)
		}); e != nil {
			return e
		}
		return err
	}}
	conn, err := listen.ListenPacket(ctx, network, any)
	if err != nil {
		return plain(err)
	}
	defer conn.Close()
	defer hangUp(ctx, conn)()
	if _, err := conn.WriteTo(message, to); err != nil {
		return plain(err)
	}
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return plain(err)
		}
		if answers(buf[:n], from) {
			return nil
		}
	}
}

// hangUp ends what waits on a connection when ctx ends; call what it returns in the end.
func hangUp(ctx context.Context, conn interface{ SetDeadline(time.Time) error }) func() bool {
	if at, ok := ctx.Deadline(); ok {
		conn.SetDeadline(at)
	}
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
}

// plain leaves out what an operator does not need: addresses that the listing says already.
func plain(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errSilent
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// onesComplement is the checksum of RFC 1071 over an even number of bytes.
func onesComplement(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum)
}
