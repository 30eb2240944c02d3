package dataplane

import (
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// talkingKernel is a port's face whose kernel has something to say.
type talkingKernel struct {
	fakeKernel
	says [][]byte
}

func (k *talkingKernel) Read(frame []byte) (int, error) {
	if len(k.says) == 0 {
		return 0, nil
	}
	n := copy(frame, k.says[0])
	k.says = k.says[1:]
	return n, nil
}

// icmp6 is an ICMPv6 message of the node's kernel to a group of the link.
func icmp6(t *testing.T, group string, kind uint8, message gopacket.SerializableLayer) []byte {
	t.Helper()
	dst := net.ParseIP(group)
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr(macLan[:]), DstMAC: net.HardwareAddr{0x33, 0x33, dst[12], dst[13], dst[14], dst[15]}, EthernetType: layers.EthernetTypeIPv6}
	ip6 := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.ParseIP("fe80::1"), DstIP: dst}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip6); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip6, icmp, message); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestL8_TheActiveNodeAloneSpeaksForThePort: router advertisements, solicitations and
// advertisements of the shared addresses come from one node, the active one; a mute node's
// kernel may make them, and they end here. What reaches a mute node is not handed to its
// kernel either, so it has nothing to answer.
func TestL8_TheActiveNodeAloneSpeaksForThePort(t *testing.T) {
	says := func() [][]byte {
		var arp [64]byte
		return [][]byte{
			icmp6(t, "ff02::1", layers.ICMPv6TypeRouterAdvertisement, &layers.ICMPv6RouterAdvertisement{HopLimit: 64, RouterLifetime: 1800}),
			icmp6(t, "ff02::1", layers.ICMPv6TypeNeighborAdvertisement, &layers.ICMPv6NeighborAdvertisement{TargetAddress: net.ParseIP("fd00::1")}),
			icmp6(t, "ff02::1:ff00:7", layers.ICMPv6TypeNeighborSolicitation, &layers.ICMPv6NeighborSolicitation{TargetAddress: net.ParseIP("fd00::7")}),
			arp[:packet.AppendGratuitousARP(arp[:], macLan, lanAddr)],
		}
	}
	r := newRig(t)
	kernel := &talkingKernel{says: says()}
	r.w.shares[lan].Kernel = kernel

	r.w.active = false
	r.w.serveKernel()
	if got := r.take(); len(got) != 0 || len(kernel.says) != 0 {
		t.Errorf("a mute node let %d frames out, and left %d unread", len(got), len(kernel.says))
	}
	if n := r.w.shares[lan].TxDrops.Count(drop.Mute); n != 4 {
		t.Errorf("%d counted as mute", n)
	}

	kernel.says = says()
	r.w.active = true
	r.w.serveKernel()
	if got := r.take(); len(got) != 4 {
		t.Errorf("the active node let %d of 4 frames out; dropped %d for another reason", len(got), r.w.shares[lan].TxDrops.Count(drop.FromSelf))
	}
}
