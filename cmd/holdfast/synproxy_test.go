package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
	"holdfast/internal/lab"
)

// Addresses and numbers of the scenario.
var (
	proxyClient = [2]netip.Addr{client, netip.MustParseAddr("fd00::10")}
	proxyServer = [2]netip.Addr{server, netip.MustParseAddr("2001:db8:9::10")}
	lanMAC      = net.HardwareAddr{2, 0x48, 0x46, 0, 0, 1} // the shared one, of policyText
)

const (
	proxyPort  = 5000
	proxyTable = 2000     // connections
	proxyBytes = 32 << 20 // of a download: more than all buffers between its ends hold
	floodMost  = 100_000  // frames of a flood
	floodBurst = 20       // of them a millisecond at most
)

const proxyRules = `
[[rules]]
id = "six"
action = "pass"
in = "lan"
out = "wan"
from = ["fd00::/64"]
`

// synFlood sends SYNs with forged sources of both families into a link, no two alike, until
// it is stopped or has sent floodMost.
type synFlood struct {
	stop func()
	sent int // valid after stop
}

func (s *site) flood(t *testing.T) *synFlood {
	t.Helper()
	ns, err := s.lab.Namespace("forger-wire")
	if err == nil {
		err = errors.Join(s.lab.Veth(lab.End{Namespace: ns, Name: "w0"}, lab.End{Namespace: s.switches, Name: "w0"}), s.switches.Attach("lan", "w0"))
	}
	if err != nil {
		t.Fatal(err)
	}
	wire, err := ns.Wire("w0")
	if err != nil {
		t.Fatal(err)
	}
	f := &synFlood{}
	quit, done := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.stop = func() {
		once.Do(func() {
			close(quit)
			<-done
			wire.Close()
		})
	}
	t.Cleanup(f.stop)
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		r := rand.New(rand.NewPCG(16, 16))
		for f.sent < floodMost {
			for range floodBurst {
				if err := wire.Send(forgedSYN(r, f.sent)); err == nil { // ENOBUFS: the link is full
					f.sent++
				}
			}
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	}()
	return f
}

// forgedSYN builds the n-th SYN of a flood.
func forgedSYN(r *rand.Rand, n int) []byte {
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 9, 9}, DstMAC: lanMAC, EthernetType: layers.EthernetTypeIPv4}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(1024 + n/2%60000), DstPort: proxyPort, Seq: r.Uint32(), SYN: true, Window: 64240}
	host := byte(100 + n/2/60000 + r.IntN(100))
	var ip gopacket.SerializableLayer
	if n%2 == 0 {
		four := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.IP{10, 0, 0, host}, DstIP: proxyServer[0].AsSlice()}
		_ = tcp.SetNetworkLayerForChecksum(four)
		ip = four
	} else {
		from := proxyClient[1].As16()
		from[15] = host
		six := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: from[:], DstIP: proxyServer[1].AsSlice()}
		_ = tcp.SetNetworkLayerForChecksum(six)
		eth.EthernetType, ip = layers.EthernetTypeIPv6, six
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// attempts counts the connections that SYNs at the server wanted to open.
type attempts struct {
	mu   sync.Mutex
	seen map[netip.AddrPort]bool
}

func (a *attempts) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.seen)
}

// watch sees every SYN that the server's link receives.
func (s *site) attempts(t *testing.T) *attempts {
	t.Helper()
	a := &attempts{seen: map[netip.AddrPort]bool{}}
	c, err := s.server.Capture("s0", lab.CaptureOptions{Keep: 1, Filter: func(frame []byte) bool {
		p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
		tcp, ok := p.TransportLayer().(*layers.TCP)
		if !ok || !tcp.SYN || tcp.ACK {
			return false
		}
		from, _ := netip.AddrFromSlice(p.NetworkLayer().NetworkFlow().Src().Raw())
		a.mu.Lock()
		a.seen[netip.AddrPortFrom(from, uint16(tcp.SrcPort))] = true
		a.mu.Unlock()
		return true
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// proxySite is a site with both families whose rules have SYNs answered, and a server that
// sends proxyBytes to whoever connects. It returns their hash.
func proxySite(t *testing.T, when string) (s *site, want [sha256.Size]byte) {
	t.Helper()
	s = newSite(t, 0)
	for _, p := range s.places {
		p.files.replace("policy.toml", `"203.0.113.2/24"`, `"203.0.113.2/24", "2001:db8:9::2/64"`)
		p.files.replace("policy.toml", `"10.0.0.1/24"`, `"10.0.0.1/24", "fd00::1/64"`)
		p.files.replace("policy.toml", "[[rules]]\nid = \"inside-out\"", fmt.Sprintf("[defaults]\nsyn_proxy = %q\n%s\n[[rules]]\nid = \"inside-out\"", when, proxyRules))
		p.files.replace("node.toml", "[devices]", fmt.Sprintf("[limits]\nconnections = %d\n\n[devices]", proxyTable))
	}
	if err := errors.Join(s.client.Address("c0", netip.PrefixFrom(proxyClient[1], 64)), s.server.Address("s0", netip.PrefixFrom(proxyServer[1], 64)),
		s.client.DefaultRoute(netip.MustParseAddr("fd00::1")), s.server.DefaultRoute(netip.MustParseAddr("2001:db8:9::2"))); err != nil {
		t.Fatal(err)
	}
	body := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{16}), proxyBytes) }
	h := sha256.New()
	if _, err := io.Copy(h, body()); err != nil {
		t.Fatal(err)
	}
	h.Sum(want[:0])
	for _, at := range proxyServer {
		l, err := s.server.Listen("tcp", netip.AddrPortFrom(at, proxyPort).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return // closed
				}
				go func() {
					defer conn.Close()
					_, _ = io.Copy(struct{ io.Writer }{conn}, body()) // the client tells what is missing
				}()
			}
		}()
	}
	return s, want
}

// download is one that has begun.
type download struct {
	conn net.Conn
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
}

// read takes the next bytes of it.
func (d *download) read(t *testing.T, n int64) {
	t.Helper()
	if err := d.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.CopyN(struct{ io.Writer }{d.hash}, d.conn, n); err != nil {
		t.Fatalf("%v: after %d of %d bytes: %v", d.conn.RemoteAddr(), got, n, err)
	}
}

// begin connects with each family and takes half of what comes.
func (s *site) beginDownloads(t *testing.T) (all []*download) {
	t.Helper()
	for _, to := range proxyServer {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		conn, err := s.client.Dial(ctx, "tcp", "", netip.AddrPortFrom(to, proxyPort).String())
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		d := &download{conn, sha256.New()}
		d.read(t, proxyBytes/2)
		all = append(all, d)
	}
	return all
}

// finish takes the rest and compares.
func finishDownloads(t *testing.T, all []*download, want [sha256.Size]byte) {
	t.Helper()
	for _, d := range all {
		d.read(t, proxyBytes-proxyBytes/2)
		if got := [sha256.Size]byte(d.hash.Sum(nil)); got != want {
			t.Errorf("%v: the bytes are others", d.conn.RemoteAddr())
		}
	}
}

// proxiedAt returns how many complete connections of the downloads a daemon knows as proxied.
func proxiedAt(t *testing.T, d *daemon) (n int) {
	t.Helper()
	var list api.Conns
	strict(t, d.tell(t, "conns", "--json", "state=established", fmt.Sprintf("dport=%d", proxyPort)).out, &list)
	for _, c := range list.Connections {
		if c.Proxied && c.State == "ESTABLISHED" && c.Assured {
			n++
		}
	}
	return n
}

// TestB16_FloodBetweenKernels: while forged SYNs of both families come, downloads through a
// pair of nodes begin and bring the right bytes, also when the active node is killed amid
// them. With "always" the server sees no SYN of the flood and the table holds none; with
// "adaptive" no more than what it takes to be noticed.
func TestB16_FloodBetweenKernels(t *testing.T) {
	for when, most := range map[string]int{
		"always":   0,
		"adaptive": proxyTable/4 + 2*256, // two workers, each of which looks every 256 SYNs
	} {
		t.Run(when, func(t *testing.T) {
			s, want := proxySite(t, when)
			a, b := s.startPair(t)
			seen := s.attempts(t)
			flood := s.flood(t)
			var st api.Status
			look := func(d *daemon) bool {
				var err error
				st, err = d.ask()
				// The downloads' own are half-open for a moment, too.
				if err == nil && st.SynProxy.HalfOpen > most+2 {
					t.Fatalf("%d connections are half-open, want at most %d", st.SynProxy.HalfOpen, most)
				}
				return err == nil
			}
			eventually(t, "the flood is answered", func() bool { return look(a) && st.SynProxy.Answered > 1000 })
			if st.SynProxy.Flooded != (when == "adaptive") {
				t.Errorf("%+v", st.SynProxy)
			}

			downloads := s.beginDownloads(t)
			if n := proxiedAt(t, a); n != len(downloads) {
				t.Errorf("conns shows %d proxied connections, want %d", n, len(downloads))
			}
			if look(a); st.SynProxy.Proven < uint64(len(downloads)) {
				t.Errorf("%+v", st.SynProxy)
			}
			if text := a.tell(t, "status").out; !strings.Contains(text, "syn proxy") {
				t.Errorf("status says nothing of it:\n%s", text)
			}
			eventually(t, "fw-b knows the downloads", func() bool { return proxiedAt(t, b) == len(downloads) })
			a.stop(t, unix.SIGKILL)
			eventually(t, "fw-b is active", func() bool { return b.group().Role == "active" })
			finishDownloads(t, downloads, want)
			eventually(t, "the flood is answered by fw-b", func() bool { return look(b) && st.SynProxy.Answered > 100 })
			again := s.beginDownloads(t)
			finishDownloads(t, again, want)
			flood.stop()

			if got := seen.count(); got < 4 || got > 4+2*most {
				t.Errorf("the server saw SYNs of %d connections after %d forged ones, want 4 and at most %d more", got, flood.sent, 2*most)
			}
			if flood.sent >= floodMost {
				t.Logf("the flood of %d ended before the test", flood.sent)
			}
		})
	}
}
