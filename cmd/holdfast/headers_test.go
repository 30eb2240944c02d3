package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
	"holdfast/internal/lab"
)

// extension is a header that a kernel puts in front of what a socket sends, by a socket
// option (RFC 3542 sections 6 to 9), and what tells that it arrived.
type extension struct {
	option int // to send it, and the type of what arrives with the datagram
	tell   int
	bytes  []byte
}

var (
	hopByHop = extension{unix.IPV6_HOPOPTS, unix.IPV6_RECVHOPOPTS, []byte{0, 0, 0x1e, 4, 'h', 'o', 'p', '!'}}
	destOpts = extension{unix.IPV6_DSTOPTS, unix.IPV6_RECVDSTOPTS, []byte{0, 0, 0x1e, 4, 'd', 'e', 's', 't'}}
)

// segmentRouting is a segment routing header (RFC 8754 section 2) with these stops left before
// the final one.
//
//	0      1        2      3      4      5       6     8
//	+------+--------+------+------+------+-------+-----+------------+-- -
//	| next | length | 4    | left | last | flags | tag | final stop | ...
//	+------+--------+------+------+------+-------+-----+------------+-- -
func segmentRouting(final netip.Addr, stops ...netip.Addr) extension {
	n := byte(len(stops))
	b := append([]byte{0, 2 * (n + 1), 4, n, n, 0, 0, 0}, final.AsSlice()...)
	for _, s := range stops {
		b = append(b, s.AsSlice()...)
	}
	return extension{unix.IPV6_RTHDR, unix.IPV6_RECVRTHDR, b}
}

// headed is a UDP socket inside ns whose datagrams have these headers, and that hears of
// those of others.
func headed(t *testing.T, ns *lab.Namespace, at netip.AddrPort, headers ...extension) *net.UDPConn {
	t.Helper()
	conn, err := ns.ListenPacket("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	u := conn.(*net.UDPConn)
	raw, err := u.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var errs []error
	if err := raw.Control(func(fd uintptr) {
		for _, tell := range []int{unix.IPV6_RECVHOPOPTS, unix.IPV6_RECVDSTOPTS, unix.IPV6_RECVRTHDR} {
			errs = append(errs, unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, tell, 1))
		}
		for _, h := range headers {
			errs = append(errs, unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, h.option, string(h.bytes)))
		}
	}); err != nil || errors.Join(errs...) != nil {
		t.Fatal(err, errs)
	}
	return u
}

// crosses sends a datagram until it arrives, and checks that it is as it was sent, headers
// included. It returns whom the receiver sees.
func crosses(t *testing.T, what string, from *net.UDPConn, to netip.AddrPort, at *net.UDPConn, size int, headers []extension) (seen netip.AddrPort) {
	t.Helper()
	sent, got, oob := pattern(size), make([]byte, 1<<16), make([]byte, 1<<10)
	eventually(t, what+" arrives", func() bool {
		if _, err := from.WriteToUDPAddrPort(sent, to); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := at.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, oobn, _, peer, err := at.ReadMsgUDPAddrPort(got, oob)
		if err != nil || n != size {
			return false // none, or one of before that was sent twice
		}
		seen = peer
		if !bytes.Equal(got[:n], sent) {
			t.Fatalf("%s: other bytes arrived", what)
		}
		all, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			t.Fatal(err)
		}
		arrived(t, what, all, headers)
		return true
	})
	return seen
}

// arrived checks the headers that came with a datagram: each as it was sent, but for the
// next header that the kernel has filled in, and where a routing header has got to.
func arrived(t *testing.T, what string, all []unix.SocketControlMessage, headers []extension) {
	t.Helper()
	if len(all) != len(headers) {
		t.Errorf("%s: %d headers arrived, %d were sent", what, len(all), len(headers))
	}
	for _, h := range headers {
		i := slices.IndexFunc(all, func(m unix.SocketControlMessage) bool { return int(m.Header.Type) == h.option })
		switch {
		case i < 0 || len(all[i].Data) != len(h.bytes):
			t.Errorf("%s: header of type %d did not arrive whole", what, h.option)
		case h.option == unix.IPV6_RTHDR:
			if got := all[i].Data; got[3] != 0 || !bytes.Equal(got[24:], h.bytes[24:]) {
				t.Errorf("%s: routing header % x, was % x", what, got, h.bytes)
			}
		case !bytes.Equal(all[i].Data[1:], h.bytes[1:]):
			t.Errorf("%s: header % x, was % x", what, all[i].Data, h.bytes)
		}
	}
}

// TestM1_HeadersBetweenKernels: hop-by-hop and destination options and routing headers of
// the kernels' own, in front of whole datagrams and of pieces (K9), through nptv6 and
// through masquerade, both ways: what arrives is what was sent, and its checksum is right,
// with a routing header over the final destination (M5).
func TestM1_HeadersBetweenKernels(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	final := netip.MustParseAddr("2001:db8:3::11")
	if err := h.server.Address("up", netip.PrefixFrom(final, 64)); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []*lab.Namespace{h.alice, h.server} {
		if err := errors.Join(ns.Sysctl("net/ipv6/conf/all/seg6_enabled", "1"), ns.Sysctl("net/ipv6/conf/up/seg6_enabled", "1")); err != nil {
			t.Skipf("skipped, no segment routing in this kernel: %v", err)
		}
	}
	port := uint16(6000)
	for _, row := range []struct {
		name    string
		headers []extension
	}{
		{"hop-by-hop", []extension{hopByHop}},
		{"destination", []extension{destOpts}},
		{"both", []extension{hopByHop, destOpts}},
		{"routing", []extension{segmentRouting(final, pathServer[1])}},
		{"all", []extension{hopByHop, segmentRouting(final, pathServer[1]), destOpts}},
	} {
		for source, as := range map[netip.Addr]netip.Addr{alice[1]: imageOf(alice[1]), aliceOther[1]: nodeWan[1]} {
			t.Run(fmt.Sprintf("%s from %v", row.name, source), func(t *testing.T) {
				port++
				client := headed(t, h.alice, netip.AddrPortFrom(source, port), row.headers...)
				to := pathServer[1]
				routed := slices.ContainsFunc(row.headers, func(e extension) bool { return e.option == unix.IPV6_RTHDR })
				if routed {
					to = final
				}
				at := netip.AddrPortFrom(to, port)
				back := row.headers
				if routed {
					back = nil // its receiver is another than the connection's
				}
				server := headed(t, h.server, at, back...)
				for _, size := range []int{100, 3000, 20000} {
					seen := crosses(t, fmt.Sprintf("up, %d bytes", size), client, at, server, size, row.headers)
					if seen.Addr() != as {
						t.Fatalf("seen as %v, want %v", seen, as)
					}
					if routed {
						continue
					}
					if seen = crosses(t, fmt.Sprintf("down, %d bytes", size), server, seen, client, size, back); seen != at {
						t.Errorf("the answer is seen as from %v", seen)
					}
				}
			})
		}
	}
	t.Run("routing header from outside", func(t *testing.T) {
		back := []extension{hopByHop, segmentRouting(imageOf(alice[1]))} // past its last stop
		server, client := headed(t, h.server, netip.AddrPortFrom(pathServer[1], 6100), back...), headed(t, h.alice, netip.AddrPortFrom(alice[1], 6100))
		for _, size := range []int{100, 3000} {
			crosses(t, fmt.Sprintf("down, %d bytes", size), server, netip.AddrPortFrom(imageOf(alice[1]), 6100), client, size, back)
		}
	})
	t.Run("jumbograms", func(t *testing.T) { jumbogramsDie(t, h) })
	h.node.stop(t, 15)
}

// jumbogramsDie: a packet that says that it is one (RFC 2675) is dropped by name (M6). No
// kernel would send it over such a link.
func jumbogramsDie(t *testing.T, h *house) {
	s := speaks(t, h.inner, h.node.place.Namespace, "hf-lan")
	frame := append(append([]byte{}, s.via...), s.mac...)
	frame = append(frame, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 0, 64)
	frame = append(append(frame, alice[1].AsSlice()...), pathServer[1].AsSlice()...)
	frame = append(append(frame, 17, 0, 0xc2, 4, 0, 1, 0, 0), pattern(1000)...)
	eventually(t, "a jumbogram is counted", func() bool {
		if err := s.wire.Send(frame); err != nil {
			t.Fatal(err)
		}
		var drops api.Drops
		strict(t, h.node.tell(t, "drops", "--json").out, &drops)
		return slices.ContainsFunc(drops.Ports, func(p api.PortDrops) bool { return p.Port == "lan" && p.Receive["ipv6-jumbogram"] > 0 })
	})
}
