package fragment

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// What stands in the transport part of a whole datagram, by protocol.
func udpOf(n int) []byte {
	b := append([]byte{0x13, 0x88, 0, 53, byte((n + 8) >> 8), byte(n + 8), 0, 0}, data(n)...)
	return b
}

// cut returns the pieces of a segment, each of size bytes but the last.
func (m maker) cut(segment []byte, size int) (frames [][]byte) {
	for at := 0; at < len(segment); at += size {
		end := min(at+size, len(segment))
		frames = append(frames, m.piece(at, end < len(segment), segment[at:end]))
	}
	return frames
}

// feed adds frames and reports whether they became a datagram.
func (b *bench) feed(t testing.TB, frames [][]byte) bool {
	t.Helper()
	for _, f := range frames {
		b.add(t, f, 1)
	}
	return b.r.Outcome == Whole
}

// Extension headers: options of hop-by-hop and destination, a routing header that is done.
var (
	optionsHeader = []byte{0, 0, 1, 4, 0, 0, 0, 0}
	authHeader    = []byte{0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
)

// then returns a header that names the next.
func then(header []byte, next uint8) []byte {
	h := bytes.Clone(header)
	h[0] = next
	return h
}

// TestK1_LeavesAsItCame: a datagram cut again at the same places is byte for byte the
// pieces that it came in, options and extension headers included (K9).
func TestK1_LeavesAsItCame(t *testing.T) {
	options4 := v4()
	options4.options = []byte{0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0} // router alert (copied), record route (not)
	rest4 := options4
	rest4.options = options4.options[:4]
	chain6 := v6()
	chain6.chainOf, chain6.chain = 0, append(then(optionsHeader, 60), then(optionsHeader, 44)...)
	inner6 := v6()
	inner6.proto = 60
	for _, row := range []struct {
		name        string
		first, rest maker
		segment     []byte
	}{
		{"IPv4", v4(), v4(), udpOf(3000)},
		{"IPv4 with options", options4, rest4, udpOf(3000)},
		{"IPv6", v6(), v6(), udpOf(3000)},
		{"IPv6 with headers in front", chain6, chain6, udpOf(3000)},
		{"IPv6 with headers behind", inner6, inner6, append(then(optionsHeader, 51), append(then(authHeader, 17), udpOf(3000)...)...)},
		{"the longest IPv4", v4(), v4(), udpOf(65507)},
		{"the longest IPv6", v6(), v6(), udpOf(65527)},
	} {
		b := newBench()
		frames := row.first.cut(row.segment, 1232)
		rest := row.rest.cut(row.segment, 1232)
		copy(frames[1:], rest[1:])
		if !b.feed(t, frames) {
			t.Fatalf("%s: %v, %v", row.name, b.r.Outcome, b.r.Why)
		}
		var p packet.Parsed
		if b.d.Frame[14]>>4 == 6 { // IPv6 demands a checksum
			at := len(b.d.Frame) - len(row.segment) + bytes.Index(row.segment, []byte{0x13, 0x88, 0, 53})
			setSum(b.d.Frame, at)
			copy(frames[0][len(frames[0])-1232:], b.d.Frame[b.d.Split:])
		}
		if why := packet.DecodeWhole(b.d.Frame, &p, b.d.First()); why != drop.Pass || p.Tuple.DstPort != 53 || p.Tuple.Proto != packet.UDP {
			t.Fatalf("%s: %v, %v", row.name, why, p.Tuple)
		}
		c := packet.Cutter{Frame: b.d.Frame, Ends: b.d.Ends, Split: b.d.Split, MTU: 1500, ID: 7}
		c.Start(&p)
		if c.Count() != len(frames) || c.Largest() != len(frames[0])-14 {
			t.Errorf("%s: %d pieces, the largest of %d", row.name, c.Count(), c.Largest())
		}
		for i, want := range frames {
			var dst [2048]byte
			n := c.Next(dst[:])
			if got := dst[:n]; len(got) < len(want) || !bytes.Equal(got[:len(want)], want) {
				t.Fatalf("%s, piece %d:\n%x, came as\n%x", row.name, i, got[:min(n, 80)], want[:min(len(want), 80)])
			}
		}
		if c.Next(make([]byte, 2048)) != 0 || c.Count() != 0 {
			t.Errorf("%s: and one more", row.name)
		}
	}
}

// setSum sets the UDP checksum of a whole IPv6 frame whose UDP header is at at.
func setSum(f []byte, at int) {
	n := len(f) - at
	f[at+6], f[at+7] = 0, 0
	var total uint64
	add := func(b []byte) {
		for i, v := range b {
			total += uint64(v) << (8 * uint(1-i%2))
		}
	}
	add(f[22:54])
	total += 17 + uint64(n)
	add(f[at:])
	for total > 0xffff {
		total = total&0xffff + total>>16
	}
	binary.BigEndian.PutUint16(f[at+6:], ^uint16(total))
}

// TestK4_TinyFirst: the first piece holds every header up to the payload, or the datagram
// goes (RFC 1858, RFC 3128, RFC 7112).
func TestK4_TinyFirst(t *testing.T) {
	tcp := append([]byte{0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 1, 0, 0, 0, 0, 0, 2, 4, 5, 180}, data(100)...)
	inner := append(then(optionsHeader, 60), append(then(optionsHeader, 17), udpOf(100)...)...)
	for _, row := range []struct {
		name    string
		m       maker
		proto   uint8
		segment []byte
		first   int
		want    drop.Reason
	}{
		{"TCP, ports only", v4(), 6, tcp, 8, drop.FragmentTiny},
		{"TCP without its options", v4(), 6, tcp, 16, drop.FragmentTiny},
		{"TCP, 6", v6(), 6, tcp, 16, drop.FragmentTiny},
		{"UDP", v4(), 17, udpOf(100), 8, drop.Pass},
		{"GRE without its key", v4(), 47, append([]byte{0x30, 0, 8, 0}, data(100)...), 8, drop.FragmentTiny},
		{"GRE", v4(), 47, append([]byte{0x30, 0, 8, 0}, data(100)...), 16, drop.Pass},
		{"ESP", v4(), 50, data(100), 8, drop.Pass},
		{"SCTP", v4(), 132, append([]byte{0, 1, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0}, 6, 0, 0, 4), 8, drop.FragmentTiny},
		{"a chain", v6(), 60, inner, 8, drop.FragmentTiny},
		{"a chain, but for UDP", v6(), 60, inner, 16, drop.FragmentTiny},
	} {
		b := newBench()
		row.m.proto = row.proto
		if !b.feed(t, row.m.cut(row.segment, row.first)) {
			t.Fatalf("%s: %v", row.name, b.r.Why)
		}
		if row.m.v6 && row.proto == 60 {
			setSum(b.d.Frame, len(b.d.Frame)-108)
		}
		var p packet.Parsed
		why := packet.DecodeWhole(b.d.Frame, &p, b.d.First())
		if why != row.want || (why == drop.Pass) != (p.Kind == packet.KindIP) {
			t.Errorf("%s: %v, want %v", row.name, why, row.want)
		}
	}
}

// TestM4_NoSecondFragmentHeader: neither an atomic one nor a piece in a piece
// (CVE-2023-4809), and neighbour discovery never comes in pieces (RFC 6980).
func TestM4_NoSecondFragmentHeader(t *testing.T) {
	some := udpOf(100)
	some[7] = 1 // a checksum
	for name, in := range map[string]struct {
		proto   uint8
		segment []byte
	}{
		"atomic":          {44, append([]byte{17, 0, 0, 0, 0, 0, 0, 1}, some...)},
		"a piece":         {44, append([]byte{17, 0, 0, 1, 0, 0, 0, 1}, some...)},
		"behind options":  {60, append(append(then(optionsHeader, 44), 17, 0, 0, 0, 0, 0, 0, 1), some...)},
		"a neighbour's":   {58, append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 24)...)},
		"hop-by-hop late": {0, append(then(optionsHeader, 0), append(then(optionsHeader, 17), some...)...)},
	} {
		b, m := newBench(), v6()
		m.proto = in.proto
		if !b.feed(t, m.cut(in.segment, 24)) {
			t.Fatalf("%s: %v", name, b.r.Why)
		}
		var p packet.Parsed
		if why := packet.DecodeWhole(b.d.Frame, &p, b.d.First()); why != drop.IPv6ChainInvalid {
			t.Errorf("%s: %v", name, why)
		}
	}
}

// TestK10_Checksum: one bit anywhere in the data of any piece is found; UDP over IPv4 may
// come without.
func TestK10_Checksum(t *testing.T) {
	for _, sixth := range []bool{false, true} {
		m := family(sixth)
		segment := udpOf(600)
		whole := func() drop.Reason {
			b := newBench()
			if !b.feed(t, m.cut(segment, 200)) {
				t.Fatal(b.r.Why)
			}
			var p packet.Parsed
			return packet.DecodeWhole(b.d.Frame, &p, b.d.First())
		}
		want := drop.Pass
		if sixth {
			want = drop.UDPNoChecksum
		}
		if why := whole(); why != want {
			t.Errorf("without: %v", why)
		}
		segment[6], segment[7] = 0x12, 0x34
		if why := whole(); why != drop.FragmentChecksum {
			t.Errorf("wrong: %v", why)
		}
		if !sixth {
			continue
		}
		b := newBench()
		b.feed(t, m.cut(segment, 200))
		setSum(b.d.Frame, 54)
		copy(segment, b.d.Frame[54:])
		if why := whole(); why != drop.Pass {
			t.Fatalf("right: %v", why)
		}
		for at := 8; at < len(segment); at += 37 {
			segment[at] ^= 0x10
			if why := whole(); why != drop.FragmentChecksum {
				t.Errorf("byte %d: %v", at, why)
			}
			segment[at] ^= 0x10
		}
	}
}

// TestREL23_Overlaps goes through all sequences of three pieces (four in a soak) that start
// at one of four places, are of one to three units, and may say that they are the last.
func TestREL23_Overlaps(t *testing.T) {
	depth := 3
	if os.Getenv("HOLDFAST_SOAK") != "" {
		depth = 4
	}
	b, all := newBench(), data(8*8)
	w := &twin{}
	id := uint32(0)
	m := v6()
	var pieces [24][]byte
	for k := range pieces {
		start, n := k/2%4, k/8+1
		pieces[k] = m.piece(start*8, k%2 == 0, all[start*8:(start+n)*8])
	}
	var walk func(sequence []int)
	walk = func(sequence []int) {
		if len(sequence) < depth {
			for k := range pieces {
				walk(append(sequence, k))
			}
			return
		}
		id++
		w.datagrams = map[string]*twinned{}
		for i, k := range sequence {
			start, n, last := k/2%4*8, (k/8+1)*8, k%2 == 1
			if start == 0 && last {
				return // atomic: no piece
			}
			frame := pieces[k]
			binary.BigEndian.PutUint32(frame[14+40+4:], id)
			want, _ := w.add("", wait6, start, last, all[start:start+n], 1)
			if got := b.add(t, frame, int64(id)); got != want {
				t.Fatalf("%v, piece %d: %v, want %v", sequence, i, got, want)
			}
			if want == Whole && !bytes.Equal(b.d.Frame[b.d.Split:], all[:len(b.d.Frame)-b.d.Split]) {
				t.Fatalf("%v: not the bytes that were sent", sequence)
			}
		}
	}
	walk(make([]int, 0, depth))
	if id < 10000 {
		t.Errorf("only %d sequences", id)
	}
	b.t.check(t)
}
