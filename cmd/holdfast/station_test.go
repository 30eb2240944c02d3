package main

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// station is a host of the test, or the node's face on a VLAN.
type station struct {
	vlan uint16 // 0: untagged
	mac  net.HardwareAddr
	ip   netip.Addr
}

var (
	lanHost = station{0, net.HardwareAddr{2, 0, 0, 0, 0, 0x10}, netip.MustParseAddr("10.0.0.10")}
	dmzHost = station{10, net.HardwareAddr{2, 0, 0, 0, 0, 0x20}, netip.MustParseAddr("10.10.0.10")}
	wanHost = station{20, net.HardwareAddr{2, 0, 0, 0, 0, 0x30}, netip.MustParseAddr("203.0.113.10")}
	hosts   = []station{lanHost, dmzHost, wanHost}

	lanFace = station{0, net.HardwareAddr{2, 0x48, 0x46, 0, 0, 1}, netip.MustParseAddr("10.0.0.1")}
	dmzFace = station{10, net.HardwareAddr{2, 0x48, 0x46, 0, 0, 3}, netip.MustParseAddr("10.10.0.1")}
	wanFace = station{20, net.HardwareAddr{2, 0x48, 0x46, 0, 0, 2}, netip.MustParseAddr("203.0.113.2")}
	faces   = []station{lanFace, dmzFace, wanFace}
)

// frame builds a frame of a host, tagged with its VLAN and some priority.
func (s station) frame(t *testing.T, to net.HardwareAddr, kind layers.EthernetType, stack ...gopacket.SerializableLayer) []byte {
	t.Helper()
	head := []gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: s.mac, DstMAC: to, EthernetType: kind}}
	if s.vlan != 0 {
		head[0].(*layers.Ethernet).EthernetType = layers.EthernetTypeDot1Q
		head = append(head, &layers.Dot1Q{VLANIdentifier: s.vlan, Priority: 3, Type: kind})
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(head, stack...)...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// arp is a host's ARP message.
func (s station) arp(t *testing.T, to net.HardwareAddr, operation uint16, target netip.Addr) []byte {
	return s.frame(t, to, layers.EthernetTypeARP, &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: operation,
		SourceHwAddress: s.mac, SourceProtAddress: s.ip.AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: target.AsSlice(),
	})
}

// ipv4 is the header of a packet from a host.
func (s station) ipv4(to netip.Addr, proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: proto, SrcIP: s.ip.AsSlice(), DstIP: to.AsSlice()}
}

func (s station) udp(t *testing.T, via net.HardwareAddr, to netip.AddrPort, from uint16, payload []byte) []byte {
	ip := s.ipv4(to.Addr(), layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to.Port())}
	_ = udp.SetNetworkLayerForChecksum(ip) // never fails for IPv4
	return s.frame(t, via, layers.EthernetTypeIPv4, ip, udp, gopacket.Payload(payload))
}

func (s station) tcp(t *testing.T, via net.HardwareAddr, to netip.Addr, segment *layers.TCP, payload string) []byte {
	ip := s.ipv4(to, layers.IPProtocolTCP)
	segment.Window = 65535
	_ = segment.SetNetworkLayerForChecksum(ip) // never fails for IPv4
	return s.frame(t, via, layers.EthernetTypeIPv4, ip, segment, gopacket.Payload(payload))
}
