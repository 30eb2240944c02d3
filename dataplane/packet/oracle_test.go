package packet

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"

	"holdfast/dataplane/drop"
)

// drawGopacket draws a frame that gopacket, an independent implementation, builds with
// right lengths and checksums.
func drawGopacket(t *rapid.T) []byte {
	stack := []gopacket.SerializableLayer{&layers.Ethernet{
		SrcMAC: macHost[:], DstMAC: macWall[:], EthernetType: layers.EthernetTypeIPv4,
	}}
	proto := rapid.SampledFrom([]layers.IPProtocol{
		layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolICMPv4, layers.IPProtocolGRE,
		layers.IPProtocolSCTP, layers.IPProtocolESP,
	}).Draw(t, "proto")
	ttl := rapid.Uint8Range(1, 255).Draw(t, "ttl")
	var network gopacket.NetworkLayer
	if v6 := rapid.Bool().Draw(t, "v6"); v6 {
		if proto == layers.IPProtocolICMPv4 {
			proto = layers.IPProtocolICMPv6
		}
		stack[0].(*layers.Ethernet).EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{
			Version: 6, HopLimit: ttl, TrafficClass: 7, FlowLabel: 99, NextHeader: proto,
			SrcIP: net.ParseIP(client6), DstIP: net.ParseIP(server6),
		}
		network, stack = ip, append(stack, ip)
	} else {
		ip := &layers.IPv4{
			Version: 4, TTL: ttl, Id: 7, Protocol: proto,
			SrcIP: net.ParseIP(client4), DstIP: net.ParseIP(server4),
		}
		if rapid.Bool().Draw(t, "router alert") {
			ip.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
		}
		network, stack = ip, append(stack, ip)
	}
	switch proto {
	case layers.IPProtocolTCP:
		stack = append(stack, drawTCP(t, network))
	case layers.IPProtocolUDP:
		u := &layers.UDP{SrcPort: 5000, DstPort: layers.UDPPort(rapid.Uint16().Draw(t, "port"))}
		u.SetNetworkLayerForChecksum(network)
		stack = append(stack, u)
	case layers.IPProtocolICMPv4:
		stack = append(stack, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 77, Seq: 3})
	case layers.IPProtocolICMPv6:
		i := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}
		i.SetNetworkLayerForChecksum(network)
		stack = append(stack, i, &layers.ICMPv6Echo{Identifier: 77, SeqNumber: 3})
	}
	payload := rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "payload")
	switch proto {
	case layers.IPProtocolGRE:
		stack = append(stack, drawGRE(t))
	case layers.IPProtocolSCTP:
		stack = append(stack, drawSCTP(t)...)
		payload = nil
	}
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, options, append(stack, gopacket.Payload(payload))...); err != nil {
		t.Fatal(err)
	}
	f := buf.Bytes()
	if at := ethernetLen + ipv6Len + udpSumAt; proto == layers.IPProtocolUDP && f[12] == 0x86 && f[at]|f[at+1] == 0 {
		f[at], f[at+1] = 0xff, 0xff // gopacket forgets that a sum of 0 is written so (RFC 768)
	}
	return f
}

// drawGRE draws a header of version 0.
func drawGRE(t *rapid.T) *layers.GRE {
	return &layers.GRE{
		Protocol: layers.EthernetTypeTransparentEthernetBridging, Key: rapid.Uint32().Draw(t, "key"), Seq: 5,
		ChecksumPresent: rapid.Bool().Draw(t, "C"), KeyPresent: rapid.Bool().Draw(t, "K"), SeqPresent: rapid.Bool().Draw(t, "S"),
	}
}

// drawSCTP draws a packet: an INIT alone, or other chunks together.
func drawSCTP(t *rapid.T) []gopacket.SerializableLayer {
	s := &layers.SCTP{SrcPort: 7000, DstPort: layers.SCTPPort(rapid.Uint16().Draw(t, "port"))}
	kind := func(k layers.SCTPChunkType) layers.SCTPChunk { return layers.SCTPChunk{Type: k, Length: 4} }
	if rapid.Bool().Draw(t, "INIT") {
		return []gopacket.SerializableLayer{s, &layers.SCTPInit{
			SCTPChunk: kind(layers.SCTPChunkTypeInit), InitiateTag: rapid.Uint32Range(1, 1<<32-1).Draw(t, "initiate tag"),
			AdvertisedReceiverWindowCredit: 65536, OutboundStreams: 10, InboundStreams: 10,
		}}
	}
	s.VerificationTag = rapid.Uint32Range(1, 1<<32-1).Draw(t, "tag")
	stack := []gopacket.SerializableLayer{s}
	if rapid.Bool().Draw(t, "COOKIE ACK") {
		stack = append(stack, &layers.SCTPEmptyLayer{SCTPChunk: kind(layers.SCTPChunkTypeCookieAck)})
	}
	if rapid.Bool().Draw(t, "SHUTDOWN") {
		stack = append(stack, &layers.SCTPShutdown{SCTPChunk: kind(layers.SCTPChunkTypeShutdown)})
	}
	return append(stack, &layers.SCTPSack{SCTPChunk: kind(layers.SCTPChunkTypeSack), AdvertisedReceiverWindowCredit: 99})
}

func drawTCP(t *rapid.T, network gopacket.NetworkLayer) *layers.TCP {
	syn := rapid.Bool().Draw(t, "syn")
	s := &layers.TCP{
		SrcPort: 40000, DstPort: layers.TCPPort(rapid.Uint16().Draw(t, "port")), SYN: syn, ACK: !syn,
		Seq: rapid.Uint32().Draw(t, "seq"), Ack: rapid.Uint32().Draw(t, "ack"), Window: rapid.Uint16().Draw(t, "window"),
	}
	option := func(kind layers.TCPOptionKind, data ...byte) {
		if rapid.Bool().Draw(t, kind.String()) {
			s.Options = append(s.Options, layers.TCPOption{OptionType: kind, OptionLength: uint8(2 + len(data)), OptionData: data})
		}
	}
	option(layers.TCPOptionKindMSS, 5, 180)
	option(layers.TCPOptionKindTimestamps, 0, 0, 0, 1, 0, 0, 0, 2)
	option(layers.TCPOptionKindSACKPermitted)
	option(layers.TCPOptionKindWindowScale, rapid.Uint8Range(0, 14).Draw(t, "scale"))
	s.SetNetworkLayerForChecksum(network)
	return s
}

// TestM1_AgreesWithGopacket compares Decode with gopacket, over frames that it built and over
// the same with some bytes changed: whatever passes must have been read alike.
func TestM1_AgreesWithGopacket(t *testing.T) { agreeWithGopacket(t) }

// TestREL20_AgreesWithGopacket is the same ten times, and ten million times in a soak.
func TestREL20_AgreesWithGopacket(t *testing.T) {
	rounds := 10
	if os.Getenv("HOLDFAST_SOAK") != "" {
		rounds = 100_000
	}
	for range rounds {
		agreeWithGopacket(t)
	}
	t.Logf("%d rounds of rapid's count", rounds)
}

func agreeWithGopacket(t *testing.T) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		f := drawGopacket(rt)
		var p Parsed
		if r := Decode(f, &p); r != drop.Pass {
			rt.Fatalf("refused a good frame: %v\n% x", r, f)
		}
		if !VerifyChecksum(f, &p) {
			rt.Fatalf("checksum\n% x", f)
		}
		compare(rt, f, &p)

		for range rapid.IntRange(0, 3).Draw(rt, "changes") {
			f[rapid.IntRange(12, len(f)-1).Draw(rt, "at")] = rapid.Byte().Draw(rt, "byte")
		}
		if binary.BigEndian.Uint16(f[12:]) == etherIPv4 {
			sumHeader4(f)
		}
		if Decode(f, &p) == drop.Pass {
			compare(rt, f, &p)
		}
	})
}

func compare(t *rapid.T, f []byte, p *Parsed) {
	g := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
	fail := func(what string, ours, theirs any) {
		t.Fatalf("%s: %v, gopacket says %v\n% x\n%v", what, ours, theirs, f, g)
	}
	if p.Version == 0 {
		return
	}
	if g.NetworkLayer() == nil {
		fail("network layer", p.Version, g.ErrorLayer())
	}
	src, dst := g.NetworkLayer().NetworkFlow().Endpoints()
	if p.Tuple.Src.Netip().String() != src.String() || p.Tuple.Dst.Netip().String() != dst.String() {
		fail("addresses", p.Tuple, g.NetworkLayer().NetworkFlow())
	}
	if ip, ok := g.NetworkLayer().(*layers.IPv4); ok {
		if uint8(ip.Protocol) != uint8(p.Tuple.Proto) || ip.TTL != p.TTL || len(ip.Contents) != int(p.L4-p.L3) {
			fail("IPv4", *p, ip)
		}
	}
	if g.Layer(layers.LayerTypeTCP) != nil && p.Tuple.Proto == TCP {
		compareTCP(g, f, p, fail)
	}
	if l := g.Layer(layers.LayerTypeUDP); l != nil && p.Tuple.Proto == UDP {
		u := l.(*layers.UDP)
		if uint16(u.SrcPort) != p.Tuple.SrcPort || uint16(u.DstPort) != p.Tuple.DstPort ||
			!bytes.Equal(u.Payload, f[p.Payload:p.L4+u.Length]) {
			fail("UDP", p.Tuple, u)
		}
	}
	if l := g.Layer(layers.LayerTypeSCTP); l != nil && p.Tuple.Proto == SCTP {
		s := l.(*layers.SCTP)
		if uint16(s.SrcPort) != p.Tuple.SrcPort || uint16(s.DstPort) != p.Tuple.DstPort || s.VerificationTag != p.VerificationTag() {
			fail("SCTP", *p, s)
		}
		if l, ok := g.Layer(layers.LayerTypeSCTPInit).(*layers.SCTPInit); ok && l.Type == 1 && l.InitiateTag != p.InitiateTag() {
			fail("SCTP INIT", p.InitiateTag(), l)
		}
	}
	if l := g.Layer(layers.LayerTypeICMPv4); l != nil && p.Tuple.Proto == ICMP && p.IsICMPQuery() {
		if i := l.(*layers.ICMPv4); i.Id != p.Tuple.SrcPort || i.TypeCode.Type() != p.ICMPType {
			fail("ICMP", p.Tuple, i)
		}
	}
}

func compareTCP(g gopacket.Packet, f []byte, p *Parsed, fail func(string, any, any)) {
	s := g.TransportLayer().(*layers.TCP)
	if uint16(s.SrcPort) != p.Tuple.SrcPort || uint16(s.DstPort) != p.Tuple.DstPort ||
		s.Seq != p.Seq || s.Ack != p.Ack || s.Window != p.Window {
		fail("TCP", *p, s)
	}
	if s.SYN != (p.TCPFlags&FlagSYN != 0) || s.ACK != (p.TCPFlags&FlagACK != 0) || !bytes.Equal(s.Payload, f[p.Payload:p.End]) {
		fail("TCP flags or payload", p.TCPFlags, s)
	}
	if !s.SYN || g.ErrorLayer() != nil {
		return // gopacket gives up at an option that we stop at
	}
	var want Parsed
	for _, o := range s.Options {
		switch {
		case o.OptionType == layers.TCPOptionKindMSS && o.OptionLength == 4:
			want.TCPOptions |= HasMSS
			want.MSS = binary.BigEndian.Uint16(o.OptionData)
		case o.OptionType == layers.TCPOptionKindWindowScale && o.OptionLength == 3:
			want.TCPOptions |= HasWScale
			want.WScale = min(o.OptionData[0], 14)
		case o.OptionType == layers.TCPOptionKindSACKPermitted && o.OptionLength == 2:
			want.TCPOptions |= HasSACKPermitted
		}
	}
	if p.TCPOptions&^HasSACK != want.TCPOptions || p.MSS != want.MSS || p.WScale != want.WScale {
		fail("TCP options", p.TCPOptions, s.Options)
	}
}
