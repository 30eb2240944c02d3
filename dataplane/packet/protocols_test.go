package packet

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"holdfast/dataplane/drop"
)

// built returns a frame that gopacket builds around the given layers.
func built(t testing.TB, proto layers.IPProtocol, stack ...gopacket.SerializableLayer) []byte {
	t.Helper()
	all := append([]gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: macHost[:], DstMAC: macWall[:], EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: net.ParseIP(client4), DstIP: net.ParseIP(server4)},
	}, stack...)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestG3_UDPLiteEveryCoverage: of a datagram of 28 bytes the coverages 0 and 8 to 28 are
// legal, and after a rewrite the checksum is right over what is covered.
func TestG3_UDPLiteEveryCoverage(t *testing.T) {
	for _, of := range []func([]byte) []byte{
		func(s []byte) []byte { return ipv4(client4, server4, UDPLite, nil, s) },
		func(s []byte) []byte { return ipv6(client6, server6, UDPLite, nil, s) },
	} {
		for coverage := range 40 {
			segment := udp([]byte("covered, not covered"))
			binary.BigEndian.PutUint16(segment[4:], uint16(coverage))
			f, p := of(segment), new(Parsed)
			if legal := coverage == 0 || coverage >= 8 && coverage <= 28; !legal {
				if r := Decode(f, p); r != drop.UDPLiteCoverage {
					t.Errorf("coverage %d: %v", coverage, r)
				}
				continue
			}
			p = mustDecode(t, summed(t, f))
			r := RewriteTo(p.Tuple, translated(p.Tuple))
			r.Apply(f, p)
			if q := mustDecode(t, f); q.Tuple != translated(p.Tuple) || slowTransportSum(f, q) != 0xffff {
				t.Errorf("coverage %d: wrong after the rewrite", coverage)
			}
		}
	}
}

// TestG6_EchoOfZerosIsNoDiscovery: an echo with identifier, sequence and code 0 is a query
// like any other, although ND has zeros at the same place.
func TestG6_EchoOfZerosIsNoDiscovery(t *testing.T) {
	for _, kind := range []uint8{ICMPv6EchoRequest, ICMPv6EchoReply} {
		p := mustDecode(t, ipv6(client6, server6, ICMPv6, nil, icmp(kind, 0, 0, nil)))
		if p.Kind != KindIP || !p.IsICMPQuery() || p.IsICMPError() || p.Tuple.SrcPort != 0 {
			t.Errorf("type %d: %+v", kind, *p)
		}
	}
}

// TestG7_GREByAddresses: neither key nor call id names a connection, so a tunnel whose two
// ends use different keys is one, and a rewrite leaves all of it alone.
func TestG7_GREByAddresses(t *testing.T) {
	keyed := func(key uint32) []byte {
		return built(t, layers.IPProtocolGRE, &layers.GRE{KeyPresent: true, Key: key, Protocol: layers.EthernetTypeIPv4}, gopacket.Payload("inside"))
	}
	there, back := mustDecode(t, keyed(7)), mustDecode(t, ipv4(server4, client4, GRE, nil, gre(greKey, nil)))
	if there.Tuple.SrcPort|there.Tuple.DstPort != 0 || there.Tuple.Reply() != back.Tuple {
		t.Errorf("%v, answered by %v", there.Tuple, back.Tuple)
	}
	if other := mustDecode(t, keyed(8)); other.Tuple != there.Tuple {
		t.Errorf("another key, another tuple: %v", other.Tuple)
	}
	f := keyed(7)
	before := append([]byte(nil), f[there.L4:]...)
	r := RewriteTo(there.Tuple, translated(there.Tuple))
	if r.Apply(f, there); !bytes.Equal(f[there.L4:], before) {
		t.Errorf("% x became % x", before, f[there.L4:])
	}
	if got := string(f[there.Payload:there.End]); got != "inside" {
		t.Errorf("payload %q", got)
	}
	// Enhanced GRE, with another call id in each direction.
	call := mustDecode(t, ipv4(client4, server4, GRE, nil, gre(greKey|greSequence|greAck|grePPTP, []byte("ppp"))))
	if call.Tuple != there.Tuple || int(call.Payload-call.L4) != 16 {
		t.Errorf("PPTP: %+v", *call)
	}
}

// TestG7_GREHeaders: all 65536 flag words, cut at every length.
func TestG7_GREHeaders(t *testing.T) {
	bit := func(flags, f int) int { return flags & f / max(f, 1) }
	for flags := range 0x10000 {
		want := 4 + 4*bit(flags, greKey) + 4*bit(flags, greSequence)
		legal := true
		switch flags & 7 {
		case 0:
			want += 4 * max(bit(flags, greChecksum), bit(flags, greRouting))
		case 1:
			want += 4 * bit(flags, greAck)
			legal = flags&(greChecksum|greRouting) == 0 && flags&greKey != 0
		default:
			legal = false
		}
		h := make([]byte, 20)
		binary.BigEndian.PutUint16(h, uint16(flags))
		binary.BigEndian.PutUint16(h[2:], greProtoPPP)
		for n := range len(h) + 1 {
			var p Parsed
			r := decodeGRE(h[:n], &p)
			if pass := legal && n >= want; (r == drop.Pass) != pass || !pass && r != drop.GREInvalid || pass && int(p.Payload) != want {
				t.Fatalf("flags %04x, %d bytes: %v, payload at %d", flags, n, r, p.Payload)
			}
		}
	}
	if r := Decode(ipv4(client4, server4, GRE, nil, []byte{0x20, 1, 8, 0, 0, 0, 0, 0}), new(Parsed)); r != drop.GREInvalid {
		t.Errorf("version 1 of something that is not PPP: %v", r)
	}
}

// TestG10_DCCP: every type with and without X, with a header of every length.
func TestG10_DCCP(t *testing.T) {
	// The shortest headers of RFC 4340 sections 5.1 to 5.7, in bytes; 0: not allowed.
	long := [16]int{20, 28, 16, 24, 24, 24, 24, 28, 24, 24}
	short := [16]int{2: 12, 3: 16, 4: 16}
	for kind := range 16 {
		for x, least := range []int{short[kind], long[kind]} {
			for words := range 12 {
				segment := make([]byte, 40)
				binary.BigEndian.PutUint32(segment, 5004<<16|5005)
				segment[4], segment[8] = uint8(words), uint8(kind<<1|x)
				p, want := new(Parsed), drop.DCCPInvalid
				if least != 0 && words*4 >= least && words*4 <= len(segment) {
					want = drop.Pass
				}
				r := Decode(ipv4(client4, server4, DCCP, nil, segment), p)
				if r != want || r == drop.Pass && (p.Tuple.SrcPort != 5004 || p.Tuple.DstPort != 5005 || int(p.Payload-p.L4) != words*4) {
					t.Errorf("type %d, X %d, %d words: %v, want %v: %+v", kind, x, words, r, want, p.Tuple)
				}
			}
		}
	}
}

// TestG10_RoutersAmongThemselves: IGMP, PIM and OSPF have addresses and no ports, whatever
// stands in them, and their groups are told to be groups.
func TestG10_RoutersAmongThemselves(t *testing.T) {
	for _, r := range []struct {
		proto Proto
		group string
	}{{2, "224.0.0.22"}, {103, "224.0.0.13"}, {89, "224.0.0.5"}, {103, "ff02::d"}, {89, "ff02::5"}} {
		for n := range 12 {
			f := ipv4(client4, "224.0.0.1", r.proto, nil, bytes.Repeat([]byte{0xff}, n))
			if !addrIs4(r.group) {
				f = ipv6(client6, r.group, r.proto, nil, bytes.Repeat([]byte{0xff}, n))
			}
			if p := mustDecode(t, f); p.Kind != KindIP || p.Tuple.SrcPort|p.Tuple.DstPort != 0 || !p.DstMulticast() || p.Payload != p.L4 {
				t.Errorf("%v of %d bytes: %+v", r.proto, n, *p)
			}
		}
	}
}

func addrIs4(s string) bool {
	a := addr(s)
	return a.Is4()
}

// TestG9_ESPAndAH: the index of a security association is of one direction, so it names
// nothing. AH is opaque in IPv4; in IPv6 it is an extension header, and what stands behind
// it is what is tracked (as Linux does).
func TestG9_ESPAndAH(t *testing.T) {
	spi := []byte{0, 0, 0x12, 0x34, 0, 0, 0, 1}
	for _, f := range [][]byte{
		built(t, layers.IPProtocolESP, gopacket.Payload(spi)),
		ipv6(client6, server6, ESP, nil, spi),
		built(t, layers.IPProtocolAH, gopacket.Payload(append([]byte{uint8(TCP), 1, 0, 0}, spi...))),
	} {
		if p := mustDecode(t, f); p.Tuple.SrcPort|p.Tuple.DstPort != 0 || p.Payload != p.L4 {
			t.Errorf("%+v", *p)
		}
	}
	ah := append([]byte{uint8(UDP), 4, 0, 0}, make([]byte, 20)...)
	if p := mustDecode(t, ipv6(client6, server6, extAuth, ah, udp(nil))); p.Tuple.Proto != UDP || p.Tuple.DstPort != 53 {
		t.Errorf("AH over IPv6: %+v", *p)
	}
}

// TestProtocolsDoNotAllocate: neither decoding nor rewriting, with and without ports.
func TestProtocolsDoNotAllocate(t *testing.T) {
	for _, f := range rareFrames(t) {
		var p Parsed
		to := translated(mustDecode(t, f.frame).Tuple)
		n := testing.AllocsPerRun(100, func() {
			Decode(f.frame, &p)
			r := RewriteTo(p.Tuple, to)
			r.Apply(f.frame, &p)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", f.name, n)
		}
	}
}

// rareFrames are frames of the protocols that the path meets less often.
func rareFrames(tb testing.TB) []struct {
	name  string
	frame []byte
} {
	return []struct {
		name  string
		frame []byte
	}{
		{"SCTP64", summed(tb, ipv4(client4, server4, SCTP, nil, sctp(5, chunk(0, 3, make([]byte, 16)...))))},
		{"SCTP1500", summed(tb, ipv4(client4, server4, SCTP, nil, sctp(5, chunk(3, 0, make([]byte, 12)...), chunk(0, 3, make([]byte, 1448)...))))},
		{"SCTP256Chunks", summed(tb, ipv4(client4, server4, SCTP, nil, sctp(5, bytes.Repeat(chunk(63, 0), sctpChunksMax))))},
		{"UDPLite", summed(tb, ipv4(client4, server4, UDPLite, nil, with8(udp(make([]byte, 64)))))},
		{"DCCP", summed(tb, ipv4(client4, server4, DCCP, nil, dccp(4, make([]byte, 64))))},
		{"GRE", ipv4(client4, server4, GRE, nil, gre(greKey|greSequence, make([]byte, 64)))},
		{"ESP6", ipv6(client6, server6, ESP, nil, make([]byte, 64))},
	}
}

// with8 covers the header only.
func with8(lite []byte) []byte {
	binary.BigEndian.PutUint16(lite[4:], udpLen)
	return lite
}

func BenchmarkRareProtocols(b *testing.B) {
	for _, f := range rareFrames(b) {
		b.Run("Decode/"+f.name, func(b *testing.B) {
			var p Parsed
			for b.Loop() {
				if Decode(f.frame, &p) != drop.Pass {
					b.Fatal("refused")
				}
			}
		})
		p := mustDecode(b, f.frame)
		there := RewriteTo(p.Tuple, translated(p.Tuple))
		back := RewriteTo(translated(p.Tuple), p.Tuple)
		b.Run("Apply/"+f.name, func(b *testing.B) {
			frame := append([]byte(nil), f.frame...)
			for b.Loop() {
				there.Apply(frame, p)
				there, back = back, there
			}
		})
	}
}
