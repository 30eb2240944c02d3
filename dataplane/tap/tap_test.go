package tap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/dataplane/packet"
	"holdfast/internal/lab"
)

// patience bounds every wait of these tests; none of them takes that long.
const patience = 10 * time.Second

// The face of port lan, and a host of its network, which the tests play.
//
//	test as host  --Write-->  hf-lan 192.0.2.1/24  kernel of the namespace
//	192.0.2.9     <--Read---         2001:db8::1/64
//	2001:db8::9
var (
	shared   = packet.MAC{2, 0, 0x5e, 0, 1, 1}
	sharedHW = net.HardwareAddr(shared[:])
	host     = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	config   = Config{Name: Name("lan"), MAC: shared, MTU: 1500, Addresses: []netip.Prefix{
		netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")}}

	tap4, tap6   = net.ParseIP("192.0.2.1").To4(), net.ParseIP("2001:db8::1")
	host4, host6 = net.ParseIP("192.0.2.9").To4(), net.ParseIP("2001:db8::9")
)

// roleVariable makes the test binary play a daemon that holds the device.
const roleVariable = "HOLDFAST_TAP_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "" {
		os.Exit(m.Run())
	}
	if _, err := Open(config); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		_ = unix.Pause()
	}
}

// bench is a namespace with the face of one port.
type bench struct {
	*Tap
	node *lab.Namespace
}

func newBench(t *testing.T) *bench {
	t.Helper()
	node := must(lab.ForTest(t).Namespace("node"))(t)
	for path, value := range map[string]string{"accept_dad": "1", "dad_transmits": "1", "router_solicitations": "3", "accept_ra": "1"} {
		check(t, node.Sysctl("net/ipv6/conf/default/"+path, value)) // as outside the laboratory
	}
	b := &bench{node: node, Tap: must(open(node, config))(t)}
	t.Cleanup(func() { check(t, b.Close()) })
	return b
}

func open(node *lab.Namespace, c Config) (tap *Tap, err error) {
	err = node.Do(func() (err error) {
		tap, err = Open(c)
		return err
	})
	return tap, err
}

// write hands a frame of these layers to the kernel.
func (b *bench) write(t *testing.T, ls ...gopacket.SerializableLayer) {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	check(t, gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...))
	n, err := b.Write(buffer.Bytes())
	check(t, err)
	if n != len(buffer.Bytes()) {
		t.Fatalf("%d bytes written of %d", n, len(buffer.Bytes()))
	}
}

// expect reads frames until one is as wanted, and fails on those of the kernel's own
// accord that must not be.
func (b *bench) expect(t *testing.T, what string, wanted func(gopacket.Packet) bool) (found gopacket.Packet) {
	t.Helper()
	return b.askUntil(t, what, func() {}, wanted)
}

// askUntil is expect that asks again as long as there is nothing to read: the kernel joins
// the groups of its IPv6 addresses by a work queue of its own, on a busy machine late.
func (b *bench) askUntil(t *testing.T, what string, ask func(), wanted func(gopacket.Packet) bool) (found gopacket.Packet) {
	t.Helper()
	buffer := make([]byte, 2048)
	eventually(t, what, func() bool {
		n, err := b.Read(buffer)
		check(t, err)
		if n == 0 {
			ask()
			return false
		}
		found = gopacket.NewPacket(bytes.Clone(buffer[:n]), layers.LayerTypeEthernet, gopacket.Default)
		if found.Layer(layers.LayerTypeICMPv6RouterSolicitation) != nil {
			t.Errorf("the kernel asks for routers: %v", found)
		}
		if ip, ok := found.Layer(layers.LayerTypeIPv6).(*layers.IPv6); ok &&
			ip.SrcIP.IsUnspecified() && found.Layer(layers.LayerTypeICMPv6NeighborSolicitation) != nil {
			t.Errorf("the kernel looks for duplicate addresses: %v", found)
		}
		return wanted(found)
	})
	return found
}

func (b *bench) ping(t *testing.T) {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: host4, DstIP: tap4}
	b.write(t, ethernet(sharedHW, layers.EthernetTypeIPv4), ip,
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7, Seq: 1}, gopacket.Payload("hold fast"))
	b.expect(t, "the echo reply", func(p gopacket.Packet) bool {
		b.answerARP(t, p)
		icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		return ok && icmp.TypeCode.Type() == 0 && icmp.Id == 7 && string(icmp.Payload) == "hold fast"
	})
}

// answerARP answers where the kernel asks who has the host's address.
func (b *bench) answerARP(t *testing.T, p gopacket.Packet) {
	t.Helper()
	ask, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if ok && ask.Operation == layers.ARPRequest && net.IP(ask.DstProtAddress).Equal(host4) {
		b.write(t, ethernet(sharedHW, layers.EthernetTypeARP), arp(layers.ARPReply, sharedHW))
	}
}

func ethernet(to net.HardwareAddr, kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: host, DstMAC: to, EthernetType: kind}
}

// arp is a message of the host's to the TAP.
func arp(operation uint16, target net.HardwareAddr) *layers.ARP {
	return &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: operation, SourceHwAddress: host, SourceProtAddress: host4, DstHwAddress: target, DstProtAddress: tap4}
}

// TestAnswersIPv4: the kernel answers ARP and ping through the device, with the shared
// MAC.
func TestAnswersIPv4(t *testing.T) {
	b := newBench(t)
	b.write(t, ethernet(layers.EthernetBroadcast, layers.EthernetTypeARP), arp(layers.ARPRequest, make([]byte, 6)))
	b.expect(t, "the ARP reply", func(p gopacket.Packet) bool {
		reply, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
		return ok && reply.Operation == layers.ARPReply && bytes.Equal(reply.SourceHwAddress, sharedHW)
	})
	b.ping(t)
}

// TestAnswersIPv6: the same with neighbour discovery, at once, without a link-local
// address of the kernel's and without looking for duplicates.
func TestAnswersIPv6(t *testing.T) {
	b := newBench(t)
	group := net.HardwareAddr{0x33, 0x33, 0xff, 0, 0, 1}
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: host6, DstIP: net.ParseIP("ff02::1:ff00:1")}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	check(t, icmp.SetNetworkLayerForChecksum(ip))
	ask := func() {
		b.write(t, ethernet(group, layers.EthernetTypeIPv6), ip, icmp, &layers.ICMPv6NeighborSolicitation{TargetAddress: tap6,
			Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: host}}})
	}
	b.askUntil(t, "the neighbour advertisement", ask, func(p gopacket.Packet) bool {
		a, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
		return ok && a.TargetAddress.Equal(tap6) && bytes.Equal(p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet).SrcMAC, sharedHW)
	})
	ip.DstIP, ip.HopLimit = tap6, 64
	icmp = &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}
	check(t, icmp.SetNetworkLayerForChecksum(ip))
	b.write(t, ethernet(sharedHW, layers.EthernetTypeIPv6), ip, icmp, &layers.ICMPv6Echo{Identifier: 7, SeqNumber: 1})
	b.expect(t, "the echo reply", func(p gopacket.Packet) bool {
		reply, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		return ok && reply.TypeCode.Type() == layers.ICMPv6TypeEchoReply
	})
}

// TestOnlyItsAddresses: the device has its addresses and a link-local one made of its MAC,
// and the kernel gives it nothing of its own, not even when a router advertises a prefix
// and itself.
func TestOnlyItsAddresses(t *testing.T) {
	b := newBench(t)
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.ParseIP("fe80::9"), DstIP: net.ParseIP("ff02::1")}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeRouterAdvertisement, 0)}
	check(t, icmp.SetNetworkLayerForChecksum(ip))
	prefix := append([]byte{64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0}, net.ParseIP("2001:db8:bad::")...)
	b.write(t, ethernet(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, layers.EthernetTypeIPv6), ip, icmp,
		&layers.ICMPv6RouterAdvertisement{HopLimit: 64, RouterLifetime: 1800,
			Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptPrefixInfo, Data: prefix}}})
	b.ping(t) // answered after the advertisement was dealt with

	device := must(b.node.Link(b.Name()))(t)
	var got []string
	for _, a := range must(b.node.Handle().AddrList(device, netlink.FAMILY_ALL))(t) {
		got = append(got, a.IPNet.String())
	}
	if want := "192.0.2.1/24 2001:db8::1/64 fe80::5eff:fe00:101/64"; strings.Join(got, " ") != want {
		t.Errorf("addresses %v, want %s", got, want)
	}
	for _, r := range must(b.node.Handle().RouteList(device, netlink.FAMILY_V6))(t) {
		if r.Gw != nil {
			t.Errorf("learnt a route: %v", r)
		}
	}
}

// TestChecksumsComplete: what the kernel sends needs nothing from hardware.
func TestChecksumsComplete(t *testing.T) {
	b := newBench(t)
	check(t, b.node.Neighbor(b.Name(), netip.MustParseAddr("192.0.2.9"), host))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn := must(b.node.Dial(ctx, "udp", "", "192.0.2.9:7"))(t)
	_, err := conn.Write([]byte("checked"))
	check(t, errors.Join(err, conn.Close()))
	p := b.expect(t, "the datagram", func(p gopacket.Packet) bool { return p.Layer(layers.LayerTypeUDP) != nil })
	udp := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	sent := udp.Checksum
	check(t, udp.SetNetworkLayerForChecksum(p.NetworkLayer()))
	check(t, gopacket.SerializeLayers(gopacket.NewSerializeBuffer(), gopacket.SerializeOptions{ComputeChecksums: true}, udp, gopacket.Payload("checked")))
	if sent != udp.Checksum {
		t.Errorf("checksum %#04x, want %#04x", sent, udp.Checksum)
	}
}

// TestCarrierAndMTU: the kernel sees the port's carrier and MTU; a device that was
// taken down takes frames and loses them.
func TestCarrierAndMTU(t *testing.T) {
	b := newBench(t)
	running := func() bool { return must(b.node.Link(b.Name()))(t).Attrs().RawFlags&unix.IFF_RUNNING != 0 }
	check(t, b.SetCarrier(CarrierLost))
	eventually(t, "no carrier", func() bool { return !running() })
	check(t, b.SetCarrier(CarrierPresent))
	eventually(t, "carrier", running)
	b.ping(t)

	check(t, b.SetMTU(1280))
	if got := must(b.node.Link(b.Name()))(t).Attrs(); got.MTU != 1280 || got.HardwareAddr.String() != sharedHW.String() || got.Index != b.Ifindex() {
		t.Errorf("MTU %d, MAC %s, index %d", got.MTU, got.HardwareAddr, got.Index)
	}
	if err := b.SetMTU(1 << 20); err == nil || !strings.Contains(err.Error(), "hf-lan to 1048576") {
		t.Errorf("an MTU of 1 MiB: %v", err)
	}

	check(t, b.node.Down(b.Name()))
	if n, err := b.Write(make([]byte, 60)); n != 0 || err != nil {
		t.Errorf("write to a device that is down: %d, %v", n, err)
	}
	check(t, b.node.Delete(b.Name()))
	if _, err := b.Read(make([]byte, 60)); !errors.Is(err, unix.EBADFD) {
		t.Errorf("read from a device that was deleted: %v, want EBADFD", err)
	}
}

// TestPoll: the descriptor is readable when there is a frame.
func TestPoll(t *testing.T) {
	b := newBench(t)
	b.write(t, ethernet(layers.EthernetBroadcast, layers.EthernetTypeARP), arp(layers.ARPRequest, make([]byte, 6)))
	ready := []unix.PollFd{{Fd: int32(b.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(ready, int(patience.Milliseconds()))
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll(ready, int(patience.Milliseconds()))
	}
	if n != 1 || err != nil {
		t.Fatalf("poll: %d, %v", n, err)
	}
	if n, err := b.Read(make([]byte, 2048)); n == 0 || err != nil {
		t.Errorf("read after poll: %d, %v", n, err)
	}
}

// TestNameTaken: a device of that name, of any type, is left alone.
func TestNameTaken(t *testing.T) {
	b := newBench(t)
	if _, err := open(b.node, config); !errors.Is(err, ErrNameTaken) {
		t.Errorf("a second one: %v, want ErrNameTaken", err)
	}
	other := config
	other.Name = Name("wan")
	check(t, b.node.Bridge(other.Name))
	_, err := open(b.node, other)
	if !errors.Is(err, ErrNameTaken) || !strings.Contains(err.Error(), "open TAP hf-wan") || !strings.Contains(err.Error(), "type bridge") {
		t.Errorf("%v, want ErrNameTaken", err)
	}
	must(b.node.Link(other.Name))(t)
	if err := b.node.Do(func() error { _, err := create(config.Name); return err }); !errors.Is(err, ErrNameTaken) {
		t.Errorf("one that was made this moment: %v, want ErrNameTaken", err)
	}
	b.ping(t)
}

// TestBadConfig: an error leaves no device.
func TestBadConfig(t *testing.T) {
	node := must(lab.ForTest(t).Namespace("node"))(t)
	for _, row := range []struct {
		spoil func(c *Config)
		want  string
	}{
		{func(c *Config) { c.Name = Name("a-very-long-port") }, "a port's name at most 12"},
		{func(c *Config) { c.MTU = 20 }, "set MTU 20"},
		{func(c *Config) { c.MAC = packet.Broadcast }, "set address ff:ff:ff:ff:ff:ff"},
		{func(c *Config) { c.Addresses = []netip.Prefix{c.Addresses[0], c.Addresses[0]} }, "add address 192.0.2.1/24"},
	} {
		c := config
		row.spoil(&c)
		if _, err := open(node, c); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v, want %q", err, row.want)
		}
		if _, err := node.Link(c.Name); err == nil {
			t.Errorf("after %q the device is left", row.want)
		}
	}
}

// TestGone: the device and its addresses go with Close, and with a process that is
// shot.
func TestGone(t *testing.T) {
	node := must(lab.ForTest(t).Namespace("node"))(t)
	exists := func() bool { _, err := node.Link(config.Name); return err == nil }
	tap := must(open(node, config))(t)
	check(t, tap.Close())
	check(t, tap.Close())
	if exists() {
		t.Error("the device is left after Close")
	}

	process := must(node.Start(context.Background(), lab.Program{Path: "/proc/self/exe", Env: append(os.Environ(), roleVariable+"=daemon"), Stdout: os.Stdout}))(t)
	eventually(t, "the daemon's device", func() bool {
		device, err := node.Link(config.Name)
		return err == nil && len(must(node.Handle().AddrList(device, netlink.FAMILY_ALL))(t)) == len(config.Addresses)+1 // and a link-local one
	})
	check(t, process.Kill(unix.SIGKILL))
	<-process.Done()
	if exists() {
		t.Error("the device is left after SIGKILL")
	}
	for _, a := range must(node.Handle().AddrList(nil, netlink.FAMILY_V4))(t) {
		if a.IP.Equal(tap4) {
			t.Error("its address is left")
		}
	}
}

// TestNoAllocs: a frame each way, and a look in vain.
func TestNoAllocs(t *testing.T) {
	b := newBench(t)
	frame, buffer := make([]byte, 60), make([]byte, 2048)
	if n := testing.AllocsPerRun(100, func() {
		_, _ = b.Write(frame)
		_, _ = b.Read(buffer)
	}); n != 0 {
		t.Errorf("%v allocations for a write and a read", n)
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

func must[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return value
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
