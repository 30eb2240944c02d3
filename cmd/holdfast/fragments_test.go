package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"holdfast/internal/lab"
)

// pinger sends echo requests of any size from a host, and waits for the answers.
type pinger struct {
	conn   net.PacketConn
	family int // 0: IPv4, 1: IPv6
	to     netip.Addr
	seq    uint16
	buf    [1 << 16]byte
}

// newPinger makes one; what its kernel cuts, it cuts for a link of 1500 bytes.
func newPinger(t *testing.T, from *lab.Namespace, family int, to netip.Addr) *pinger {
	t.Helper()
	network, any := "ip4:icmp", "0.0.0.0"
	if family == 1 {
		network, any = "ip6:ipv6-icmp", "::"
	}
	conn, err := from.ListenPacket(network, any)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &pinger{conn: conn, family: family, to: to}
}

// answered sends a request with so many bytes of data until its answer comes, and reports
// whether that has the same data. Lost ones are sent again: the lab's machine is shared.
func (p *pinger) answered(size int) error {
	p.seq++
	request, reply := byte(8), byte(0)
	if p.family == 1 {
		request, reply = 128, 129
	}
	message := make([]byte, 8+size)
	for i := range message {
		message[i] = byte(i*31 + i>>8 + int(p.seq))
	}
	copy(message, []byte{request, 0, 0, 0, 0x48, 0x46, byte(p.seq >> 8), byte(p.seq)})
	if p.family == 0 { // in IPv6 the kernel computes it
		var total uint32
		for i := 0; i < len(message); i += 2 {
			total += uint32(message[i]) << 8
			if i+1 < len(message) {
				total += uint32(message[i+1])
			}
		}
		for total > 0xffff {
			total = total&0xffff + total>>16
		}
		binary.BigEndian.PutUint16(message[2:], ^uint16(total))
	}
	for range 5 {
		if _, err := p.conn.WriteTo(message, &net.IPAddr{IP: p.to.AsSlice()}); err != nil {
			return err
		}
		if err := p.conn.SetReadDeadline(time.Now().Add(patience / 10)); err != nil {
			return err
		}
		for {
			n, _, err := p.conn.ReadFrom(p.buf[:])
			if err != nil {
				break // not in time
			}
			got := p.buf[:n]
			if n < 8 || got[0] != reply || !bytes.Equal(got[4:8], message[4:8]) {
				continue // the answer to another
			}
			if !bytes.Equal(got[8:], message[8:]) {
				return fmt.Errorf("%d bytes came back, not the %d that were sent", n-8, size)
			}
			return nil
		}
	}
	return fmt.Errorf("no answer to %d bytes", size)
}

// pingSizes are the sizes of data around the boundaries of pieces for links of 1500 bytes,
// the largest there is, and random ones: 1,000 of them in a soak.
func pingSizes() (sizes []int) {
	for _, pieces := range []int{1, 2, 3, 7, 44} {
		for around := -1; around <= 1; around++ {
			sizes = append(sizes, pieces*1480-8+around, pieces*1448-8+around) // IPv4, IPv6
		}
	}
	sizes = append(sizes, 0, 65506, 65507)
	random, seed := 12, uint64(time.Now().UnixNano())
	if os.Getenv("HOLDFAST_SOAK") != "" {
		random = 1000
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for range random {
		sizes = append(sizes, r.IntN(65508))
	}
	return sizes
}

// TestK1_PingOfEverySize: the kernels at both ends cut and join; in between the node
// translates IPv4, also where a link cuts further (K8). The node itself answers as well (L8).
func TestK1_PingOfEverySize(t *testing.T) {
	t.Parallel()
	p := newPath(t, mtus{})
	for family, name := range families {
		t.Run(name, func(t *testing.T) {
			through := newPinger(t, p.client, family, pathServer[family])
			for _, size := range pingSizes() {
				if err := through.answered(size); err != nil {
					t.Error(err)
				}
			}
			itself := newPinger(t, p.client, family, pathHops[family][1])
			for _, size := range []int{56, 1472, 1473, 3000, 30000, 65507} {
				if err := itself.answered(size); err != nil {
					t.Errorf("the node: %v", err)
				}
			}
		})
	}
	if t.Failed() {
		t.Logf("%s", p.node.tell(t, "drops").out)
	}
}

// TestK8_SmallerLinkBehindUs: pieces of 1500 bytes go on over a link of 1400, which in IPv6
// their sender must be told of first.
func TestK8_SmallerLinkBehindUs(t *testing.T) {
	t.Parallel()
	p := newPath(t, mtus{wan: 1400})
	up, err := p.outer.Link("up")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.outer.Handle().LinkSetMTU(up, 1400); err != nil { // both ends of a link have one MTU
		t.Fatal(err)
	}
	for family, name := range families {
		through := newPinger(t, p.client, family, pathServer[family])
		for _, size := range []int{1400, 1472, 1473, 3000, 20000, 65507} {
			if err := through.answered(size); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if t.Failed() {
		t.Logf("%s", p.node.tell(t, "drops").out)
	}
}

// TestK1_DatagramsBothWays: as NFS over UDP does, requests and answers of 8 KiB and more
// that all come in pieces, many under way at once.
func TestK1_DatagramsBothWays(t *testing.T) {
	t.Parallel()
	p := newPath(t, mtus{})
	for family, name := range families {
		at := netip.AddrPortFrom(pathServer[family], 2049).String()
		echo, err := p.server.ListenPacket("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			b := make([]byte, 1<<16)
			for {
				n, from, err := echo.ReadFrom(b)
				if err != nil {
					return // closed
				}
				_, _ = echo.WriteTo(b[:n], from) // lost ones are asked for again
			}
		}()
		conn, err := p.client.Dial(t.Context(), "udp", "", at)
		if err != nil {
			t.Fatal(err)
		}
		sizes := []int{8192 + 120, 32768 + 120, 1473, 65507, 4096, 1472, 9000, 16384}
		missing := map[int]bool{}
		for _, size := range sizes {
			missing[size] = true
		}
		b := make([]byte, 1<<16)
		eventually(t, name+": every datagram came back", func() bool {
			for size := range missing {
				if _, err := conn.Write(pattern(size)); err != nil {
					t.Fatal(err)
				}
			}
			for {
				n, err := read(conn, b)
				if err != nil {
					return len(missing) == 0
				}
				if !bytes.Equal(b[:n], pattern(n)) {
					t.Fatalf("%s: %d bytes came back changed", name, n)
				}
				delete(missing, n)
			}
		})
		conn.Close()
		echo.Close()
		<-done
	}
}

// pattern returns n bytes that depend on n.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*17 + i>>8 + n)
	}
	return b
}
