package packet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"holdfast/dataplane/drop"
)

const (
	wall4, wall6 = "10.0.0.1", "2001:db8:1::1"
)

// answer is one of the functions that answer a packet.
type answer struct {
	name string
	put  func(dst, frame []byte, p *Parsed, from Addr) int
}

var icmpAnswers = []answer{
	{"time exceeded", AppendTimeExceeded},
	{"no route", func(d, f []byte, p *Parsed, a Addr) int { return AppendUnreachable(d, f, p, a, UnreachableRoute) }},
	{"host", func(d, f []byte, p *Parsed, a Addr) int { return AppendUnreachable(d, f, p, a, UnreachableHost) }},
	{"port", func(d, f []byte, p *Parsed, a Addr) int { return AppendUnreachable(d, f, p, a, UnreachablePort) }},
	{"prohibited", func(d, f []byte, p *Parsed, a Addr) int { return AppendUnreachable(d, f, p, a, UnreachableProhibited) }},
	{"too big", func(d, f []byte, p *Parsed, a Addr) int { return AppendTooBig(d, f, p, a, 1400) }},
}

var reset = answer{"reset", func(d, f []byte, p *Parsed, _ Addr) int { return AppendReset(d, f, p) }}

// dirty returns a buffer that held another frame before.
func dirty(n int) []byte { return bytes.Repeat([]byte{0xaa}, n) }

func TestH9_ErrorsQuoteWhatTheSenderSent(t *testing.T) {
	codes := map[string][2][3]uint8{ // type, code, MTU there; IPv4, IPv6
		"time exceeded": {{11, 0}, {3, 0}}, "no route": {{3, 0}, {1, 0}}, "host": {{3, 1}, {1, 3}},
		"port": {{3, 3}, {1, 4}}, "prohibited": {{3, 13}, {1, 1}}, "too big": {{3, 4, 1}, {2, 0, 1}},
	}
	for _, a := range icmpAnswers {
		for _, size := range []int{0, 1, 20, 511, 512, 1400} {
			f4 := summed(t, ipv4(client4, server4, UDP, []byte{148, 4, 0, 0}, udp(make([]byte, size))))
			f6 := summed(t, ipv6(client6, server6, extDestination, make6(UDP), udp(make([]byte, size))))
			for family, f := range [][]byte{f4, f6} {
				from, most, header := addr(wall4), 576, ipv4Len
				if family == 1 {
					from, most, header = addr(wall6), 1280, ipv6Len
				}
				p := mustDecode(t, f)
				buf := dirty(2048)
				got := buf[:a.put(buf, f, p, from)]
				q := mustDecode(t, got)
				want := codes[a.name][family]
				if q.Tuple.Src != from || q.Tuple.Dst != p.Tuple.Src || q.ICMPType != want[0] || q.ICMPCode != want[1] || !q.IsICMPError() {
					t.Fatalf("%s about %d bytes: %+v", a.name, size, *q)
				}
				if !VerifyChecksum(got, q) || q.TTL != 64 || DstMAC(got) != macHost || SrcMAC(got) != macWall {
					t.Errorf("%s about %d bytes: checksum, TTL or MACs\n% x", a.name, size, got)
				}
				quote := got[int(q.L4)+icmpLen : q.End]
				if length := min(p.Len(), most-header-icmpLen); !bytes.Equal(quote, f[14:14+length]) {
					t.Errorf("%s about %d bytes: quotes %d bytes, want %d", a.name, size, len(quote), length)
				}
				if mtu := binary.BigEndian.Uint32(got[q.L4+4:]); mtu != uint32(want[2])*1400 {
					t.Errorf("%s: MTU %d", a.name, mtu)
				}
				if q.Len() > most || len(got) < frameMin || bytes.Contains(got[q.End:], []byte{0xaa}) {
					t.Errorf("%s about %d bytes: %d bytes, frame of %d", a.name, size, q.Len(), len(got))
				}
			}
		}
	}
}

func TestH9_WhatIsNeverAnswered(t *testing.T) {
	u := udp([]byte("x"))
	syn := tcp(FlagSYN, nil, nil)
	toGroup := func(f []byte) []byte { return with(f, func(f []byte) { f[0] |= 1 }) }
	fromGroup := func(f []byte) []byte { return with(f, func(f []byte) { f[6] |= 1 }) }
	never := []row{
		{"to a group 4", ipv4(client4, "224.0.0.9", UDP, nil, u), drop.Pass},
		{"to everybody 4", ipv4(client4, "255.255.255.255", UDP, nil, u), drop.Pass},
		{"to a group 6", ipv6(client6, "ff05::2", UDP, nil, u), drop.Pass},
		{"TCP to a group", ipv4(client4, "224.0.0.9", TCP, nil, syn), drop.Pass},
		{"in a group frame 4", toGroup(ipv4(client4, server4, UDP, nil, u)), drop.Pass},
		{"in a group frame 6", toGroup(ipv6(client6, server6, UDP, nil, u)), drop.Pass},
		{"TCP in a group frame", toGroup(ipv4(client4, server4, TCP, nil, syn)), drop.Pass},
		{"from a group station", fromGroup(ipv4(client4, server4, TCP, nil, syn)), drop.Pass},
		{"first fragment", with(ipv4(client4, server4, TCP, nil, syn), func(f []byte) { f[20] = 0x20 }), drop.Fragment},
		{"later fragment", with(ipv4(client4, server4, UDP, nil, u), func(f []byte) { f[21] = 3 }), drop.Fragment},
		{"fragment 6", frame6(UDP, u, ext{extFragment, []byte{0, 0, 8, 0, 0, 0, 9}}), drop.Fragment},
		{"solicitation", ipv6("fe80::1", "fe80::2", ICMPv6, nil, icmp(135, 0, 0, make([]byte, 16))), drop.Pass},
		{"ARP", ether(etherARP, make([]byte, 28)), drop.Pass},
		{"refused", ipv4("127.0.0.1", server4, TCP, nil, syn), drop.AddressInvalid},
	}
	for _, kind := range []uint8{3, 4, 5, 11, 12} {
		never = append(never, row{"ICMP error", ipv4(client4, server4, ICMP, nil, icmp(kind, 0, 0, nil)), drop.Pass})
	}
	for _, kind := range []uint8{1, 2, 3, 4, 100, 127} {
		never = append(never, row{"ICMPv6 error", ipv6(client6, server6, ICMPv6, nil, icmp(kind, 0, 0, nil)), drop.Pass})
	}
	for _, r := range never {
		var p Parsed
		if got := Decode(r.frame, &p); got != r.want {
			t.Fatalf("%s: %v", r.name, got)
		}
		from := addr(wall4)
		if p.Version == 6 {
			from = addr(wall6)
		}
		for _, a := range append(icmpAnswers[:len(icmpAnswers):len(icmpAnswers)], reset) {
			if n := a.put(dirty(2048), r.frame, &p, from); n != 0 {
				t.Errorf("%s: answered by %s", r.name, a.name)
			}
		}
	}
}

func TestH9_NoErrorFromAWrongAddress(t *testing.T) {
	f4, f6 := ipv4(client4, server4, UDP, nil, udp(nil)), ipv6(client6, server6, UDP, nil, udp(nil))
	p4, p6 := mustDecode(t, f4), mustDecode(t, f6)
	for _, a := range icmpAnswers {
		for _, from := range []Addr{{}, addr(wall6), addr("224.0.0.1"), addr("ff02::1")} {
			if a.put(dirty(2048), f4, p4, from) != 0 {
				t.Errorf("%s about IPv4 from %v", a.name, from)
			}
		}
		for _, from := range []Addr{{}, addr(wall4), addr("ff02::1")} {
			if a.put(dirty(2048), f6, p6, from) != 0 {
				t.Errorf("%s about IPv6 from %v", a.name, from)
			}
		}
		need := a.put(dirty(2048), f6, p6, addr(wall6))
		if a.put(dirty(need-1), f6, p6, addr(wall6)) != 0 || a.put(dirty(need), f6, p6, addr(wall6)) != need {
			t.Errorf("%s: a buffer of %d bytes is the shortest", a.name, need)
		}
	}
	if AppendUnreachable(dirty(2048), f4, p4, addr(wall4), UnreachableUnset) != 0 ||
		AppendUnreachable(dirty(2048), f4, p4, addr(wall4), 200) != 0 {
		t.Error("an unreachable without a reason")
	}
	may := with(f4, func(f []byte) { f[20] = 0 }) // without DF a router fragments
	if AppendTooBig(dirty(2048), may, mustDecode(t, may), addr(wall4), 1400) != 0 {
		t.Error("too big about a packet that may be fragmented")
	}
}

func TestB14_ResetAnswersByTheBook(t *testing.T) {
	const seq, ack = 1000, 2000 // of tcp()
	for _, r := range []struct {
		name      string
		flags     TCPFlags
		payload   int
		wantFlags TCPFlags
		wantSeq   uint32
		wantAck   uint32
	}{
		{"SYN: seq 0, acknowledges it", FlagSYN, 0, FlagRST | FlagACK, 0, seq + 1},
		{"SYN with data: acknowledges all", FlagSYN, 9, FlagRST | FlagACK, 0, seq + 10},
		{"ACK: seq is what it acknowledges", FlagACK, 5, FlagRST, ack, 0},
		{"SYN/ACK", FlagSYN | FlagACK, 0, FlagRST, ack, 0},
		{"FIN/ACK", FlagFIN | FlagACK, 3, FlagRST, ack, 0},
	} {
		for _, f := range [][]byte{
			ipv4(client4, server4, TCP, nil, tcp(r.flags, timestamps, make([]byte, r.payload))),
			ipv6(client6, server6, TCP, nil, tcp(r.flags, timestamps, make([]byte, r.payload))),
		} {
			p := mustDecode(t, f)
			buf := dirty(2048)
			got := buf[:AppendReset(buf, f, p)]
			q := mustDecode(t, got)
			if q.Tuple != p.Tuple.Reply() || q.TCPFlags != r.wantFlags || q.Seq != r.wantSeq || q.Ack != r.wantAck {
				t.Errorf("%s: %v, flags %06b, seq %d, ack %d", r.name, q.Tuple, q.TCPFlags, q.Seq, q.Ack)
			}
			if !VerifyChecksum(got, q) || q.Window != 0 || q.SegmentLen() != 0 || len(got) < frameMin ||
				DstMAC(got) != macHost || SrcMAC(got) != macWall {
				t.Errorf("%s\n% x", r.name, got)
			}
			if AppendReset(dirty(len(got)-1), f, p) != 0 {
				t.Errorf("%s: wrote past the buffer", r.name)
			}
		}
	}
	for _, flags := range []TCPFlags{FlagRST, FlagRST | FlagACK} {
		f := ipv4(client4, server4, TCP, nil, tcp(flags, nil, nil))
		if AppendReset(dirty(2048), f, mustDecode(t, f)) != 0 {
			t.Error("a reset was answered")
		}
	}
	f := ipv4(client4, server4, UDP, nil, udp(nil))
	if AppendReset(dirty(2048), f, mustDecode(t, f)) != 0 {
		t.Error("UDP was answered by a reset")
	}
}

func TestAnnouncementARP(t *testing.T) {
	buf := dirty(AnnouncementLen)
	got := buf[:AppendAnnouncement(buf, macWall, addr(wall4))]
	want := append([]byte{
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0xfe, 0x08, 0x06,
		0, 1, 8, 0, 6, 4, 0, 1, // Ethernet, IPv4, request
		0x02, 0, 0, 0, 0, 0xfe, 10, 0, 0, 1,
		0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
	}, make([]byte, 18)...)
	if !bytes.Equal(got, want) {
		t.Errorf("got, want\n% x\n% x", got, want)
	}
}

func TestAnnouncementNA(t *testing.T) {
	buf := dirty(AnnouncementLen)
	got := buf[:AppendAnnouncement(buf, macWall, addr(wall6))]
	p := mustDecode(t, got)
	if p.Kind != KindND || p.ICMPType != 136 || p.TTL != 255 || p.Tuple.Src != addr(wall6) || p.Tuple.Dst != addr("ff02::1") {
		t.Errorf("%+v", *p)
	}
	if DstMAC(got).String() != "33:33:00:00:00:01" || SrcMAC(got) != macWall || !VerifyChecksum(got, p) {
		t.Errorf("MACs or checksum\n% x", got)
	}
	na := got[p.L4:p.End]
	if na[4] != 0xa0 || Addr(na[8:]) != addr(wall6) || !bytes.Equal(na[24:], append([]byte{2, 1}, macWall[:]...)) {
		t.Errorf("% x", na)
	}
}

func TestAnnouncementRefuses(t *testing.T) {
	for _, a := range []string{"::", "ff02::1", "224.0.0.1", "255.255.255.255"} {
		if AppendAnnouncement(dirty(2048), macWall, addr(a)) != 0 {
			t.Errorf("announced %s", a)
		}
	}
	if AppendGratuitousARP(dirty(2048), macWall, addr(wall6)) != 0 || AppendUnsolicitedNA(dirty(2048), macWall, addr(wall4)) != 0 {
		t.Error("announced in the wrong family")
	}
	if AppendAnnouncement(dirty(59), macWall, addr(wall4)) != 0 || AppendAnnouncement(dirty(AnnouncementLen-1), macWall, addr(wall6)) != 0 {
		t.Error("wrote past the buffer")
	}
}

func TestAnswersDoNotAllocate(t *testing.T) {
	f4, f6 := ipv4(client4, server4, TCP, nil, tcp(FlagSYN, nil, nil)), ipv6(client6, server6, TCP, nil, tcp(FlagSYN, nil, nil))
	p4, p6, buf := mustDecode(t, f4), mustDecode(t, f6), dirty(2048)
	a4, a6 := addr(wall4), addr(wall6)
	n := testing.AllocsPerRun(100, func() {
		AppendTimeExceeded(buf, f4, p4, a4)
		AppendUnreachable(buf, f6, p6, a6, UnreachableProhibited)
		AppendTooBig(buf, f4, p4, a4, 1400)
		AppendReset(buf, f4, p4)
		AppendReset(buf, f6, p6)
		AppendAnnouncement(buf, macWall, a4)
		AppendAnnouncement(buf, macWall, a6)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
