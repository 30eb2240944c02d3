package packet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab"
)

// kernelHost is one of two hosts on a wire, and what arrives at it:
//
//	client (c0, 10.0.0.2, 2001:db8:1::2) ------ server (s0, 10.0.0.9, 2001:db8:1::9)
//
// A frame of ours to one host leaves by the other's end of the wire, as from a firewall
// between them.
type kernelHost struct {
	t       *testing.T
	ns      *lab.Namespace
	link    string
	mac     MAC
	address [2]netip.Addr // IPv4, IPv6
	heard   *lab.Capture
	peer    *kernelHost
}

func kernelHosts(t *testing.T) (client, server *kernelHost) {
	l := lab.ForTest(t)
	host := func(name, v4, v6 string, mac MAC) *kernelHost {
		ns, err := l.Namespace(name)
		if err != nil {
			t.Fatal(err)
		}
		return &kernelHost{t: t, ns: ns, link: name[:1] + "0", mac: mac, address: [2]netip.Addr{netip.MustParseAddr(v4), netip.MustParseAddr(v6)}}
	}
	client = host("client", client4, client6, macHost)
	server = host("server", "10.0.0.9", "2001:db8:1::9", macWall)
	client.peer, server.peer = server, client
	end := func(h *kernelHost) lab.End {
		return lab.End{
			Namespace: h.ns, Name: h.link, MAC: h.mac[:],
			Addresses: []netip.Prefix{netip.PrefixFrom(h.address[0], 24), netip.PrefixFrom(h.address[1], 64)},
		}
	}
	if err := l.Veth(end(client), end(server)); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*kernelHost{client, server} {
		for _, a := range h.address { // checksums and neighbours as from a wire
			if err := h.peer.ns.Neighbor(h.peer.link, a, h.mac[:]); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.ns.OffloadsOff(h.link); err != nil {
			t.Fatal(err)
		}
		var err error
		if h.heard, err = h.ns.Capture(h.link, lab.CaptureOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return client, server
}

// inject sends a frame to the host.
func (h *kernelHost) inject(frame []byte) {
	h.t.Helper()
	from := h.peer
	link, err := from.ns.Link(from.link)
	if err != nil {
		h.t.Fatal(err)
	}
	err = from.ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		return errors.Join(unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index}), unix.Close(fd))
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// await returns the last packet that came to the host and that wanted accepts, which may
// take a while.
func (h *kernelHost) await(what string, wanted func(*Parsed) bool) (frame []byte, p Parsed) {
	h.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		frames := h.heard.Frames()
		for i := len(frames) - 1; i >= 0; i-- {
			if Decode(frames[i].Data, &p); p.Kind == KindIP && wanted(&p) {
				return frames[i].Data, p
			}
		}
	}
	h.t.Fatalf("no %s came", what)
	return nil, p
}

// count returns how many packets came to the host that wanted accepts.
func (h *kernelHost) count(wanted func(*Parsed) bool) (n int) {
	for _, f := range h.heard.Frames() {
		var p Parsed
		if Decode(f.Data, &p); p.Kind == KindIP && wanted(&p) {
			n++
		}
	}
	return n
}

// connect opens a connection and sends a few bytes each way; port is that of the client.
func connect(t *testing.T, client, server *kernelHost, family int) (c, s net.Conn, port uint16) {
	listener, err := server.ns.Listen("tcp", netip.AddrPortFrom(server.address[family], 443).String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if c, err = client.ns.Dial(context.Background(), "tcp", "", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if s, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	for _, way := range [][2]net.Conn{{c, s}, {s, c}} {
		if err := way[1].SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(way[0], "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(way[1], make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
	}
	return c, s, c.LocalAddr().(*net.TCPAddr).AddrPort().Port()
}

// fails reads until the socket reports an error, and compares it.
func fails(t *testing.T, c net.Conn, want error) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Errorf("read %d bytes, error %v, want %v", n, err, want)
	}
}

// TestAbortEndsKernelConnections: a reset with the exact number ends the kernel's connection
// at once; one that is off by one draws a challenge ACK, and its answer ends it (RFC 5961).
func TestAbortEndsKernelConnections(t *testing.T) {
	client, server := kernelHosts(t)
	for family := range 2 {
		c, s, port := connect(t, client, server, family)
		toClient := Tuple{
			Src: AddrFrom(server.address[family]), Dst: AddrFrom(client.address[family]), SrcPort: 443, DstPort: port, Proto: TCP,
		}
		toServer := toClient.Reply()
		// What a tracker knows: the number after the last byte of each side.
		sent := func(h *kernelHost, tuple Tuple) uint32 {
			_, p := h.await("data", func(p *Parsed) bool { return p.Tuple == tuple && p.TCPFlags&FlagPSH != 0 })
			return p.Seq + p.SegmentLen()
		}
		byServer, byClient := sent(client, toClient), sent(server, toServer)

		// The server first, the hard way; its client lives and so says nothing of its own.
		isChallenge := func(p *Parsed) bool {
			return p.Tuple == toClient && p.TCPFlags == FlagACK && p.SegmentLen() == 0
		}
		before := client.count(isChallenge)
		buf := dirty(AbortLen)
		a := Abort{To: server.mac, From: client.mac, Tuple: toServer, Seq: byClient + 1, Ack: byServer}
		server.inject(buf[:AppendAbort(buf, &a)])
		challenge, p := client.await("challenge ACK", func(p *Parsed) bool {
			return isChallenge(p) && client.count(isChallenge) > before
		})
		if p.Ack != byClient {
			t.Errorf("IPv%d: the server expects %d, not %d", p.Version, p.Ack, byClient)
		}
		answer := dirty(AbortLen)
		server.inject(answer[:AppendReset(answer, challenge, &p)])
		fails(t, s, unix.ECONNRESET)

		a = Abort{To: client.mac, From: server.mac, Tuple: toClient, Seq: byServer, Ack: byClient}
		client.inject(buf[:AppendAbort(buf, &a)])
		fails(t, c, unix.ECONNRESET)
	}
}

// TestAbortEndsKernelSYN: a client whose SYN went unanswered believes the reset by its
// acknowledgement, and the error by its quoted number.
func TestAbortEndsKernelSYN(t *testing.T) {
	client, server := kernelHosts(t)
	nobody := [2]netip.Addr{netip.MustParseAddr("10.0.0.77"), netip.MustParseAddr("2001:db8:1::77")}
	for family, remote := range nobody {
		if err := client.ns.Neighbor(client.link, remote, server.mac[:]); err != nil {
			t.Fatal(err)
		}
		for port, want := range map[uint16]error{443: unix.ECONNREFUSED, 444: [2]error{unix.EHOSTUNREACH, unix.EACCES}[family]} {
			done := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				c, err := client.ns.Dial(ctx, "tcp", "", netip.AddrPortFrom(remote, port).String())
				if err == nil {
					c.Close()
				}
				done <- err
			}()
			_, syn := server.await("SYN", func(p *Parsed) bool {
				return p.TCPFlags&FlagSYN != 0 && p.Tuple.Dst == AddrFrom(remote) && p.Tuple.DstPort == port
			})
			buf := dirty(ProhibitionLen)
			if port == 443 {
				a := Abort{To: client.mac, From: server.mac, Tuple: syn.Tuple.Reply(), Ack: syn.Seq + 1}
				client.inject(buf[:AppendAbort(buf, &a)])
			} else {
				r := Prohibition{To: client.mac, From: server.mac, Source: AddrFrom(server.address[family]), Tuple: syn.Tuple, Seq: syn.Seq}
				client.inject(buf[:AppendProhibition(buf, &r)])
			}
			if err := <-done; !errors.Is(err, want) {
				t.Errorf("%v port %d: %v, want %v", remote, port, err, want)
			}
		}
	}
}

// TestProhibitionReachesKernelSockets: a connected datagram socket reports the error.
func TestProhibitionReachesKernelSockets(t *testing.T) {
	client, server := kernelHosts(t)
	for family, want := range []error{unix.EHOSTUNREACH, unix.EACCES} {
		listener, err := server.ns.ListenPacket("udp", netip.AddrPortFrom(server.address[family], 53).String())
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		c, err := client.ns.Dial(context.Background(), "udp", "", listener.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "question"); err != nil {
			t.Fatal(err)
		}
		_, p := server.await("question", func(p *Parsed) bool {
			return p.Tuple.Proto == UDP && p.Tuple.DstPort == 53 && p.Version == uint8(4+2*family)
		})
		r := Prohibition{To: client.mac, From: server.mac, Source: AddrFrom(server.address[family]), Tuple: p.Tuple}
		buf := dirty(ProhibitionLen)
		client.inject(buf[:AppendProhibition(buf, &r)])
		fails(t, c, want)
	}
}
