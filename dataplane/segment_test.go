package dataplane

import (
	"net"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"holdfast/dataplane/packet"
)

// rawSegment builds a TCP segment of IPv4 with options as given, which must fill words.
func rawSegment(from, to packet.MAC, t *packet.Tuple, s *tcp) []byte {
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr(from[:]), DstMAC: net.HardwareAddr(to[:]), EthernetType: layers.EthernetTypeIPv4}
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	} = &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP,
		SrcIP: t.Src.Netip().AsSlice(), DstIP: t.Dst.Netip().AsSlice()}
	if t.Src.Netip().Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: t.Src.Netip().AsSlice(), DstIP: t.Dst.Netip().AsSlice()}
	}
	head := make([]byte, 20+len(s.options))
	put := func(at int, n uint32, size int) {
		for i := range size {
			head[at+i] = byte(n >> (8 * (size - 1 - i)))
		}
	}
	put(0, uint32(t.SrcPort), 2)
	put(2, uint32(t.DstPort), 2)
	put(4, s.seq, 4)
	put(8, s.ack, 4)
	head[12], head[13] = byte(len(head)/4<<4), byte(s.flags)
	put(14, uint32(s.window), 2)
	copy(head[20:], s.options)
	var read layers.TCP
	if err := read.DecodeFromBytes(append(head, make([]byte, s.payload)...), gopacket.NilDecodeFeedback); err != nil {
		panic(err)
	}
	_ = read.SetNetworkLayerForChecksum(ip)
	raw := append(head, make([]byte, s.payload)...)
	sum, err := read.ComputeChecksum()
	if err != nil {
		panic(err)
	}
	put2(raw, 16, sum)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, gopacket.Payload(raw)); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func put2(b []byte, at int, n uint16) { b[at], b[at+1] = byte(n>>8), byte(n) }
