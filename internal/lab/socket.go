package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A socket stays in the namespace in which it was made, whoever uses it later. So a
// goroutine of this process can be a real host of the laboratory. The addresses are
// literal, because the resolver would run on other threads, outside.

// Listen makes a TCP listener inside, network and address as for net.Listen.
func (n *Namespace) Listen(network, address string) (net.Listener, error) {
	if err := literal(network, address); err != nil {
		return nil, fmt.Errorf("listen in %s: %w", n.name, err)
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false) // plain TCP on the wire
	var listener net.Listener
	err := n.Do(func() (err error) {
		listener, err = config.Listen(context.Background(), network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", n.name, err)
	}
	return listener, nil
}

// ListenPacket makes a datagram socket inside, network and address as for
// net.ListenPacket: "udp", "ip4:icmp" and so on.
func (n *Namespace) ListenPacket(network, address string) (net.PacketConn, error) {
	if err := literal(network, address); err != nil {
		return nil, fmt.Errorf("listen in %s: %w", n.name, err)
	}
	var conn net.PacketConn
	err := n.Do(func() (err error) {
		conn, err = net.ListenPacket(network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", n.name, err)
	}
	return conn, nil
}

// Dial connects from inside to remote, from local unless that is empty.
func (n *Namespace) Dial(ctx context.Context, network, local, remote string) (net.Conn, error) {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	if err := literal(network, remote); err != nil {
		return nil, fmt.Errorf("dial in %s: %w", n.name, err)
	}
	if local != "" {
		address, err := localAddress(network, local)
		if err != nil {
			return nil, fmt.Errorf("dial in %s from %s: %w", n.name, local, err)
		}
		dialer.LocalAddr = address
	}
	var conn net.Conn
	err := n.Do(func() (err error) {
		conn, err = dialer.DialContext(ctx, network, remote)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial in %s: %w", n.name, err)
	}
	return conn, nil
}

// literal refuses an address that a resolver would have to look at.
func literal(network, address string) error {
	if strings.HasPrefix(network, "ip") {
		_, err := netip.ParseAddr(address)
		return err
	}
	_, err := netip.ParseAddrPort(address)
	return err
}

func localAddress(network, address string) (net.Addr, error) {
	if err := literal(network, address); err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(network, "tcp"):
		return net.ResolveTCPAddr(network, address)
	case strings.HasPrefix(network, "udp"):
		return net.ResolveUDPAddr(network, address)
	default:
		return net.ResolveIPAddr(network, address)
	}
}

// Echo makes a socket for ICMP or ICMPv6 echo requests from addr, whose identifier is
// id (0: the kernel chooses; see LocalAddr's port). What is written is the message
// from its type on, to a *net.UDPAddr whose port is ignored; the kernel fills in
// identifier and checksum, and hands over only the answers to this identifier
// (icmp(7), net.ipv4.ping_group_range).
func (n *Namespace) Echo(addr netip.Addr, id uint16) (net.PacketConn, error) {
	var conn net.PacketConn
	err := n.Do(func() (err error) {
		conn, err = echoSocket(addr, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("echo socket for %s in %s: %w", addr, n.name, err)
	}
	return conn, nil
}

func echoSocket(addr netip.Addr, id uint16) (net.PacketConn, error) {
	var (
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
		local         unix.Sockaddr
	)
	if addr = addr.Unmap(); addr.Is4() {
		family, proto = unix.AF_INET, unix.IPPROTO_ICMP
		local = &unix.SockaddrInet4{Port: int(id), Addr: addr.As4()}
	} else {
		local = &unix.SockaddrInet6{Port: int(id), Addr: addr.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "echo")
	defer file.Close() // FilePacketConn works on a duplicate
	if err := unix.Bind(fd, local); err != nil {
		return nil, fmt.Errorf("bind to id %d: %w", id, err)
	}
	return net.FilePacketConn(file)
}
