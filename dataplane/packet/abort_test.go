package packet

import (
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// ends are tuples of packets that come to one end of a connection, of either family.
func ends(proto Proto) [2]Tuple {
	return [2]Tuple{
		{Src: addr(server4), Dst: addr(client4), SrcPort: 443, DstPort: 40000, Proto: proto},
		{Src: addr(server6), Dst: addr(client6), SrcPort: 443, DstPort: 40000, Proto: proto},
	}
}

// byGopacket parses a frame with an independent implementation, and computes its checksums
// anew: a frame whose checksums were wrong would come back changed.
func byGopacket(t *testing.T, frame []byte) gopacket.Packet {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if p.ErrorLayer() != nil {
		t.Fatalf("%v\n% x", p.ErrorLayer().Error(), frame)
	}
	var stack []gopacket.SerializableLayer
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.TCP:
			if err := l.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
				t.Fatal(err)
			}
		case *layers.ICMPv6:
			if err := l.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
				t.Fatal(err)
			}
			stack = append(stack, l, gopacket.Payload(l.Payload))
			continue
		}
		if s, ok := l.(gopacket.SerializableLayer); ok && len(stack) < 4 {
			stack = append(stack, s)
		}
	}
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{ComputeChecksums: true, FixLengths: true}, stack...); err != nil {
		t.Fatal(err)
	}
	if got := buffer.Bytes(); string(got[:min(len(got), len(frame))]) != string(frame[:min(len(got), len(frame))]) {
		t.Errorf("gopacket writes the frame\n% x\nas\n% x", frame, got)
	}
	return p
}

func TestAbort(t *testing.T) {
	for _, tuple := range ends(TCP) {
		a := Abort{To: macHost, From: macWall, Tuple: tuple, Seq: 0xfffffffe, Ack: 0x80000001}
		buf := dirty(AbortLen)
		frame := buf[:AppendAbort(buf, &a)]
		p := mustDecode(t, frame)
		if p.Tuple != tuple || p.Seq != a.Seq || p.Ack != a.Ack || p.TCPFlags != FlagRST|FlagACK || p.TTL != 64 || p.SegmentLen() != 0 {
			t.Errorf("%v: %+v", tuple, *p)
		}
		if !VerifyChecksum(frame, p) || DstMAC(frame) != macHost || SrcMAC(frame) != macWall {
			t.Errorf("%v: checksum or MACs\n% x", tuple, frame)
		}
		tcp, _ := byGopacket(t, frame).Layer(layers.LayerTypeTCP).(*layers.TCP)
		if tcp == nil || !tcp.RST || !tcp.ACK || tcp.SYN || tcp.FIN || tcp.Seq != a.Seq || tcp.DstPort != 40000 {
			t.Errorf("%v: gopacket sees %+v", tuple, tcp)
		}
	}
}

func TestProhibition(t *testing.T) {
	for _, proto := range []Proto{TCP, UDP, UDPLite, SCTP, ICMP, ICMPv6, GRE, ESP} {
		for family, tuple := range ends(proto) {
			if proto == ICMP && family == 1 || proto == ICMPv6 && family == 0 {
				continue
			}
			source, wantType, wantCode := addr(wall4), uint8(3), uint8(13)
			if family == 1 {
				source, wantType, wantCode = addr(wall6), 1, 1
			}
			var want [quoteTransport]byte
			switch proto {
			case ICMP, ICMPv6:
				tuple.SrcPort, tuple.DstPort = 77, ICMPEchoRequest<<8
				if proto == ICMPv6 {
					tuple.DstPort = ICMPv6EchoRequest << 8
				}
				binary.BigEndian.PutUint16(want[0:], tuple.DstPort)
				binary.BigEndian.PutUint16(want[4:], 77)
			case GRE, ESP:
				tuple.SrcPort, tuple.DstPort = 0, 0
			default:
				binary.BigEndian.PutUint32(want[0:], 443<<16|40000)
				if proto == TCP {
					binary.BigEndian.PutUint32(want[4:], 0xdeadbeef)
				}
				if proto == UDP {
					want[5] = 8
				}
			}
			r := Prohibition{To: macHost, From: macWall, Source: source, Tuple: tuple, Seq: 0xdeadbeef}
			buf := dirty(ProhibitionLen)
			frame := buf[:AppendProhibition(buf, &r)]
			p := mustDecode(t, frame)
			if p.Tuple.Src != source || p.Tuple.Dst != tuple.Src || p.ICMPType != wantType || p.ICMPCode != wantCode {
				t.Errorf("%v: %+v", tuple, *p)
			}
			if !VerifyChecksum(frame, p) || DstMAC(frame) != macHost || SrcMAC(frame) != macWall {
				t.Errorf("%v: checksum or MACs\n% x", tuple, frame)
			}
			byGopacket(t, frame)
			quote := frame[int(p.L4)+icmpLen : p.End]
			src, dst, at := quotedAddresses(quote)
			if src != tuple.Src || dst != tuple.Dst || string(quote[at:]) != string(want[:]) {
				t.Errorf("%v: quotes %v > %v, % x, want % x", tuple, src, dst, quote[at:], want)
			}
			if family == 0 && slowSum(quote[:ipv4Len]) != 0xffff {
				t.Errorf("%v: the quoted header's checksum is wrong", tuple)
			}
		}
	}
}

// quotedAddresses reads the addresses of a quoted IP header, and where the next begins.
func quotedAddresses(quote []byte) (src, dst Addr, at int) {
	if quote[0]>>4 == 4 {
		src.set4(quote[ipv4SrcAt:])
		dst.set4(quote[ipv4DstAt:])
		return src, dst, ipv4Len
	}
	return Addr(quote[ipv6SrcAt:]), Addr(quote[ipv6DstAt:]), ipv6Len
}

func TestAbortRefuses(t *testing.T) {
	buf := dirty(2048)
	good := ends(TCP)[0]
	for name, change := range map[string]func(*Tuple){
		"two families": func(t *Tuple) { t.Dst = addr(client6) },
		"a group":      func(t *Tuple) { t.Dst = addr("224.0.0.9") },
		"from a group": func(t *Tuple) { t.Src = addr("ff02::1"); t.Dst = addr(client6) },
		"nobody":       func(t *Tuple) { t.Src, t.Dst = Addr{}, addr(client6) },
	} {
		tuple := good
		change(&tuple)
		if n := AppendAbort(buf, &Abort{Tuple: tuple}); n != 0 {
			t.Errorf("%s: a reset of %d bytes", name, n)
		}
		if n := AppendProhibition(buf, &Prohibition{Tuple: tuple, Source: addr(wall4)}); n != 0 {
			t.Errorf("%s: an error of %d bytes", name, n)
		}
	}
	if n := AppendAbort(buf, &Abort{Tuple: ends(UDP)[0]}); n != 0 {
		t.Error("a reset for UDP")
	}
	if n := AppendProhibition(buf, &Prohibition{Tuple: good, Source: addr(wall6)}); n != 0 {
		t.Error("an error from an address of the other family")
	}
	for family, tuple := range ends(TCP) {
		source := []Addr{addr(wall4), addr(wall6)}[family]
		a, r := Abort{Tuple: tuple}, Prohibition{Tuple: tuple, Source: source}
		for n := range 60 {
			if AppendAbort(buf[:n], &a) != 0 || AppendProhibition(buf[:n], &r) != 0 {
				t.Fatalf("a frame in %d bytes", n)
			}
		}
	}
}

func TestAbortAllocatesNothing(t *testing.T) {
	buf := dirty(2048)
	for family, tuple := range ends(TCP) {
		a, r := Abort{Tuple: tuple}, Prohibition{Tuple: tuple, Source: []Addr{addr(wall4), addr(wall6)}[family]}
		if n := testing.AllocsPerRun(100, func() { AppendAbort(buf, &a); AppendProhibition(buf, &r) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
