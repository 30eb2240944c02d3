package packet

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/drop"
)

// drawTuple draws another tuple of the family and protocol of t, with a fair chance that
// any part stays as it was.
func drawTuple(t *rapid.T, of Tuple, query bool) Tuple {
	to := of
	change := rapid.Uint8().Draw(t, "change")
	address := func(a *Addr, name string) {
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name)
		if a.Is4() {
			a.set4(b)
		} else {
			*a = Addr(b)
			a[0] |= 0x20 // never mapped
		}
	}
	if change&1 != 0 {
		address(&to.Src, "src")
	}
	if change&2 != 0 {
		address(&to.Dst, "dst")
	}
	ports := hasPorts(of.Proto)
	if change&4 != 0 && (ports || query) {
		to.SrcPort = rapid.Uint16().Draw(t, "srcPort")
	}
	if change&8 != 0 && ports {
		to.DstPort = rapid.Uint16().Draw(t, "dstPort")
	}
	return to
}

// hasPorts reports whether a rewrite may change ports.
func hasPorts(proto Proto) bool {
	switch proto {
	case TCP, UDP, UDPLite, SCTP, DCCP:
		return true
	}
	return false
}

// drawFrame draws a frame that Decode passes, with a right transport checksum.
func drawFrame(t *rapid.T) []byte {
	payload := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "payload")
	v6 := rapid.Bool().Draw(t, "v6")
	proto := rapid.SampledFrom([]Proto{TCP, UDP, UDPLite, ICMP, GRE, SCTP, DCCP, ESP}).Draw(t, "proto")
	var segment []byte
	switch proto {
	case TCP:
		segment = tcp(FlagACK, timestamps, payload)
	case UDP:
		segment = udp(payload)
	case UDPLite:
		segment = udp(payload)
		coverage := rapid.IntRange(8, len(segment)).Draw(t, "coverage")
		if coverage == len(segment) {
			coverage = 0
		}
		binary.BigEndian.PutUint16(segment[4:], uint16(coverage))
	case ICMP:
		kind := rapid.SampledFrom([]uint8{0, 8, 3}).Draw(t, "type")
		if v6 {
			proto = ICMPv6
			kind = map[uint8]uint8{0: 129, 8: 128, 3: 1}[kind]
		}
		segment = icmp(kind, 0, rapid.Uint16().Draw(t, "id"), payload)
	case SCTP:
		segment = sctp(rapid.Uint32Range(1, 0xffffffff).Draw(t, "tag"), chunk(0, 3, payload...))
	case DCCP:
		segment = dccp(rapid.Uint8Range(0, 9).Draw(t, "type"), payload)
		segment[5] = rapid.Uint8Range(0, uint8(min(15, 1+len(payload)/4))).Draw(t, "coverage")
	case GRE:
		segment = gre(greKey|greChecksum, payload)
	default:
		segment = payload
	}
	var f []byte
	if v6 {
		var headers []ext
		if rapid.Bool().Draw(t, "destination options") {
			headers = append(headers, destOpts)
		}
		if rapid.Bool().Draw(t, "routing") {
			headers = append(headers, routing(4, 1, 1))
		}
		f = frame6(proto, segment, headers...)
	} else {
		options := rapid.SampledFrom([][]byte{nil, {148, 4, 0, 0}, {7, 7, 4, 0, 0, 0, 0, 0}}).Draw(t, "options")
		f = ipv4(client4, server4, proto, options, segment)
	}
	padding := rapid.SliceOfN(rapid.Byte(), 0, 6).Draw(t, "padding")
	return append(f, padding...)
}

// TestI1_IncrementalIsFull: after a rewrite to any tuple the checksums are exactly those of
// a full computation.
func TestI1_IncrementalIsFull(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := summed(t, drawFrame(rt))
		p := mustDecode(t, f)
		before := append([]byte(nil), f...)
		to := drawTuple(rt, p.Tuple, p.IsICMPQuery())
		there := RewriteTo(p.Tuple, to)
		there.Apply(f, p)

		if p.Version == 4 && slowSum(f[14:p.L4]) != 0xffff {
			rt.Fatalf("IPv4 header checksum\n% x\n% x", before, f)
		}
		q := *p
		q.Tuple = to
		full := summedAs(f, &q)
		if !bytes.Equal(f, full) {
			rt.Fatalf("to %v: got, full\n% x\n% x", to, f, full)
		}
		if !VerifyChecksum(f, &q) {
			rt.Fatal("VerifyChecksum disagrees")
		}
		if there.Changes == 0 && !bytes.Equal(f, before) {
			rt.Fatal("a rewrite to itself changed the frame")
		}
		// And back again: the same bytes as at first.
		back := RewriteTo(to, p.Tuple)
		back.Apply(f, &q)
		if !bytes.Equal(f, before) {
			rt.Fatalf("there and back\n% x\n% x", before, f)
		}
	})
}

// summedAs returns a copy of f with a full checksum, by the slow sum.
func summedAs(f []byte, p *Parsed) []byte {
	c := append([]byte(nil), f...)
	if p.Tuple.Proto == SCTP {
		binary.LittleEndian.PutUint32(c[p.L4+sctpSumAt:], slowCRC(c[p.L4:p.End]))
	}
	if at := sumAt(p.Tuple.Proto); at >= 0 {
		field := c[int(p.L4)+at:][:2]
		field[0], field[1] = 0, 0
		s := ^slowTransportSum(c, p)
		if s == 0 && (p.Tuple.Proto == UDP || p.Tuple.Proto == UDPLite) {
			s = 0xffff
		}
		binary.BigEndian.PutUint16(field, s)
	}
	return c
}

// TestA4_WrongStaysWrong: a checksum that is off by some amount is off by the same amount
// after any rewrite.
func TestA4_WrongStaysWrong(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := summed(t, drawFrame(rt))
		p := mustDecode(t, f)
		at := sumAt(p.Tuple.Proto)
		if at < 0 {
			return
		}
		field := f[int(p.L4)+at:][:2]
		wrong := rapid.Uint16Range(1, 0xffff).Draw(rt, "wrong")
		if uint32(wrong)%0xffff == uint32(binary.BigEndian.Uint16(field))%0xffff {
			return // the other way to write the right one
		}
		binary.BigEndian.PutUint16(field, wrong)
		error := slowTransportSum(f, p) % 0xffff
		if error == 0 || VerifyChecksum(f, p) {
			rt.Fatal("not wrong")
		}
		to := drawTuple(rt, p.Tuple, p.IsICMPQuery())
		r := RewriteTo(p.Tuple, to)
		r.Apply(f, p)
		if got := slowTransportSum(f, p) % 0xffff; got != error {
			rt.Fatalf("off by %#x, was %#x", got, error)
		}
		if VerifyChecksum(f, p) {
			rt.Fatal("repaired")
		}
	})
}

// TestA4_AdjustExhaustive: one word among others, from and to the edges, beside every other word.
// It equals the full computation bit for bit.
func TestA4_AdjustExhaustive(t *testing.T) {
	for _, from := range []uint16{0, 1, 0x00ff, 0x7fff, 0x8000, 0xfffe, 0xffff} {
		for rest := range 0x10000 {
			data := []byte{0x40, 0, byte(from >> 8), byte(from), byte(rest >> 8), byte(rest)}
			full := ^slowSum(data)
			for _, to := range []uint16{0, 1, 0x0100, 0xfffe, 0xffff} {
				field := []byte{byte(full >> 8), byte(full)}
				adjust(field, fold(word(^from)+word(to)))
				binary.BigEndian.PutUint16(data[2:], to)
				if got := binary.BigEndian.Uint16(field); got != ^slowSum(data) {
					t.Fatalf("%#x to %#x beside %#x: %#x, want %#x", from, to, rest, got, ^slowSum(data))
				}
				binary.BigEndian.PutUint16(data[2:], from)
			}
		}
	}
}

func TestA5_UDPZeroChecksum(t *testing.T) {
	none := udp([]byte("x"))
	none[6], none[7] = 0, 0
	f := ipv4(client4, server4, UDP, nil, none)
	p := mustDecode(t, f)
	r := RewriteTo(p.Tuple, translated(p.Tuple))
	r.Apply(f, p)
	if f[40]|f[41] != 0 {
		t.Errorf("checksum 0 became %x", f[40:42])
	}
	if q := mustDecode(t, f); q.Tuple != translated(p.Tuple) || !VerifyChecksum(f, q) {
		t.Errorf("rewritten to %v", q.Tuple)
	}

	// Of 65536 source ports one gives a sum of 0, which must be sent as 0xffff.
	for _, f := range [][]byte{
		ipv4(client4, server4, UDP, nil, udp([]byte("x"))),
		ipv6(client6, server6, UDP, nil, udp([]byte("x"))),
		ipv6(client6, server6, UDPLite, nil, udp([]byte("x"))),
	} {
		summed(t, f)
		p := mustDecode(t, f)
		full := 0
		for port := range 0x10000 {
			g := append([]byte(nil), f...)
			to := p.Tuple
			to.SrcPort = uint16(port)
			r := RewriteTo(p.Tuple, to)
			r.Apply(g, p)
			switch binary.BigEndian.Uint16(g[p.L4+udpSumAt:]) {
			case 0:
				t.Fatalf("port %d: checksum 0", port)
			case 0xffff:
				full++
			}
		}
		if full == 0 {
			t.Error("no port gave 0xffff")
		}
	}
}

func TestI1_EchoReplyOfZeros(t *testing.T) {
	f := summed(t, ipv4(server4, client4, ICMP, nil, icmp(ICMPEchoReply, 0, 0, make([]byte, 4))))
	before := append([]byte(nil), f...)
	p := mustDecode(t, f)
	to := p.Tuple
	to.SrcPort = 77
	there, back := RewriteTo(p.Tuple, to), RewriteTo(to, p.Tuple)
	if there.Apply(f, p); !VerifyChecksum(f, p) {
		t.Errorf("there: % x", f)
	}
	if back.Apply(f, p); !bytes.Equal(f, before) || !VerifyChecksum(f, p) {
		t.Errorf("and back: % x", f)
	}
}

func TestG3_UDPLiteCoverage(t *testing.T) {
	segment := udp([]byte("covered, not covered"))
	binary.BigEndian.PutUint16(segment[4:], 15)
	f := summed(t, ipv4(client4, server4, UDPLite, nil, segment))
	f[len(f)-1] ^= 0xff // outside the coverage
	p := mustDecode(t, f)
	r := RewriteTo(p.Tuple, translated(p.Tuple))
	r.Apply(f, p)
	if !VerifyChecksum(f, p) {
		t.Error("checksum wrong after the rewrite")
	}
}

func TestG9_OnlyAddressesChange(t *testing.T) {
	payload := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}
	const igmpProto, ipip, sixInFour, ah, ospf, pim = 2, 4, 41, 51, 89, 103
	for _, f := range [][]byte{
		ipv4(client4, server4, ESP, nil, payload), ipv6(client6, server6, ESP, nil, payload),
		ipv4(client4, server4, ipip, nil, payload), ipv4(client4, server4, sixInFour, nil, payload),
		ipv4(client4, server4, ah, nil, payload), ipv4(client4, server4, igmpProto, nil, payload),
		ipv4(client4, server4, ospf, nil, payload), ipv6(client6, server6, ospf, nil, payload),
		ipv4(client4, server4, pim, nil, payload), ipv6(client6, server6, 253, nil, payload),
	} {
		p := mustDecode(t, f)
		to := p.Tuple
		to.Src, to.SrcPort, to.DstPort = translated(p.Tuple).Src, 7, 9 // ports that it does not have
		r := RewriteTo(p.Tuple, to)
		r.Apply(f, p)
		q := mustDecode(t, f)
		if q.Tuple.Src != to.Src || !bytes.Equal(f[q.L4:q.End], payload) || r.Changes != ChangesSrc {
			t.Errorf("%v: %v, payload % x", p.Tuple.Proto, q.Tuple, f[q.L4:q.End])
		}
	}
}

func TestI20_UntouchedFields(t *testing.T) {
	f := summed(t, ipv4(client4, server4, TCP, []byte{148, 4, 0, 0}, tcp(FlagACK, timestamps, []byte("payload"))))
	want := append([]byte(nil), f...)
	p := mustDecode(t, f)
	r := RewriteTo(p.Tuple, translated(p.Tuple))
	r.Apply(f, p)
	DecrementTTL(f, p)
	SetMACs(f, macHost, macWall)
	if DstMAC(f) != macHost || SrcMAC(f) != macWall || f[22] != 63 {
		t.Errorf("MACs %v %v, TTL %d", DstMAC(f), SrcMAC(f), f[22])
	}
	q := mustDecode(t, f)
	if q.Tuple != translated(p.Tuple) || !VerifyChecksum(f, q) {
		t.Errorf("tuple %v", q.Tuple)
	}
	// All else is as it came: DSCP, ECN, length, ID, DF, options, TCP, payload.
	for _, changed := range [][2]int{{0, 12}, {22, 23}, {24, 34}, {int(p.L4), int(p.L4) + 4}, {int(p.L4) + tcpSumAt, int(p.L4) + tcpSumAt + 2}} {
		copy(f[changed[0]:changed[1]], want[changed[0]:changed[1]])
	}
	if !bytes.Equal(f, want) {
		t.Errorf("changed more than it should\n% x\n% x", f, want)
	}
}

func TestI20_TTL(t *testing.T) {
	for id := range 0x10000 { // every header sum
		f := with(ipv4(client4, server4, UDP, nil, udp(nil)), func(f []byte) {
			binary.BigEndian.PutUint16(f[18:], uint16(id))
			f[22] = uint8(id%255 + 1)
		})
		p := mustDecode(t, f)
		DecrementTTL(f, p)
		want := with(f, func(f []byte) {})
		if f[22] != p.TTL-1 || !bytes.Equal(f, want) {
			t.Fatalf("id %#x, TTL %d: checksum %x, want %x", id, p.TTL, f[24:26], want[24:26])
		}
	}
	for _, f := range [][]byte{
		with(ipv4(client4, server4, UDP, nil, udp(nil)), func(f []byte) { f[22] = 0 }),
		with(ipv6(client6, server6, UDP, nil, udp(nil)), func(f []byte) { f[21] = 0 }),
	} {
		p, before := mustDecode(t, f), append([]byte(nil), f...)
		if DecrementTTL(f, p); !bytes.Equal(f, before) {
			t.Error("a TTL of 0 was decremented")
		}
	}
}

func TestM5_FinalDestination(t *testing.T) {
	final := addr("fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd") // of routing()
	for _, kind := range []uint8{routingMobile, routingSegment} {
		f := summed(t, frame6(TCP, tcp(FlagACK, nil, []byte("x")), destOpts, routing(kind, 1, 1)))
		p := mustDecode(t, f)
		if !p.SourceRouted() || Addr(f[p.finalDst:]) != final || p.Tuple.Dst != addr(server6) {
			t.Fatalf("type %d: %+v", kind, *p)
		}
		if !VerifyChecksum(f, p) {
			t.Errorf("type %d: not verified over the final destination", kind)
		}
		to := translated(p.Tuple)
		to.Dst = addr("2001:db8:44::4")
		r := RewriteTo(p.Tuple, to)
		r.Apply(f, p)
		if q := mustDecode(t, f); q.Tuple != to || !VerifyChecksum(f, q) {
			t.Errorf("type %d: %v, checksum right %v", kind, q.Tuple, VerifyChecksum(f, q))
		}
	}
	if p := mustDecode(t, frame6(TCP, tcp(FlagACK, nil, nil), routing(routingSegment, 0, 1))); p.SourceRouted() {
		t.Error("source-routed with no segments left")
	}
}

func TestM7_FlowLabelAndClass(t *testing.T) {
	f := summed(t, ipv6(client6, server6, UDP, nil, udp([]byte("x"))))
	head := append([]byte(nil), f[14:21]...)
	p := mustDecode(t, f)
	r := RewriteTo(p.Tuple, translated(p.Tuple))
	r.Apply(f, p)
	DecrementTTL(f, p)
	if !bytes.Equal(f[14:21], head) || f[21] != 63 {
		t.Errorf("% x, was % x, hop limit %d", f[14:21], head, f[21])
	}
}

// TestSetAnswer4 compares the short way with the long one.
func TestSetAnswer4(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200000 {
		addr := func() (a Addr) {
			a[10], a[11] = 0xff, 0xff
			binary.BigEndian.PutUint32(a[12:], []uint32{r.Uint32(), 0, 0xffffffff, 10<<24 | r.Uint32N(4)}[r.IntN(4)])
			return a
		}
		port := func() uint16 { return []uint16{uint16(r.Uint32()), 0, 0xffff, 8 << 8}[r.IntN(4)] }
		from := Tuple{Src: addr(), Dst: addr(), SrcPort: port(), DstPort: port(), Proto: []Proto{TCP, UDP}[r.IntN(2)]}
		answer := from.Reply()
		if r.IntN(2) == 0 {
			answer.Dst, answer.DstPort = addr(), port()
		}
		if r.IntN(2) == 0 {
			answer.Src, answer.SrcPort = addr(), port()
		}
		var got Rewrite
		got.SetAnswer4(&from, PairOf(&answer), answer.SrcPort, answer.DstPort)
		if want := RewriteTo(from, answer.Reply()); got != want {
			t.Fatalf("from %v, answering %v:\n%+v\nwant\n%+v", from, answer, got, want)
		}
		if src, dst := PairOf(&answer).Addresses(); src != answer.Src || dst != answer.Dst {
			t.Fatalf("%v became %v and %v", answer, src, dst)
		}
	}
}

func TestRewriteRefusesMixedFamilies(t *testing.T) {
	v4 := Tuple{Src: addr(client4), Dst: addr(server4), Proto: UDP}
	v6 := Tuple{Src: addr(client6), Dst: addr(server6), Proto: UDP}
	half := Tuple{Src: addr(client4), Dst: addr(server6), Proto: UDP}
	other := v4
	other.Proto = TCP
	for _, pair := range [][2]Tuple{{v4, v6}, {v6, v4}, {v4, half}, {half, half}, {v4, other}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v to %v: no panic", pair[0], pair[1])
				}
			}()
			RewriteTo(pair[0], pair[1])
		}()
	}
}

func TestRewriteDoesNotAllocate(t *testing.T) {
	for _, f := range pathFrames(t) {
		p := mustDecode(t, f.frame)
		to := translated(p.Tuple)
		n := testing.AllocsPerRun(100, func() {
			r := RewriteTo(p.Tuple, to)
			r.Apply(f.frame, p)
			DecrementTTL(f.frame, p)
			SetMACs(f.frame, macHost, macWall)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", f.name, n)
		}
	}
}

// Not a packet of anything that Decode passes is left without a place for its tuple: the
// reply of the reply is the tuple again.
func TestTupleReply(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := drawFrame(rt)
		var p Parsed
		if Decode(f, &p) != drop.Pass {
			rt.Fatal("refused")
		}
		if p.Tuple.Reply().Reply() != p.Tuple {
			rt.Fatalf("%v, reply %v", p.Tuple, p.Tuple.Reply())
		}
	})
}
