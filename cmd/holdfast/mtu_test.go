package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallMTU is what some link of a path carries.
const smallMTU = 1400

// transferSize is enough for many full segments, in bytes.
const transferSize = 1 << 20

// TestL4_PathMTUDiscovery: the kernels' TCP find a smaller MTU on their way and send whole
// files past it, in both families, IPv4 through masquerade. Who tells them is a router
// before us (whose error goes out translated, H3), a router behind us (whose error comes
// in translated, H1), or we ourselves (L3).
func TestL4_PathMTUDiscovery(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		mtus     mtus
		download bool // data goes from the server to the client
	}{
		{"behind us", mtus{inner: smallMTU}, true},
		{"in front of us", mtus{outer: smallMTU}, false},
		{"our own link", mtus{wan: smallMTU, outer: 1500}, false},
	} {
		p := newPath(t, row.mtus)
		for family := range families {
			t.Run(row.name+" over "+families[family], func(t *testing.T) {
				p.transfer(t, pathServer[family], row.download)
			})
		}
		p.node.stop(t, unix.SIGTERM)
	}
}

// transfer sends a file between client and server, and checks that it arrived, and that
// the sender knows the path's MTU.
func (p *path) transfer(t *testing.T, to netip.Addr, download bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	at := netip.AddrPortFrom(to, 8080).String()
	l, err := p.server.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- conn
	}()
	client, err := p.client.Dial(ctx, "tcp", "", at)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, ok := <-accepted
	if !ok {
		t.Fatal("nothing accepted")
	}
	defer server.Close()
	from, into := client, server
	if download {
		from, into = server, client
	}
	if err := send(from, into); err != nil {
		t.Fatal(err)
	}
	if mtu, err := pathMTU(from.(*net.TCPConn), to); err != nil || mtu != smallMTU {
		t.Errorf("the sender thinks that the path carries %d bytes (%v), want %d", mtu, err, smallMTU)
	}
}

// send sends a file and reports whether it arrived whole.
func send(from, into net.Conn) error {
	file := make([]byte, transferSize)
	for i := range file {
		file[i] = byte(i * 7 >> 3)
	}
	deadline := time.Now().Add(patience)
	if err := from.SetDeadline(deadline); err != nil {
		return err
	}
	if err := into.SetDeadline(deadline); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := from.Write(file)
		if err == nil {
			err = from.(*net.TCPConn).CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(into)
	if err != nil {
		return fmt.Errorf("after %d bytes: %w", len(got), err)
	}
	if err := <-sent; err != nil {
		return err
	}
	if sha256.Sum256(got) != sha256.Sum256(file) {
		return fmt.Errorf("%d bytes arrived, and not those that were sent", len(got))
	}
	return nil
}

// pathMTU asks the kernel what it knows of a connection's path (ip(7), IP_MTU).
func pathMTU(conn *net.TCPConn, to netip.Addr) (mtu int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	level, name := unix.IPPROTO_IP, unix.IP_MTU
	if to.Is6() {
		level, name = unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	if cerr := raw.Control(func(fd uintptr) { mtu, err = unix.GetsockoptInt(int(fd), level, name) }); cerr != nil {
		return 0, cerr
	}
	return mtu, err
}

// TestL2_SilentNeighbor: who speaks to an address where nobody is hears of it, from the
// node, in both families.
func TestL2_SilentNeighbor(t *testing.T) {
	t.Parallel()
	p := newPath(t, mtus{})
	for family, nobody := range []string{"203.0.113.77", "2001:db8:2::77"} {
		t.Run(families[family], func(t *testing.T) {
			to := netip.MustParseAddr(nobody)
			got, err := probes["UDP"].send(p.client, to, 4000, 64)
			if err != nil || got.from != pathHops[family][1] || got.farthest {
				t.Errorf("%+v, %v; want an error from the node", got, err)
			}
		})
	}
}
