package packet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/drop"
)

// TestK8_Cut cuts random IPv4 packets for random links, and puts the pieces together in the
// plainest way: each fits, says where it lies, has the options that are to be copied and
// no others (RFC 791 section 3.1), and everything else of the header of the whole.
func TestK8_Cut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var options, copied []byte
		for len(options) < rapid.IntRange(0, 24).Draw(t, "options") {
			o := append([]byte{rapid.SampledFrom([]byte{1, 7, 68, 148, 136}).Draw(t, "option"), 4}, 8, 9)
			if o[0] == 1 {
				o = o[:1]
			}
			options = append(options, o...)
			if o[0]&0x80 != 0 {
				copied = append(copied, o...)
			}
		}
		options = append(options, make([]byte, (4-len(options)%4)%4)...)
		payload := make([]byte, rapid.IntRange(1, 3000).Draw(t, "payload"))
		for i := range payload {
			payload[i] = byte(i>>3 ^ i<<5)
		}
		f := with(ipv4(client4, server4, UDP, options, udp(payload)), func(f []byte) {
			f[20] = rapid.SampledFrom([]byte{0, 0x80}).Draw(t, "reserved bit")
		})
		p := Parsed{}
		if why := Decode(f, &p); why != drop.Pass {
			t.Fatal(why)
		}
		was := bytes.Clone(f)
		mtu := rapid.IntRange(68, 1500).Draw(t, "MTU")
		c := Cutter{Frame: f, Split: int(p.L4), MTU: mtu, ID: 0x4321}
		c.Start(&p)
		count, whole := c.Count(), []byte{}
		for i := range count {
			dst := bytes.Repeat([]byte{0xee}, 2048)
			g := dst[:c.Next(dst)]
			var q Parsed
			if why := Decode(g, &q); why != drop.Fragment && count > 1 {
				t.Fatalf("piece %d: %v", i, why)
			}
			if q.Len() > mtu || len(g) < frameMin || bytes.Contains(g[q.End:], []byte{0xee}) {
				t.Fatalf("piece %d of %d bytes over a link of %d, frame of %d", i, q.Len(), mtu, len(g))
			}
			field := binary.BigEndian.Uint16(g[20:])
			if int(field&0x1fff)*8 != len(whole) || (field&0x2000 != 0) != (i < count-1) || field&0x8000 != uint16(f[20])<<8&0x8000 {
				t.Fatalf("piece %d at %d: %#x", i, len(whole), field)
			}
			if binary.BigEndian.Uint16(g[18:]) != 0x4321 || g[15] != f[15] || g[22] != f[22] || g[23] != f[23] || !bytes.Equal(g[26:34], f[26:34]) || !bytes.Equal(g[:14], f[:14]) {
				t.Fatalf("piece %d: header %x of %x", i, g[:34], f[:34])
			}
			if got, want := bytes.TrimRight(g[34:q.L4], "\x00"), bytes.TrimRight(options, "\x00"); i == 0 && !bytes.Equal(got, want) {
				t.Fatalf("options %x, want %x", got, want)
			}
			if i > 0 && !bytes.Equal(bytes.TrimRight(g[34:q.L4], "\x00"), copied) {
				t.Fatalf("options of piece %d: %x, want %x", i, g[34:q.L4], copied)
			}
			whole = append(whole, g[q.L4:q.End]...)
		}
		if !bytes.Equal(whole, f[p.L4:p.End]) || !bytes.Equal(f, was) || c.Next(make([]byte, 2048)) != 0 {
			t.Fatalf("%d bytes of %d in %d pieces", len(whole), len(f)-int(p.L4), count)
		}
		if count != 1 && p.Len() <= mtu || count == 1 && p.Len() > mtu {
			t.Fatalf("%d pieces of %d bytes over a link of %d", count, p.Len(), mtu)
		}
	})
}

// TestK8_CutFurther: what came in pieces is cut where those ended, and in between where
// one does not fit.
func TestK8_CutFurther(t *testing.T) {
	f := ipv4(client4, server4, UDP, nil, udp(make([]byte, 2992)))
	var p Parsed
	Decode(f, &p)
	c := Cutter{Frame: f, Ends: []uint16{1480, 1488, 3000}, Split: int(p.L4), MTU: 1020}
	c.Start(&p)
	if c.Largest() != 1532 {
		t.Errorf("the largest is of %d bytes", c.Largest())
	}
	want := []int{1000, 480, 8, 1000, 512}
	if c.Count() != len(want) {
		t.Errorf("%d pieces", c.Count())
	}
	for i, n := range want {
		dst := make([]byte, 2048)
		var q Parsed
		if Decode(dst[:c.Next(dst)], &q); int(q.End)-int(q.L4) != n {
			t.Errorf("piece %d has %d bytes, want %d", i, int(q.End)-int(q.L4), n)
		}
	}
	c.Start(&p)
	if c.Next(make([]byte, 500)) != 0 {
		t.Error("a piece in a buffer that is too short")
	}
}

// TestK6_Atomic: a Fragment header without others of its kind makes no piece (RFC 6946), so
// nothing waits and nothing of the same identification meets it.
func TestK6_Atomic(t *testing.T) {
	f := ipv6(client6, server6, extFragment, []byte{uint8(UDP), 0, 0, 0, 0, 0, 0, 9}, udp(make([]byte, 16)))
	if p := mustDecode(t, f); p.Fragment || p.Kind != KindIP || p.Tuple.DstPort != 53 || p.L4 != 14+40+8 {
		t.Errorf("%+v", p)
	}
}

// TestREL23_LongOffsets: what Parsed says of the longest datagrams that pieces can make.
func TestREL23_LongOffsets(t *testing.T) {
	f := make([]byte, WholeMax)
	copy(f, ipv6(client6, server6, ESP, nil, make([]byte, 8)))
	binary.BigEndian.PutUint16(f[18:], 0xffff)
	var p Parsed
	if why := DecodeWhole(f, &p, 1500); why != drop.Pass || int(p.End) != WholeMax || p.Len() != 40+65535 {
		t.Errorf("%v, %+v", why, p)
	}
}
