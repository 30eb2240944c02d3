package packet

import (
	"encoding/binary"
	"testing"

	"holdfast/dataplane/drop"
)

// row is one frame and what Decode must say about it.
type row struct {
	name  string
	frame []byte
	want  drop.Reason
}

func check(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			p := Parsed{Kind: 99, Fragment: true, WScale: 7} // what a reused one may hold
			if got := Decode(r.frame, &p); got != r.want {
				t.Fatalf("Decode: %v, want %v\n% x", got, r.want, r.frame)
			}
			switch {
			case r.want == drop.Pass && p.Kind == KindUnset:
				t.Error("passed without a kind")
			case r.want != drop.Pass && r.want != drop.Fragment && (p.Kind == KindIP || p.Kind > KindOther):
				t.Errorf("refused, and yet of kind %d", p.Kind)
			}
		})
	}
}

// cut returns the first n bytes.
func cut(f []byte, n int) []byte { return f[:n:n] }

func TestA1_IPv4Header(t *testing.T) {
	good := ipv4(client4, server4, UDP, nil, udp([]byte("hello")))
	total := func(n int) []byte {
		return with(good, func(f []byte) { binary.BigEndian.PutUint16(f[16:], uint16(n)) })
	}
	badSum := append([]byte(nil), good...)
	badSum[24] ^= 1
	check(t, []row{
		{"good", good, drop.Pass},
		{"empty", nil, drop.FrameTruncated},
		{"13 bytes", cut(good, 13), drop.FrameTruncated},
		{"only Ethernet", cut(good, 14), drop.FrameTruncated},
		{"33 bytes", cut(good, 33), drop.FrameTruncated},
		{"version 5", with(good, func(f []byte) { f[14] = 0x55 }), drop.IPv4HeaderInvalid},
		{"version 6 under the IPv4 type", with(good, func(f []byte) { f[14] = 0x65 }), drop.IPv4HeaderInvalid},
		{"IHL 4", with(good, func(f []byte) { f[14] = 0x44 }), drop.IPv4HeaderInvalid},
		{"IHL 0", with(good, func(f []byte) { f[14] = 0x40 }), drop.IPv4HeaderInvalid},
		{"IHL past the total length", with(total(23), func(f []byte) { f[14] = 0x46 }), drop.IPv4HeaderInvalid},
		{"total 0", total(0), drop.IPv4HeaderInvalid},
		{"total 19", total(19), drop.IPv4HeaderInvalid},
		{"total past the frame", total(34), drop.FrameTruncated},
		{"total 65535", total(65535), drop.FrameTruncated},
		{"checksum", badSum, drop.IPv4BadChecksum},
		{"longer than offsets reach", append(good, make([]byte, 65536)...), drop.TooBig},
	})
}

func TestA2_EthernetPadding(t *testing.T) {
	for _, f := range [][]byte{
		summed(t, ipv4(client4, server4, TCP, nil, tcp(FlagACK, nil, nil))),
		summed(t, ipv6(client6, server6, UDP, nil, udp(nil))),
	} {
		bare := *mustDecode(t, f)
		for _, pad := range []int{1, 6, 46} {
			padded := append(append([]byte(nil), f...), make([]byte, pad)...)
			padded[len(padded)-1] = 0xee // padding need not be zero
			p := mustDecode(t, padded)
			if *p != bare {
				t.Errorf("%d bytes of padding: %+v, want %+v", pad, *p, bare)
			}
			if p.SegmentLen() != 0 || !VerifyChecksum(padded, p) {
				t.Errorf("%d bytes of padding: length %d, checksum right %v", pad, p.SegmentLen(), VerifyChecksum(padded, p))
			}
		}
	}
}

func TestA3_TruncatedL4(t *testing.T) {
	var rows []row
	add := func(name string, proto Proto, segment []byte, want drop.Reason) {
		p6 := proto
		if proto == ICMP {
			p6 = ICMPv6
		}
		rows = append(rows, row{name + "/4", ipv4(client4, server4, proto, nil, segment), want},
			row{name + "/6", ipv6(client6, server6, p6, nil, segment), want})
	}
	offset := func(words int, n int) []byte {
		s := tcp(FlagACK, nil, make([]byte, n))
		s[12] = uint8(words << 4)
		return s
	}
	length := func(n int) []byte {
		s := udp(make([]byte, 10))
		binary.BigEndian.PutUint16(s[4:], uint16(n))
		return s
	}
	add("TCP of 0 bytes", TCP, nil, drop.TCPTruncated)
	add("TCP of 19 bytes", TCP, tcp(FlagACK, nil, nil)[:19], drop.TCPTruncated)
	add("TCP offset 0", TCP, offset(0, 0), drop.TCPTruncated)
	add("TCP offset 4", TCP, offset(4, 0), drop.TCPTruncated)
	add("TCP offset 15, one byte short", TCP, offset(15, 39), drop.TCPTruncated)
	add("TCP offset 15", TCP, offset(15, 40), drop.Pass)
	add("UDP of 7 bytes", UDP, udp(nil)[:7], drop.UDPTruncated)
	add("UDP length 0", UDP, length(0), drop.UDPTruncated)
	add("UDP length 7", UDP, length(7), drop.UDPTruncated)
	add("UDP length 8", UDP, length(8), drop.Pass)
	add("UDP length one past the packet", UDP, length(19), drop.UDPTruncated)
	add("UDP-Lite of 7 bytes", UDPLite, udp(nil)[:7], drop.UDPTruncated)
	add("UDP-Lite covers all by 0", UDPLite, length(0), drop.Pass)
	add("UDP-Lite covers 7", UDPLite, length(7), drop.UDPLiteCoverage)
	add("UDP-Lite covers 8", UDPLite, length(8), drop.Pass)
	add("UDP-Lite covers more than there is", UDPLite, length(19), drop.UDPLiteCoverage)
	add("SCTP of 15 bytes", SCTP, sctp(7, chunk(14, 0))[:15], drop.SCTPTruncated)
	add("SCTP of 16 bytes", SCTP, sctp(7, chunk(14, 0)), drop.Pass)
	add("DCCP of 11 bytes", DCCP, dccp(2, nil)[:11], drop.DCCPInvalid)
	add("GRE of 3 bytes", GRE, []byte{0, 0, 8}, drop.GREInvalid)
	add("ICMP of 7 bytes", ICMP, icmp(0, 0, 1, nil)[:7], drop.ICMPTruncated)
	check(t, rows)
}

func TestA5_UDPWithoutChecksum(t *testing.T) {
	none := udp([]byte("x"))
	none[6], none[7] = 0, 0
	check(t, []row{
		{"UDP over IPv4", ipv4(client4, server4, UDP, nil, none), drop.Pass},
		{"UDP over IPv6", ipv6(client6, server6, UDP, nil, none), drop.UDPNoChecksum},
		{"UDP-Lite over IPv4", ipv4(client4, server4, UDPLite, nil, none), drop.UDPNoChecksum},
		{"UDP-Lite over IPv6", ipv6(client6, server6, UDPLite, nil, none), drop.UDPNoChecksum},
	})
}

func TestA6_TCPFlagSets(t *testing.T) {
	valid := map[TCPFlags]bool{
		FlagSYN: true, FlagSYN | FlagURG: true, FlagSYN | FlagACK: true, FlagRST: true, FlagRST | FlagACK: true,
		FlagFIN | FlagACK: true, FlagFIN | FlagACK | FlagURG: true, FlagACK: true, FlagACK | FlagURG: true,
	}
	for i := range 1 << 9 { // the ninth is AE (AccECN)
		segment := tcp(TCPFlags(i), nil, nil)
		segment[12] |= uint8(i >> 8)
		want := drop.TCPFlagsInvalid
		if valid[TCPFlags(i)&^(FlagPSH|FlagECE|FlagCWR)] {
			want = drop.Pass
		}
		var p Parsed
		if got := Decode(ipv4(client4, server4, TCP, nil, segment), &p); got != want {
			t.Errorf("flags %09b: %v, want %v", i, got, want)
		}
	}
}

func TestA7_TCPOptions(t *testing.T) {
	type seen struct {
		has   TCPOptions
		scale uint8
		mss   uint16
		right uint32
	}
	block := func(right uint32) []byte {
		return binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0}, right)
	}
	sack := func(blocks ...uint32) []byte {
		o := []byte{1, 1, 5, uint8(2 + 8*len(blocks))}
		for _, b := range blocks {
			o = append(o, block(b)...)
		}
		return o
	}
	const ack = 2000 // of tcp()
	plain := seen{right: ack}
	for _, r := range []struct {
		name    string
		flags   TCPFlags
		options []byte
		want    seen
	}{
		{"all of a SYN", FlagSYN, []byte{2, 4, 5, 180, 4, 2, 1, 3, 3, 7, 0, 0}, seen{HasMSS | HasSACKPermitted | HasWScale, 7, 1460, ack}},
		{"scale 14", FlagSYN, []byte{3, 3, 14, 1}, seen{HasWScale, 14, 0, ack}},
		{"scale 15 is 14", FlagSYN, []byte{3, 3, 15, 1}, seen{HasWScale, 14, 0, ack}},
		{"scale 255 is 14", FlagSYN | FlagACK, []byte{3, 3, 255, 1}, seen{HasWScale, 14, 0, ack}},
		{"the last scale counts", FlagSYN, []byte{3, 3, 2, 3, 3, 9, 1, 1}, seen{HasWScale, 9, 0, ack}},
		{"end stops", FlagSYN, []byte{0, 3, 3, 7}, plain},
		{"length 0 stops", FlagSYN, []byte{8, 0, 1, 3, 3, 7, 1, 1}, plain},
		{"length 1 stops", FlagSYN, []byte{8, 1, 1, 3, 3, 7, 1, 1}, plain},
		{"length past the header stops", FlagSYN, []byte{3, 3, 7, 8, 40, 0, 0, 0}, seen{HasWScale, 7, 0, ack}},
		{"kind without length at the end", FlagSYN, []byte{1, 1, 1, 3}, plain},
		{"kind and length at the end", FlagSYN, []byte{1, 1, 3, 3}, plain},
		{"scale of the wrong length", FlagSYN, []byte{3, 4, 7, 7}, plain},
		{"MSS of the wrong length", FlagSYN, []byte{2, 3, 7, 1}, plain},
		{"SACK permitted of the wrong length", FlagSYN, []byte{4, 3, 7, 1}, plain},
		{"outside a SYN these mean nothing", FlagACK, []byte{2, 4, 5, 180, 4, 2, 1, 3, 3, 7, 0, 0}, plain},
		{"timestamps in their usual place", FlagACK, timestamps, plain},
		{"timestamps then SACK", FlagACK, append(append([]byte{}, timestamps...), sack(3000)...), seen{HasSACK, 0, 0, 3000}},
		{"one block", FlagACK, sack(3000), seen{HasSACK, 0, 0, 3000}},
		{"the furthest block", FlagACK, sack(3000, 9000, 5000), seen{HasSACK, 0, 0, 9000}},
		{"four blocks", FlagACK, sack(3000, 9000, 5000, 9500), seen{HasSACK, 0, 0, 9500}},
		{"a D-SACK below the ack", FlagACK, sack(1500), seen{HasSACK, 0, 0, ack}},
		{"further modulo 2^32", FlagACK, sack(ack + 1<<31 - 1), seen{HasSACK, 0, 0, ack + 1<<31 - 1}},
		{"behind modulo 2^32", FlagACK, sack(0xffffff00), seen{HasSACK, 0, 0, ack}},
		{"no block", FlagACK, []byte{5, 2, 1, 1}, plain},
		{"a block of seven bytes", FlagACK, []byte{5, 9, 0, 0, 0, 0, 0, 0, 99, 1, 1, 1}, plain},
		{"a block and a bit", FlagACK, []byte{5, 11, 0, 0, 0, 0, 0, 0, 99, 0, 1, 1}, plain},
		{"SACK without ACK", FlagSYN, sack(3000), plain},
		{"unknown options are skipped", FlagSYN, []byte{30, 4, 0, 0, 34, 2, 29, 4, 1, 1, 172, 2, 19, 2, 3, 3, 5, 1, 1, 1}, seen{HasWScale, 5, 0, ack}},
	} {
		t.Run(r.name, func(t *testing.T) {
			f := ipv4(client4, server4, TCP, nil, tcp(r.flags, r.options, nil))
			p := mustDecode(t, f)
			if got := (seen{p.TCPOptions, p.WScale, p.MSS, p.SACKRight}); got != r.want {
				t.Errorf("%+v, want %+v", got, r.want)
			}
		})
	}
}

func TestA8_SourceRoutes(t *testing.T) {
	u := udp([]byte("x"))
	opt := func(options ...byte) []byte { return ipv4(client4, server4, UDP, options, u) }
	check(t, []row{
		{"LSRR", opt(131, 7, 4, 1, 2, 3, 4, 0), drop.IPv4SourceRoute},
		{"SSRR", opt(137, 7, 4, 1, 2, 3, 4, 0), drop.IPv4SourceRoute},
		{"LSRR behind others", opt(1, 148, 4, 0, 0, 131, 3, 4), drop.IPv4SourceRoute},
		{"LSRR behind the end", opt(0, 131, 3, 4), drop.Pass},
		{"record route", opt(7, 7, 4, 0, 0, 0, 0, 0), drop.Pass},
		{"router alert", opt(148, 4, 0, 0), drop.Pass},
		{"unknown", opt(222, 4, 0, 0), drop.Pass},
		{"length 0", opt(7, 0, 131, 3), drop.IPv4HeaderInvalid},
		{"length 1", opt(7, 1, 131, 3), drop.IPv4HeaderInvalid},
		{"length past the header", opt(7, 5, 131, 3), drop.IPv4HeaderInvalid},
		{"kind without length", opt(1, 1, 1, 7), drop.IPv4HeaderInvalid},
		{"forty bytes", opt(append([]byte{7, 39, 4}, make([]byte, 37)...)...), drop.Pass},
	})
	p := mustDecode(t, opt(148, 4, 0, 0))
	if p.L4 != 38 || p.Tuple.DstPort != 53 || p.Tuple.SrcPort != 5000 {
		t.Errorf("behind options: L4 %d, ports %d %d", p.L4, p.Tuple.SrcPort, p.Tuple.DstPort)
	}
}

func TestA8_Addresses(t *testing.T) {
	u := udp([]byte("x"))
	var rows []row
	pair4 := func(src, dst string, want drop.Reason) {
		rows = append(rows, row{src + " to " + dst, ipv4(src, dst, UDP, nil, u), want})
	}
	pair6 := func(src, dst string, want drop.Reason) {
		rows = append(rows, row{src + " to " + dst, ipv6(src, dst, UDP, nil, u), want})
	}
	pair4(client4, server4, drop.Pass)
	for _, bad := range []string{server4, "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.1.2", "224.0.0.1", "239.255.255.255", "255.255.255.255"} {
		pair4(bad, server4, drop.AddressInvalid)
	}
	for _, odd := range []string{"240.0.0.1", "255.255.255.254", "169.254.1.1", "1.0.0.1", "126.1.1.1", "128.0.0.1", "223.255.255.255"} {
		pair4(odd, server4, drop.Pass)
		pair4(server4, odd, drop.Pass)
	}
	pair4(client4, "127.0.0.1", drop.AddressInvalid)
	pair4(client4, "0.0.0.0", drop.AddressInvalid)
	pair4(client4, "224.0.0.251", drop.Pass)
	pair4(client4, "255.255.255.255", drop.Pass)

	pair6(client6, server6, drop.Pass)
	for _, bad := range []string{server6, "::", "::1", "ff02::1", "::ffff:10.0.0.2", "::ffff:0:0"} {
		pair6(bad, server6, drop.AddressInvalid)
	}
	for _, bad := range []string{"::", "::1", "::ffff:203.0.113.9"} {
		pair6(client6, bad, drop.AddressInvalid)
	}
	for _, odd := range []string{"fe80::1", "fd00::1", "::2", "::10.0.0.2", "64:ff9b::1"} {
		pair6(odd, server6, drop.Pass)
		pair6(server6, odd, drop.Pass)
	}
	pair6(client6, "ff02::fb", drop.Pass)
	check(t, rows)
}

func TestA9_OtherEtherTypes(t *testing.T) {
	check(t, []row{
		{"LLDP", ether(0x88cc, make([]byte, 46)), drop.EtherTypeUnknown},
		{"802.3 length (spanning tree)", ether(38, make([]byte, 46)), drop.EtherTypeUnknown},
		{"PPPoE", ether(0x8864, make([]byte, 46)), drop.EtherTypeUnknown},
		{"VLAN tag", ether(etherVLAN, make([]byte, 46)), drop.VLANUnexpected},
		{"service tag", ether(etherQinQ, make([]byte, 46)), drop.VLANStacked},
		{"ARP cut short", ether(etherARP, make([]byte, 27)), drop.FrameTruncated},
		{"ARP", ether(etherARP, make([]byte, 28)), drop.Pass},
		{"ARP padded", ether(etherARP, make([]byte, 46)), drop.Pass},
	})
	if p := mustDecode(t, ether(etherARP, make([]byte, 46))); p.Kind != KindARP || p.Version != 0 {
		t.Errorf("ARP: kind %d, version %d", p.Kind, p.Version)
	}
}

func TestA10_ScopeOfAddresses(t *testing.T) {
	u := udp([]byte("x"))
	for _, r := range []struct {
		name                 string
		frame                []byte
		multicast, linkLocal bool
	}{
		{"plain 4", ipv4(client4, server4, UDP, nil, u), false, false},
		{"plain 6", ipv6(client6, server6, UDP, nil, u), false, false},
		{"group 4", ipv4(client4, "224.0.0.251", UDP, nil, u), true, false},
		{"broadcast", ipv4(client4, "255.255.255.255", UDP, nil, u), true, false},
		{"group 6", ipv6(client6, "ff05::2", UDP, nil, u), true, false},
		{"link-local source 4", ipv4("169.254.3.4", server4, UDP, nil, u), false, true},
		{"link-local destination 4", ipv4(client4, "169.254.3.4", UDP, nil, u), false, true},
		{"link-local source 6", ipv6("fe80::1", server6, UDP, nil, u), false, true},
		{"link-local destination 6", ipv6(client6, "febf::1", UDP, nil, u), false, true},
		{"site-local is not link-local", ipv6(client6, "fec0::1", UDP, nil, u), false, false},
		{"IPv6 that looks like 169.254", ipv6(client6, "::169.254.1.1", UDP, nil, u), false, false},
	} {
		p := mustDecode(t, r.frame)
		if p.DstMulticast() != r.multicast || p.LinkLocal() != r.linkLocal {
			t.Errorf("%s: multicast %v, link-local %v", r.name, p.DstMulticast(), p.LinkLocal())
		}
	}
}

func TestG4_ICMPTuples(t *testing.T) {
	for _, r := range []struct {
		name  string
		frame []byte
		id    uint16
		query bool
		err   bool
	}{
		{"echo request", ipv4(client4, server4, ICMP, nil, icmp(8, 0, 77, nil)), 77, true, false},
		{"echo reply", ipv4(client4, server4, ICMP, nil, icmp(0, 0, 77, nil)), 77, true, false},
		{"timestamp", ipv4(client4, server4, ICMP, nil, icmp(13, 0, 77, nil)), 77, true, false},
		{"address mask", ipv4(client4, server4, ICMP, nil, icmp(17, 0, 77, nil)), 77, true, false},
		{"unreachable has no id", ipv4(client4, server4, ICMP, nil, icmp(3, 4, 77, nil)), 0, false, true},
		{"redirect", ipv4(client4, server4, ICMP, nil, icmp(5, 0, 77, nil)), 0, false, true},
		{"echo request 6", ipv6(client6, server6, ICMPv6, nil, icmp(128, 0, 77, nil)), 77, true, false},
		{"echo request 6 with id 0", ipv6(client6, server6, ICMPv6, nil, icmp(128, 0, 0, nil)), 0, true, false},
		{"packet too big", ipv6(client6, server6, ICMPv6, nil, icmp(2, 0, 77, nil)), 0, false, true},
		{"node information is no error", ipv6(client6, server6, ICMPv6, nil, icmp(139, 0, 77, nil)), 0, false, false},
	} {
		p := mustDecode(t, r.frame)
		kind := uint16(p.ICMPType)<<8 | uint16(p.ICMPCode)
		if p.Kind != KindIP || p.Tuple.SrcPort != r.id || p.Tuple.DstPort != kind ||
			p.IsICMPQuery() != r.query || p.IsICMPError() != r.err {
			t.Errorf("%s: %+v", r.name, *p)
		}
	}
	check(t, []row{
		{"ICMPv6 over IPv4", ipv4(client4, server4, ICMPv6, nil, icmp(128, 0, 7, nil)), drop.ICMPTypeUntracked},
		{"ICMP over IPv6", ipv6(client6, server6, ICMP, nil, icmp(8, 0, 7, nil)), drop.ICMPTypeUntracked},
	})
}

func TestG6_NeighborDiscoveryIsNotTracked(t *testing.T) {
	for kind := range 256 {
		want := KindIP
		switch {
		case kind >= 133 && kind <= 137:
			want = KindND
		case kind >= 130 && kind <= 132, kind == 143:
			want = KindMLD
		}
		p := mustDecode(t, ipv6("fe80::1", "ff02::1", ICMPv6, nil, icmp(uint8(kind), 0, 0, nil)))
		if p.Kind != want {
			t.Errorf("type %d: kind %d, want %d", kind, p.Kind, want)
		}
	}
	solicitation := icmp(135, 0, 0, make([]byte, 16))
	report := icmp(143, 0, 0, nil)
	alert := []byte{uint8(ICMPv6), 0, 5, 2, 0, 0, 1, 0}
	atomic := []byte{uint8(ICMPv6), 0, 0, 0, 0, 0, 0, 9}
	check(t, []row{
		{"duplicate address detection", ipv6("::", "ff02::1:ff00:9", ICMPv6, nil, solicitation), drop.Pass},
		{"listener report without address", ipv6("::", "ff02::16", extHopByHop, alert, report), drop.Pass},
		{"echo without address", ipv6("::", server6, ICMPv6, nil, icmp(128, 0, 1, nil)), drop.AddressInvalid},
		{"UDP without address", ipv6("::", server6, UDP, nil, udp(nil)), drop.AddressInvalid},
		{"solicitation in an atomic fragment", ipv6("fe80::1", "ff02::1", extFragment, atomic, solicitation), drop.IPv6ChainInvalid},
	})
}

func TestG9_OtherProtocols(t *testing.T) {
	for _, proto := range []Proto{0, 3, 4, ESP, 41, 51, 89, 253, 255} {
		p := mustDecode(t, ipv4(client4, server4, proto, nil, []byte{1, 2, 3}))
		if p.Tuple.Proto != proto || p.Tuple.SrcPort|p.Tuple.DstPort != 0 || p.Payload != p.L4 || int(p.End)-int(p.L4) != 3 {
			t.Errorf("%v: %+v", proto, *p)
		}
	}
}

func TestK1_FragmentsAreToldApart(t *testing.T) {
	whole := ipv4(client4, server4, UDP, nil, udp(make([]byte, 16)))
	bits := func(v uint16) []byte {
		return with(whole, func(f []byte) { binary.BigEndian.PutUint16(f[20:], v) })
	}
	frag6 := func(v uint16) []byte {
		h := []byte{uint8(UDP), 0, uint8(v >> 8), uint8(v), 0, 0, 0, 9}
		return ipv6(client6, server6, extFragment, h, udp(make([]byte, 16)))
	}
	check(t, []row{
		{"don't fragment", bits(0x4000), drop.Pass},
		{"reserved bit", bits(0x8000), drop.Pass},
		{"first", bits(0x2000), drop.Fragment},
		{"middle", bits(0x2001), drop.Fragment},
		{"last", bits(0x0001), drop.Fragment},
		{"last, far", bits(0x1fff), drop.Fragment},
		{"atomic 6 (RFC 6946)", frag6(0), drop.Pass},
		{"reserved bits 6", frag6(6), drop.Pass},
		{"first 6", frag6(1), drop.Fragment},
		{"last 6", frag6(8), drop.Fragment},
	})
	var p Parsed
	for _, f := range [][]byte{bits(0x2000), bits(1), frag6(1), frag6(8)} {
		Decode(f, &p)
		if p.Kind != KindIP || !p.Fragment || p.Tuple.SrcPort|p.Tuple.DstPort != 0 || p.Tuple.Proto != UDP {
			t.Errorf("%+v", p)
		}
	}
	if p := mustDecode(t, frag6(0)); p.Fragment || p.Tuple.DstPort != 53 {
		t.Errorf("atomic fragment: %+v", *p)
	}
}

func TestE1_SegmentLen(t *testing.T) {
	for _, r := range []struct {
		flags   TCPFlags
		payload int
		want    uint32
	}{
		{FlagSYN, 0, 1}, {FlagACK, 0, 0}, {FlagACK, 100, 100}, {FlagFIN | FlagACK, 0, 1},
		{FlagFIN | FlagACK, 5, 6}, {FlagSYN | FlagACK, 9, 10}, {FlagRST, 3, 3},
	} {
		p := mustDecode(t, ipv4(client4, server4, TCP, nil, tcp(r.flags, timestamps, make([]byte, r.payload))))
		if p.SegmentLen() != r.want {
			t.Errorf("flags %06b, %d bytes: %d, want %d", r.flags, r.payload, p.SegmentLen(), r.want)
		}
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	var p Parsed
	for _, f := range pathFrames(t) {
		if n := testing.AllocsPerRun(100, func() { Decode(f.frame, &p) }); n != 0 {
			t.Errorf("%s: %v allocations", f.name, n)
		}
	}
}
