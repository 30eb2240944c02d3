package gen

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"holdfast/internal/lab"
)

// patience bounds every wait of these tests; none of them takes that long.
const patience = 10 * time.Second

// wire is the shortest topology:
//
//	ns gen [g0 10.1.255.254/16]==veth==[s0 203.0.113.9/24] ns sink
type wire struct {
	gen, sink *lab.Namespace
	g0, s0    int // ifindex, each in its namespace
}

func newWire(t *testing.T) *wire {
	t.Helper()
	l := lab.ForTest(t)
	w := &wire{}
	for name, ns := range map[string]**lab.Namespace{"gen": &w.gen, "sink": &w.sink} {
		var err error
		if *ns, err = l.Namespace(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Veth(
		lab.End{Namespace: w.gen, Name: "g0", MAC: macG0, Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.255.254/16")}},
		lab.End{Namespace: w.sink, Name: "s0", MAC: macS0, Addresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.9/24")}},
	); err != nil {
		t.Fatal(err)
	}
	w.g0, w.s0 = index(t, w.gen, "g0"), index(t, w.sink, "s0")
	return w
}

var (
	macG0 = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	macS0 = net.HardwareAddr{2, 0, 0, 0, 0, 1}
)

func index(t *testing.T, ns *lab.Namespace, link string) int {
	t.Helper()
	l, err := ns.Link(link)
	if err != nil {
		t.Fatal(err)
	}
	return l.Attrs().Index
}

// flows are flows from g0 to s0.
func (w *wire) flows(count uint32, size Size) Flows {
	return Flows{
		DstMAC: macS0, SrcMAC: macG0, Src: netip.MustParseAddr("10.1.0.1"), Dst: netip.MustParseAddr("203.0.113.9"),
		DstPort: 9, Count: count, Ifindex: w.g0, Size: size,
	}
}

// in runs fn in a namespace and fails the test with its error.
func in(t *testing.T, ns *lab.Namespace, fn func() error) {
	t.Helper()
	if err := ns.Do(fn); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// capture collects IPv4 frames that a link receives. Frames that the link's XDP program
// drops or sends back are not seen.
func capture(t *testing.T, ns *lab.Namespace, link string) *lab.Capture {
	t.Helper()
	c, err := ns.Capture(link, lab.CaptureOptions{Filter: func(f []byte) bool { return f[12] == 8 && f[13] == 0 }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// receivable lets a veth end take redirected frames up to its kernel: it takes them only
// with an XDP program or with GRO on (drivers/net/veth.c, veth_xdp_xmit).
func receivable(t *testing.T, ns *lab.Namespace, link string) {
	t.Helper()
	if err := ns.OffloadsOn(link, lab.GRO); err != nil {
		t.Fatal(err)
	}
}

// decoded is what gopacket says of a frame: addresses, ports, lengths and checksums of
// IPv4, UDP and TCP have been checked.
type decoded struct {
	ip     *layers.IPv4
	udp    *layers.UDP
	tcp    *layers.TCP
	source netip.AddrPort
	length int // of the frame
	mark   Mark
	marked bool
}

func decode(t *testing.T, frame []byte) decoded {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
	ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok || p.ErrorLayer() != nil {
		t.Fatalf("not IPv4: %v", p)
	}
	d := decoded{ip: ip, length: len(frame)}
	d.udp, _ = p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	d.tcp, _ = p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	var port uint16
	var payload, segment []byte
	switch {
	case d.udp != nil:
		port, payload = uint16(d.udp.SrcPort), d.udp.Payload
		segment = append(append(segment, d.udp.Contents...), payload...)
	case d.tcp != nil:
		port, payload = uint16(d.tcp.SrcPort), d.tcp.Payload
		segment = append(append(segment, d.tcp.Contents...), payload...)
	default:
		t.Fatalf("neither UDP nor TCP: %v", p)
	}
	addr, _ := netip.AddrFromSlice(ip.SrcIP.To4())
	d.source = netip.AddrPortFrom(addr, port)
	d.mark, d.marked = ParseMark(payload)
	if sum := onesSum(0, ip.Contents); sum != 0xffff {
		t.Fatalf("checksum of the IPv4 header is wrong: %v", p)
	}
	pseudo := append(append(append([]byte(nil), ip.SrcIP.To4()...), ip.DstIP.To4()...), 0, byte(ip.Protocol), byte(len(segment)>>8), byte(len(segment)))
	if sum := onesSum(onesSum(0, pseudo), segment); sum != 0xffff {
		t.Fatalf("checksum of the segment is wrong: %v", p)
	}
	return d
}

// onesSum is the one's complement sum of RFC 1071.
func onesSum(sum uint32, b []byte) uint32 {
	for i, v := range b {
		sum += uint32(v) << (8 * (1 - i&1))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum
}

// inSteps sends in steps that a capture can follow: a veth's ring has 256 places.
func inSteps(send func(time.Duration, uint64) (uint64, error), count uint64, c *lab.Capture) error {
	const step = 200
	deadline := time.Now().Add(patience)
	for sent := uint64(0); sent < count; {
		made, err := send(patience, min(step, count-sent))
		if err != nil {
			return err
		}
		for sent += made; uint64(c.Count()) < sent; {
			if time.Now().After(deadline) {
				return fmt.Errorf("%d of %d frames arrived", c.Count(), sent)
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	return nil
}
