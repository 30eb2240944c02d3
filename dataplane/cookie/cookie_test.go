package cookie

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/packet"
)

var tuple = packet.Tuple{
	Src: packet.AddrFrom(netip.MustParseAddr("198.51.100.7")), Dst: packet.AddrFrom(netip.MustParseAddr("203.0.113.10")),
	SrcPort: 40000, DstPort: 443, Proto: packet.TCP,
}

// TestSipHash: with the key 00 01 .. 0f the hash of the bytes 00 01 .. 37 is what another
// implementation gives, one that gives the vector of the paper's appendix A.
func TestSipHash(t *testing.T) {
	var raw [16]byte
	for i := range raw {
		raw[i] = byte(i)
	}
	var words [7]uint64
	for i := range 56 {
		words[i/8] |= uint64(i) << (8 * (i % 8))
	}
	s := SecretOf(raw)
	if got := s.sum(words); got != 0xb78dbfaf3a8d83bd {
		t.Errorf("%016x", got)
	}
}

// TestB16_CookieTellsTheOffer: every segment size, scale and SACK-permitted that a client can
// offer comes back, the size as the largest of the table that is not above it.
func TestB16_CookieTellsTheOffer(t *testing.T) {
	s := Secret{1, 2}
	for scale := range uint8(16) { // 15: not offered
		for _, sack := range []packet.TCPOptions{0, packet.HasSACKPermitted} {
			for i, size := range segmentSizes {
				p := packet.Parsed{Version: 4, TCPOptions: packet.HasMSS | sack, MSS: size}
				if scale < 15 {
					p.TCPOptions |= packet.HasWScale
					p.WScale = scale
				}
				for _, above := range []uint16{0, 1} { // a byte more is still this size
					p.MSS = size + above
					o := Fit(&p, 9000)
					c := s.Make(&tuple, uint32(i), &o, 5)
					if got := OfferOf(c); got != o || got.MSS != size || got.Has != p.TCPOptions || got.WScale != p.WScale&15 {
						t.Fatalf("offered %+v, the cookie tells %+v", o, got)
					}
					if !s.Check(&tuple, uint32(i), c, 5) {
						t.Fatal("its own cookie is not accepted")
					}
				}
			}
		}
	}
}

// TestB16_CookieFit: the path bounds the size, none is the default of the family, and a size
// too small to be true is the smallest.
func TestB16_CookieFit(t *testing.T) {
	for _, row := range []struct {
		p    packet.Parsed
		most uint16
		want uint16
	}{
		{packet.Parsed{Version: 4, TCPOptions: packet.HasMSS, MSS: 1460}, 1380, 1360},
		{packet.Parsed{Version: 4, TCPOptions: packet.HasMSS, MSS: 8960}, 8960, 1460},
		{packet.Parsed{Version: 4}, 1460, 536},
		{packet.Parsed{Version: 6}, 1440, 1200},
		{packet.Parsed{Version: 4, TCPOptions: packet.HasMSS, MSS: 1}, 1460, 216},
	} {
		if o := Fit(&row.p, row.most); o.MSS != row.want || o.Has&packet.HasMSS == 0 {
			t.Errorf("%d of at most %d: %d, want %d", row.p.MSS, row.most, o.MSS, row.want)
		}
	}
}

// TestB16_CookieAge: a cookie is accepted in its generation and those beside it, and in no
// other.
func TestB16_CookieAge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Secret{rapid.Uint64().Draw(t, "k0"), rapid.Uint64().Draw(t, "k1")}
		first := rapid.Uint32().Draw(t, "first")
		made := Generation(rapid.Uint32().Draw(t, "generation"))
		o := Fit(&packet.Parsed{Version: 4, TCPOptions: packet.HasMSS, MSS: rapid.Uint16().Draw(t, "mss")}, 1460)
		c := s.Make(&tuple, first, &o, made)
		for age := Generation(0); age <= 1; age++ {
			if !s.Check(&tuple, first, c, made+age) || !s.Check(&tuple, first, c, made-age) {
				t.Fatalf("%d generations away: refused", age)
			}
		}
		accepted := 0
		for age := Generation(2); age < 50; age++ {
			if s.Check(&tuple, first, c, made+age) {
				accepted++
			}
		}
		if accepted > 1 { // one in 2^22 by chance
			t.Fatalf("accepted %d times long after", accepted)
		}
	})
}

// TestB16_CookieForged: neither guesses nor the cookies of others are accepted more often
// than their length makes it by chance.
func TestB16_CookieForged(t *testing.T) {
	s, other := Secret{1, 2}, Secret{1, 3}
	o := Fit(&packet.Parsed{Version: 4, TCPOptions: packet.HasMSS, MSS: 1460}, 1460)
	accepted := 0
	const guesses = 1 << 18
	for i := range uint32(guesses) {
		if s.Check(&tuple, 7, i*2654435761, 5) {
			accepted++
		}
	}
	if accepted > 4 { // 0.06 expected
		t.Errorf("%d of %d guesses were accepted", accepted, guesses)
	}
	c := s.Make(&tuple, 7, &o, 5)
	elsewhere := tuple
	elsewhere.SrcPort++
	back := tuple.Reply()
	for name, accepted := range map[string]bool{
		"another port":   s.Check(&elsewhere, 7, c, 5),
		"the other way":  s.Check(&back, 7, c, 5),
		"another number": s.Check(&tuple, 8, c, 5),
		"another secret": other.Check(&tuple, 7, c, 5),
		"another offer":  s.Check(&tuple, 7, c^1<<sizeShift, 5),
	} {
		if accepted {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNoAllocs(t *testing.T) {
	s := Secret{1, 2}
	o := packet.Offer{Has: packet.HasMSS, MSS: 1460}
	if n := testing.AllocsPerRun(100, func() { s.Check(&tuple, 1, s.Make(&tuple, 1, &o, 5), 5) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMake(b *testing.B) {
	s := Secret{1, 2}
	o := packet.Offer{Has: packet.HasMSS, MSS: 1460}
	for i := range b.N {
		s.Make(&tuple, uint32(i), &o, 5)
	}
}
