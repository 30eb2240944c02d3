package gen

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"

	"holdfast/internal/lab"
)

// passEverything gives a link an XDP program: a veth takes redirected frames only where
// its receiving end has one, or GRO on (drivers/net/veth.c, veth_xdp_xmit).
func passEverything(t *testing.T, ns *lab.Namespace, link string) {
	t.Helper()
	pass, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2 /* XDP_PASS */), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pass.Close() })
	l, err := ns.Link(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(func() error { return netlink.LinkSetXdpFdWithFlags(l, pass.FD(), 1<<2 /* XDP_FLAGS_DRV_MODE */) }); err != nil {
		t.Fatal(err)
	}
}

// g0 (source) ==veth== r0 (capture)
func TestLiveFramesMakesValidFramesOfEveryFlow(t *testing.T) {
	l := lab.ForTest(t)
	source, err := l.Namespace("gen")
	if err != nil {
		t.Fatal(err)
	}
	sink, err := l.Namespace("sink")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Veth(lab.End{Namespace: source, Name: "g0"}, lab.End{Namespace: sink, Name: "r0"}); err != nil {
		t.Fatal(err)
	}
	passEverything(t, sink, "r0")
	link, err := source.Link("g0")
	if err != nil {
		t.Fatal(err)
	}
	capture, err := sink.Capture("r0", lab.CaptureOptions{
		Keep:   1 << 16,
		Filter: func(f []byte) bool { return f[12] == 8 && f[13] == 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	const flows, count = 40_000, 50_000
	deadline := time.Now().Add(10 * time.Second)
	flow := Flows{
		DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2},
		Src: netip.MustParseAddr("10.1.0.1"), Dst: netip.MustParseAddr("203.0.113.9"), DstPort: 9,
		Count: flows, Ifindex: link.Attrs().Index,
	}
	if err := source.Do(func() error {
		g, err := NewLiveFrames(flow)
		if err != nil {
			return err
		}
		defer g.Close()
		for sent := 0; sent < count; sent += 1000 { // in steps the capture can follow
			if _, err := g.Send(10*time.Second, 1000); err != nil {
				return err
			}
			for capture.Count() < sent+500 {
				if time.Now().After(deadline) {
					return fmt.Errorf("%d of %d frames arrived", capture.Count(), sent+1000)
				}
				time.Sleep(100 * time.Microsecond)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	type endpoint struct {
		addr string
		port layers.UDPPort
	}
	seen := map[endpoint]bool{}
	for _, f := range capture.Frames() {
		p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
		ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		udp, ok2 := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !ok || !ok2 || p.ErrorLayer() != nil {
			t.Fatalf("not UDP over IPv4: %v", p)
		}
		var sum uint32
		for i := 0; i < 20; i += 2 {
			sum += uint32(ip.Contents[i])<<8 | uint32(ip.Contents[i+1])
		}
		if sum = sum>>16 + sum&0xffff; sum>>16+sum&0xffff != 0xffff {
			t.Fatalf("header checksum of %v", ip)
		}
		seen[endpoint{ip.SrcIP.String(), udp.SrcPort}] = true
	}
	if len(seen) < flows*9/10 {
		t.Errorf("%d of %d flows seen", len(seen), flows)
	}
}
