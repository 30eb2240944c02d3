package nat

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/packet"
)

func mustNPTv6(t testing.TB, inside, outside string) *nptv6 {
	t.Helper()
	n, err := newNPTv6(netip.MustParsePrefix(inside), netip.MustParsePrefix(outside))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestJ1_VectorOfTheRFC: RFC 6296 section 3.6, with verified erratum 3033.
func TestJ1_VectorOfTheRFC(t *testing.T) {
	n := mustNPTv6(t, "fd01:203:405::/48", "2001:db8:1::/48")
	if n.adjustment != 0xd54f {
		t.Errorf("adjustment %#x, want 0xd54f", n.adjustment)
	}
	in, out := addr("fd01:203:405:1::1234"), addr("2001:db8:1:d550::1234")
	if got, ok := n.out(in); !ok || got != out {
		t.Errorf("out: %v %v, want %v", got, ok, out)
	}
	if got, ok := n.in(out); !ok || got != in {
		t.Errorf("in: %v %v, want %v", got, ok, in)
	}
}

func TestJ2_WordThatChanges(t *testing.T) {
	for _, row := range []struct {
		name, inside, outside, address, image string // image empty: none
	}{
		{"/48: the subnet", "fd01:203:405::/48", "2001:db8:1::/48", "fd01:203:405:1::1234", "2001:db8:1:d550::1234"},
		{"/40: the subnet too, other bits stay", "fd01:203:400::/40", "2001:db8::/40", "fd01:203:405:1::1", "2001:db8:5:d54c::1"},
		{"/48: result 0xffff is written as 0", "fd01:203:405::/48", "2001:db8:1::/48", "fd01:203:405:2ab0::1", "2001:db8:1::1"},
		{"/64: the first word of the identifier", "fd01:203:405:1::/64", "2001:db8:1:2::/64", "fd01:203:405:1:5:6:7:8", "2001:db8:1:2:d553:6:7:8"},
		{"/64: the second where the first is 0xffff", "fd01:203:405:1::/64", "2001:db8:1:2::/64", "fd01:203:405:1:ffff:6:7:8", "2001:db8:1:2:ffff:d554:7:8"},
		{"/64: the fourth", "fd01:203:405:1::/64", "2001:db8:1:2::/64", "fd01:203:405:1:ffff:ffff:ffff:8", "2001:db8:1:2:ffff:ffff:ffff:d556"},
		{"/56: bits of the subnet stay", "fd01:203:405:100::/56", "2001:db8:1:200::/56", "fd01:203:405:1ab:5::", "2001:db8:1:2ab:d454::"},
		{"J4: a shorter outside", "fd01:203:405::/48", "2001:db8::/32", "fd01:203:405:1::1", "2001:db8:0:d551::1"},
		{"J4: a shorter inside, within the longer", "fd01:203::/32", "2001:db8:1::/48", "fd01:203:0:1::1", "2001:db8:1:d14b::1"},
		{"J4: a shorter inside, bits beyond the longer", "fd01:203::/32", "2001:db8:1::/48", "fd01:203:1:1::1", ""},
		{"J5: subnet 0xffff", "fd01:203:405::/48", "2001:db8:1::/48", "fd01:203:405:ffff::1", ""},
		{"J5: an identifier of all ones", "fd01:203:405:1::/64", "2001:db8:1:2::/64", "fd01:203:405:1:ffff:ffff:ffff:ffff", ""},
		{"J5: an identifier of all zeros has an image", "fd01:203:405:1::/64", "2001:db8:1:2::/64", "fd01:203:405:1::", "2001:db8:1:2:d54e::"},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := mustNPTv6(t, row.inside, row.outside)
			got, ok := n.out(addr(row.address))
			if row.image == "" {
				if ok {
					t.Fatalf("%v has image %v", row.address, got)
				}
				return
			}
			want := addr(row.image)
			if !ok || got != want {
				t.Fatalf("%v: %v %v, want %v", row.address, got, ok, want)
			}
			if back, ok := n.in(got); !ok || back != addr(row.address) {
				t.Errorf("back: %v %v", back, ok)
			}
		})
	}
}

// TestJ3_NeutralAndReversible: for random prefixes and addresses the image has the sum of
// the address, by a full computation, and the way back leads to the address itself.
func TestJ3_NeutralAndReversible(t *testing.T) {
	full := func(a packet.Addr) uint64 { // as one number modulo 0xffff, where both zeros are one
		sum := uint64(0)
		for i := 0; i < 16; i += 2 {
			sum += uint64(binary.BigEndian.Uint16(a[i:]))
		}
		return sum % 0xffff
	}
	random := func(t *rapid.T, name string) (a packet.Addr) {
		for i := range a {
			a[i] = rapid.SampledFrom([]byte{0, 1, 0x7f, 0xfe, 0xff, byte(rapid.Byte().Draw(t, name))}).Draw(t, name)
		}
		return a
	}
	rapid.Check(t, func(t *rapid.T) {
		prefix := func(name string, first byte) netip.Prefix {
			a := random(t, name)
			a[0] = first
			return netip.PrefixFrom(netip.AddrFrom16(a), rapid.IntRange(8, 64).Draw(t, name+" length")).Masked()
		}
		inside, outside := prefix("inside", 0xfd), prefix("outside", 0x20)
		n, err := newNPTv6(inside, outside)
		if err != nil {
			t.Fatal(err)
		}
		a := random(t, "address")
		keep := packet.AddrFrom(inside.Addr())
		for i := range n.length {
			bit := byte(0x80) >> (i % 8)
			a[i/8] = a[i/8]&^bit | keep[i/8]&bit
		}
		image, ok := n.out(a)
		if !ok {
			return
		}
		if full(a) != full(image) {
			t.Fatalf("%v has sum %#x, %v %#x", a, full(a), image, full(image))
		}
		if !outside.Contains(image.Netip()) {
			t.Fatalf("%v lies outside of %v", image, outside)
		}
		if back, ok := n.in(image); !ok || back != a {
			t.Fatalf("%v over %v comes back as %v %v", a, image, back, ok)
		}
	})
}

// TestJ4_Refused: prefixes that cannot be.
func TestJ4_Refused(t *testing.T) {
	for _, row := range [][2]string{
		{"10.0.0.0/8", "2001:db8::/48"}, {"fd00::/72", "2001:db8::/48"}, {"fd00::/48", "2001:db8::/65"}, {"fd00::/48", "fd00::/32"},
		{"fe80::/64", "2001:db8::/64"}, {"fd00::1/48", "2001:db8::/48"},
	} {
		if _, err := newNPTv6(netip.MustParsePrefix(row[0]), netip.MustParsePrefix(row[1])); err == nil {
			t.Errorf("%v was accepted", row)
		}
	}
}

// TestJ7_Hairpin: an inside host reaches another by its outside address, which sees the
// first by its own; either direction may come first (J3), and nothing is held.
func TestJ7_Hairpin(t *testing.T) {
	policy, pool := compiled(t, Translation{Kind: NPTv6, Out: ports(wan), Hairpin: HairpinOn,
		Inside: netip.MustParsePrefix("fd01:203:405::/48"), Outside: netip.MustParsePrefix("2001:db8:1::/48")})
	udp := func(src string, sport uint16, dst string, dport uint16) packet.Tuple {
		return tuple(packet.UDP, src, sport, dst, dport)
	}
	run(t, policy, pool, []step{
		{"out", lan, wan, udp("fd01:203:405:1::1234", 1, "2001:db8:7::7", 2), udp("fd01:203:405:1::1234", 1, "2001:db8:7::7", 2),
			udp("2001:db8:7::7", 2, "2001:db8:1:d550::1234", 1), Untranslated, Translated, 0},
		{"in", wan, lan, udp("2001:db8:7::7", 2, "2001:db8:1:d550::1234", 1), udp("2001:db8:7::7", 2, "fd01:203:405:1::1234", 1),
			udp("fd01:203:405:1::1234", 1, "2001:db8:7::7", 2), Translated, Untranslated, 0},
		{"hairpin", lan, lan, udp("fd01:203:405:1::1", 1, "2001:db8:1:d550::1234", 2), udp("fd01:203:405:1::1", 1, "fd01:203:405:1::1234", 2),
			udp("fd01:203:405:1::1234", 2, "2001:db8:1:d550::1", 1), Translated, Translated, 0},
	})
	turn := policy.Destination(ptr(udp("2001:db8:7::7", 2, "2001:db8:1:ffff::1", 1)), wan)
	if turn.Outcome != Untranslatable {
		t.Errorf("J5, in: %v", turn.Outcome)
	}
	turn = policy.Destination(ptr(udp("fd01:203:405:ffff::1", 2, "2001:db8:7::7", 1)), lan)
	if _, _, outcome := policy.Source(&turn, wan, 0); outcome != Untranslatable {
		t.Errorf("J5, out: %v", outcome)
	}
	if n := len(pool.Usage()); n != 0 {
		t.Errorf("%d accounts were made", n)
	}
}
