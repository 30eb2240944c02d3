package packet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/drop"
)

// complaint is an ICMP error about a packet as the tests make it: with the slow sum.
type complaint struct {
	from, to   Addr
	kind, code uint8
	rest       [4]byte // of the ICMP header
	quote      []byte
	extension  []byte // behind the quote
}

// frame builds it. A zero to is the quoted packet's source.
func (c complaint) frame(t testing.TB) []byte {
	t.Helper()
	proto := ICMP
	if !c.from.Is4() {
		proto = ICMPv6
	}
	buf := make([]byte, 2048)
	h := header{to: macWall, from: macHost, src: c.from, dst: c.to, proto: proto, ttl: 61, length: icmpLen + len(c.quote) + len(c.extension)}
	message, n := h.put(buf)
	if n == 0 {
		t.Fatal("no room for the error")
	}
	message[0], message[1] = c.kind, c.code
	copy(message[4:], c.rest[:])
	copy(message[icmpLen:], c.quote)
	copy(message[icmpLen+len(c.quote):], c.extension)
	return summed(t, buf[:n])
}

// about returns an error of its family about the packet in f, quoting n bytes of it.
func about(f []byte, n int) complaint {
	p := Parsed{}
	Decode(f, &p)
	c := complaint{from: addr("198.51.100.1"), to: p.Tuple.Src, kind: icmpTimeExceeded, quote: f[p.L3:p.End]}
	if p.Version == 6 {
		c.from, c.kind = addr("2001:db8:77::1"), icmpv6TimeExceeded
	}
	c.quote = c.quote[:min(n, len(c.quote))]
	return c
}

// drawQuoted draws a packet that a connection can have sent, and how much of it is quoted.
func drawQuoted(rt *rapid.T, t testing.TB) (f []byte, p *Parsed, n int) {
	f = summed(t, drawFrame(rt))
	p = mustDecode(t, f)
	if p.IsICMPError() {
		rt.Skip("no connection sends errors")
	}
	f = f[:p.End]
	headers := int(p.L4 - p.L3)
	n = rapid.IntRange(min(headers+8, p.Len()), p.Len()).Draw(rt, "quoted")
	if p.Tuple.Proto == TCP && n == headers+tcpSumAt+1 {
		n-- // half a checksum cannot be adjusted
	}
	return f, p, n
}

// sameButZeros reports whether two frames are equal but for how a checksum of zero is
// spelt in the quoted headers.
func sameButZeros(got, want []byte, q *Quote) bool {
	got, want = bytes.Clone(got), bytes.Clone(want)
	for _, f := range [][]byte{got, want} {
		fields := []int{}
		if q.at.Version == 4 {
			fields = append(fields, int(q.at.L3)+ipv4SumAt)
		}
		if at := sumAt(q.Tuple.Proto); at >= 0 && int(q.at.L4)+at+2 <= int(q.at.End) {
			fields = append(fields, int(q.at.L4)+at)
		}
		for _, at := range fields {
			if f[at]&f[at+1] == 0xff {
				f[at], f[at+1] = 0, 0
			}
		}
	}
	return bytes.Equal(got, want)
}

// TestH1_RestoredIsAsIfNeverTranslated: of any packet, translated in any way and quoted as
// far as anybody likes, the error that reaches the sender is, byte for byte, the one that
// it would have got had nobody translated anything.
func TestH1_RestoredIsAsIfNeverTranslated(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f, p, n := drawQuoted(rt, t)
		sent := p.Tuple
		left := drawTuple(rt, sent, p.IsICMPQuery())
		gone := bytes.Clone(f)
		there := RewriteTo(sent, left)
		there.Apply(gone, p)

		c := about(f, n)
		if p.Version == 4 && n == p.Len() && rapid.Bool().Draw(rt, "extension") {
			c.quote = append(bytes.Clone(c.quote), make([]byte, max(0, 128-len(c.quote)))...)
			c.rest[1] = uint8((len(c.quote) + 3) / 4)
			c.quote = append(c.quote, make([]byte, int(c.rest[1])*4-len(c.quote))...)
			c.extension = []byte{0x20, 0, 0, 0, 0, 8, 1, 1, 0, 1, 2, 3}
		}
		want := c
		if sent.Dst != left.Dst {
			want.from = sent.Dst // the sender knows the far end by this address alone
		}
		if want.from == want.to || !left.Src.usable() || !left.Dst.usable() || left.Src == left.Dst || c.from == left.Src {
			return
		}
		c.to = left.Src
		quoted := gone[p.L3:][:min(n, p.Len())]
		c.quote = append(bytes.Clone(quoted), c.quote[len(quoted):]...)

		got := c.frame(t)
		var q Quote
		if why := DecodeQuote(got, mustDecode(t, got), &q); why != drop.Pass {
			rt.Fatalf("refused: %v\n% x", why, got)
		}
		if q.Tuple != left {
			rt.Fatalf("quotes %v, want %v", q.Tuple, left)
		}
		before := bytes.Clone(got)
		outer := mustDecode(t, got)
		source := q.Source(outer, &sent)
		q.Restore(got, outer, &sent, &source)
		if !sameButZeros(got, want.frame(t), &q) {
			rt.Fatalf("restored, want\n% x\n% x", got, want.frame(t))
		}

		// And outwards again, as an error from the other side would go.
		if sent.Dst == left.Dst {
			var back Quote
			if why := DecodeQuote(got, mustDecode(t, got), &back); why != drop.Pass {
				rt.Fatal(why)
			}
			outward := mustDecode(t, got)
			source := back.Source(outward, &left)
			back.Restore(got, outward, &left, &source)
			if !sameButZeros(got, before, &back) {
				rt.Fatalf("there and back\n% x\n% x", before, got)
			}
		}
	})
}

// usable reports whether Decode takes an address for a host's.
func (a Addr) usable() bool {
	if !a.Is4() {
		return a[0] != 0xff
	}
	return a[12] != 0 && a[12] != 127 && a[12]>>4 != 0xe && a != addr("255.255.255.255")
}

// TestH6_WrongQuoteStaysWrong: checksums in the quote are off by as much as before.
func TestH6_WrongQuoteStaysWrong(t *testing.T) {
	for _, f := range [][]byte{
		summed(t, ipv4(client4, server4, TCP, nil, tcp(FlagACK, nil, []byte("data")))),
		summed(t, ipv4(client4, server4, UDP, nil, udp([]byte("data")))),
		summed(t, ipv6(client6, server6, UDP, nil, udp([]byte("data")))),
	} {
		p := mustDecode(t, f)
		sent := p.Tuple
		left := sent
		left.SrcPort++
		gone := bytes.Clone(f)
		rewrite := RewriteTo(sent, left)
		rewrite.Apply(gone, p)
		gone[int(p.L4)+sumAt(sent.Proto)] ^= 0x5a
		want := bytes.Clone(f)
		want[int(p.L4)+sumAt(sent.Proto)] ^= 0x5a
		if p.Version == 4 { // the quoted header too
			gone[p.L3+ipv4SumAt] ^= 0xa5
			want[p.L3+ipv4SumAt] ^= 0xa5
		}
		c := about(f, 999)
		c.quote = gone[p.L3:p.End]
		got := c.frame(t)
		outer := mustDecode(t, got)
		var q Quote
		if why := DecodeQuote(got, outer, &q); why != drop.Pass {
			t.Fatal(why)
		}
		source := q.Source(outer, &sent)
		q.Restore(got, outer, &sent, &source)
		quote := got[outer.Payload:outer.End]
		// Off by as much in ones' complement, not bit by bit.
		was := slowSum(want[p.L3:p.End])
		if is := slowSum(quote); is != was && is%0xffff != was%0xffff {
			t.Errorf("%v: the quote sums up to %#x, want %#x", sent, is, was)
		}
		if !VerifyChecksum(got, outer) && p.Version == 4 {
			t.Errorf("%v: the error's own checksum is wrong", sent)
		}
	}
}

func TestH2_TruncatedQuotes(t *testing.T) {
	t.Run("every length", func(t *testing.T) {
		frames := map[string][]byte{
			"tcp": ipv4(client4, server4, TCP, nil, tcp(FlagACK, nil, []byte("data"))), "udp": ipv4(client4, server4, UDP, nil, udp([]byte("data"))),
			"tcp options": ipv4(client4, server4, TCP, []byte{148, 4, 0, 0}, tcp(FlagACK, nil, nil)),
			"sctp":        ipv4(client4, server4, SCTP, nil, sctp(1, chunk(0, 3, 1, 2, 3, 4))), "gre": ipv4(client4, server4, GRE, nil, gre(greKey, nil)),
			"tcp6": ipv6(client6, server6, TCP, nil, tcp(FlagACK, nil, nil)), "udp6": frame6(UDP, udp([]byte("data")), hopByHop, destOpts),
			"icmp": ipv4(client4, server4, ICMP, nil, icmp(8, 0, 7, []byte("data"))),
		}
		for name, f := range frames {
			f = summed(t, f)
			p := mustDecode(t, f)
			need := int(p.L4-p.L3) + 8
			if name == "gre" {
				need -= 8 // by its addresses alone
			}
			for n := range p.Len() + 1 {
				e := about(f, n).frame(t)
				var q Quote
				why := DecodeQuote(e, mustDecode(t, e), &q)
				if known := why == drop.Pass; known != (n >= need) || !known && (why != drop.ICMPErrorQuote || q != Quote{}) {
					t.Errorf("%s, %d bytes quoted (%d needed): %v", name, n, need, why)
				}
			}
		}
	})
	t.Run("extensions are left alone", func(t *testing.T) {
		f := summed(t, ipv6(client6, server6, UDP, nil, udp([]byte("x"))))
		c := about(f, 999)
		c.quote = append(bytes.Clone(c.quote), make([]byte, 128-len(c.quote))...)
		c.rest[0] = 16 // of 8 bytes
		c.extension = []byte{0x20, 0, 0, 0, 0, 8, 1, 1, 9, 9, 9, 9}
		e := c.frame(t)
		var q Quote
		if why := DecodeQuote(e, mustDecode(t, e), &q); why != drop.Pass || int(q.at.End) != 14+40+8+40+9 {
			t.Errorf("%v, the quote ends at %d", why, q.at.End)
		}
		// A length below 128 bytes is somebody's garbage.
		c.rest[0] = 3
		e = c.frame(t)
		if why := DecodeQuote(e, mustDecode(t, e), &q); why != drop.Pass {
			t.Error(why)
		}
	})
}

func TestH6_WhatQuotesNoConnection(t *testing.T) {
	good := summed(t, ipv4(client4, server4, UDP, nil, udp([]byte("data"))))
	good6 := summed(t, ipv6(client6, server6, UDP, nil, udp([]byte("data"))))
	quoting := func(f []byte) complaint { return about(f, 999) }
	inner := func(f []byte, change func(quote []byte)) complaint {
		c := about(f, 999)
		c.quote = bytes.Clone(c.quote)
		change(c.quote)
		return c
	}
	kind := func(c complaint, k uint8) complaint { c.kind = k; return c }
	first6 := ext{extFragment, []byte{0, 0, 1, 0, 0, 0, 9}}
	later6 := ext{extFragment, []byte{0, 0, 9, 0, 0, 0, 9}}
	fragment6 := func(e ...ext) complaint {
		c := quoting(good6)
		c.quote = frame6(UDP, udp([]byte("data")), e...)[14:]
		return c
	}
	for _, row := range []struct {
		name string
		c    complaint
		want drop.Reason
	}{
		{"good", quoting(good), drop.Pass},
		{"good 6", quoting(good6), drop.Pass},
		{"unreachable", kind(quoting(good), 3), drop.Pass},
		{"parameter problem", kind(quoting(good), 12), drop.Pass},
		{"packet too big", kind(quoting(good6), 2), drop.Pass},
		{"parameter problem 6", kind(quoting(good6), 4), drop.Pass},
		{"L5 redirect", kind(quoting(good), 5), drop.ICMPErrorType},
		{"source quench (RFC 6633)", kind(quoting(good), 4), drop.ICMPErrorType},
		{"an unknown error", kind(quoting(good6), 100), drop.ICMPErrorType},
		{"no error", kind(quoting(good), 8), drop.ICMPErrorType},
		{"an error about an error", quoting(summed(t, ipv4(client4, server4, ICMP, nil, icmp(3, 0, 0, make([]byte, 28))))), drop.ICMPErrorQuote},
		{"an error about an error 6", quoting(summed(t, ipv6(client6, server6, ICMPv6, nil, icmp(1, 0, 0, make([]byte, 48))))), drop.ICMPErrorQuote},
		{"about an echo", quoting(summed(t, ipv4(client4, server4, ICMP, nil, icmp(8, 0, 7, nil)))), drop.Pass},
		{"version", inner(good, func(q []byte) { q[0] = 0x65 }), drop.ICMPErrorQuote},
		{"header length 16", inner(good, func(q []byte) { q[0] = 0x44 }), drop.ICMPErrorQuote},
		{"header length past the quote", inner(good, func(q []byte) { q[0] = 0x4f }), drop.ICMPErrorQuote},
		{"H7 a first fragment", inner(good, func(q []byte) { q[6] = 0x20 }), drop.Pass},
		{"H7 a later fragment", inner(good, func(q []byte) { q[7] = 1 }), drop.ICMPErrorQuote},
		{"H7 a first fragment 6", fragment6(first6), drop.Pass},
		{"H7 an atomic one 6", fragment6(atomicExt), drop.Pass},
		{"H7 a first fragment with options behind 6", fragment6(hopByHop, first6, destOpts), drop.Pass},
		{"H7 a later fragment 6", fragment6(later6), drop.ICMPErrorQuote},
		{"ICMPv6 in IPv4", inner(good, func(q []byte) { q[9] = 58; q[20] = 128 }), drop.ICMPErrorQuote},
		{"IPv4 in ICMPv6", func() complaint { c := quoting(good6); c.quote = good[14:]; return c }(), drop.ICMPErrorQuote},
		{"a mapped address", inner(good6, func(q []byte) { copy(q[24:], "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00\x00\x02") }), drop.ICMPErrorQuote},
		{"a total length that lies", inner(good, func(q []byte) { q[2], q[3] = 0, 0 }), drop.Pass},
		{"a chain without end", fragment6(destOpts, destOpts, destOpts, destOpts, destOpts, destOpts, destOpts, destOpts, destOpts), drop.ICMPErrorQuote},
	} {
		f := row.c.frame(t)
		var q Quote
		if why := DecodeQuote(f, mustDecode(t, f), &q); why != row.want {
			t.Errorf("%s: %v, want %v", row.name, why, row.want)
		}
	}
	for _, c := range []complaint{quoting(good), quoting(good6)} {
		f := c.frame(t)
		f[len(f)-1] ^= 1
		var q Quote
		if p := mustDecode(t, f); p.End == uint32(len(f)) {
			if why := DecodeQuote(f, p, &q); why != drop.ICMPBadChecksum {
				t.Errorf("wrong checksum: %v", why)
			}
		}
	}
}

// FuzzQuote: no error makes DecodeQuote panic or read outside, and what it understands can
// be rewritten there and back without touching anything but the headers.
func FuzzQuote(f *testing.F) {
	for _, frame := range [][]byte{
		ipv4(client4, server4, TCP, nil, tcp(FlagACK, nil, []byte("data"))), ipv4(client4, server4, UDP, []byte{148, 4, 0, 0}, udp([]byte("data"))),
		ipv4(client4, server4, SCTP, nil, sctp(1, chunk(0, 3, 1, 2, 3, 4))), ipv4(client4, server4, ICMP, nil, icmp(8, 0, 7, []byte("data"))),
		frame6(UDP, udp([]byte("data")), hopByHop, atomicExt, destOpts), frame6(TCP, tcp(FlagACK, nil, nil), routing(4, 1, 1)),
		ipv4(client4, server4, GRE, nil, gre(greKey, nil)), ipv6(client6, server6, ICMPv6, nil, icmp(128, 0, 7, nil)),
	} {
		for _, n := range []int{28, 48, 999} {
			f.Add(about(summed(f, frame), n).frame(f), uint16(4711))
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte, port uint16) {
		var p Parsed
		if Decode(frame, &p) != drop.Pass || !p.IsRelayedError() {
			return
		}
		refreshSum(frame, &p) // so that the fuzzer gets behind the checksum
		var q Quote
		if DecodeQuote(frame, &p, &q) != drop.Pass {
			return
		}
		if q.at.L3 != p.Payload || q.at.L4 < q.at.L3+20 || q.at.End < uint32(q.at.L4) || q.at.End > p.End {
			t.Fatalf("quote at %d, %d, %d of %d", q.at.L3, q.at.L4, q.at.End, p.End)
		}
		sent := q.Tuple
		if hasPorts(sent.Proto) || sent.Proto == ICMP || sent.Proto == ICMPv6 {
			sent.SrcPort = port
		}
		sent.Src[15] ^= 1
		if sent.Src == p.Tuple.Src {
			return
		}
		source := q.Source(&p, &sent)
		q.Restore(frame, &p, &sent, &source)
		if !VerifyChecksum(frame, &p) {
			t.Fatalf("checksum\n% x", frame)
		}
		var again Quote
		if Decode(frame, &p) == drop.Pass {
			if why := DecodeQuote(frame, &p, &again); why != drop.Pass || again.Tuple != sent {
				t.Fatalf("%v: %v, want %v", why, again.Tuple, sent)
			}
		}
	})
}

// refreshSum gives an error the right checksum.
func refreshSum(frame []byte, p *Parsed) {
	field := frame[int(p.L4)+icmpSumAt:][:2]
	field[0], field[1] = 0, 0
	binary.BigEndian.PutUint16(field, ^slowTransportSum(frame, p))
}
