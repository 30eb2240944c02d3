package packet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/internal/race"
)

// ext is one extension header without its next field.
type ext struct {
	kind Proto
	body []byte // from the second byte on
}

// chain strings headers together, ending in last, and returns the type of the first.
func chain(last Proto, headers ...ext) (first Proto, b []byte) {
	first = last
	for i := len(headers) - 1; i >= 0; i-- {
		b = append(append([]byte{uint8(first)}, headers[i].body...), b...)
		first = headers[i].kind
	}
	return first, b
}

// Headers of the tests, of eight bytes unless said otherwise.
var (
	hopByHop  = ext{extHopByHop, []byte{0, 1, 4, 0, 0, 0, 0}}
	destOpts  = ext{extDestination, []byte{0, 1, 4, 0, 0, 0, 0}}
	mobility  = ext{extMobility, []byte{0, 1, 0, 0, 0, 0, 0}}
	atomicExt = ext{extFragment, []byte{0, 0, 0, 0, 0, 0, 9}}
	authExt   = ext{extAuth, append([]byte{1}, make([]byte, 10)...)} // 12 bytes
	visited   = ext{extRouting, []byte{0, 4, 0, 0, 0, 0, 0}}         // no segments left
)

// routing returns a routing header of some type with room for n addresses.
func routing(kind, left uint8, n int) ext {
	return ext{extRouting, append([]byte{uint8(2 * n), kind, left, 0, 0, 0, 0}, bytes.Repeat([]byte{0xfd}, 16*n)...)}
}

func frame6(last Proto, segment []byte, headers ...ext) []byte {
	first, b := chain(last, headers...)
	return ipv6(client6, server6, first, b, segment)
}

func TestM1_ExtensionHeaders(t *testing.T) {
	u := udp([]byte("x"))
	eight := []ext{hopByHop, destOpts, destOpts, destOpts, destOpts, destOpts, destOpts, destOpts}
	long := func(units int) ext {
		return ext{extDestination, append([]byte{uint8(units - 1), 1, uint8(units*8 - 4)}, make([]byte, units*8-4)...)}
	}
	check(t, []row{
		{"each kind", frame6(UDP, u, hopByHop, destOpts, visited, atomicExt, authExt, mobility), drop.Pass},
		{"HIP and Shim6", frame6(UDP, u, ext{extHIP, destOpts.body}, ext{extShim6, destOpts.body}), drop.Pass},
		{"eight", frame6(UDP, u, eight...), drop.Pass},
		{"nine", frame6(UDP, u, append(eight[:8:8], destOpts)...), drop.IPv6ChainInvalid},
		{"256 bytes", frame6(UDP, u, long(32)), drop.Pass},
		{"264 bytes", frame6(UDP, u, long(33)), drop.IPv6ChainInvalid},
		{"256 bytes in two", frame6(UDP, u, long(31), destOpts), drop.Pass},
		{"264 bytes in two", frame6(UDP, u, long(32), destOpts), drop.IPv6ChainInvalid},
	})
	p := mustDecode(t, frame6(UDP, u, hopByHop, authExt, mobility))
	if p.L4 != 54+8+12+8 || p.Tuple.Proto != UDP || p.Tuple.DstPort != 53 {
		t.Errorf("%+v", *p)
	}
	// What is behind an unknown header, or behind encryption, is not guessed at.
	for _, proto := range []Proto{ESP, 59, 253, 99} {
		if p := mustDecode(t, frame6(proto, u, destOpts)); p.Tuple.Proto != proto || p.Tuple.DstPort != 0 || p.Payload != p.L4 {
			t.Errorf("%v: %+v", proto, *p)
		}
	}
}

func TestM2_HopByHopOnlyFirst(t *testing.T) {
	u := udp([]byte("x"))
	unknown := ext{extHopByHop, []byte{0, 0xc2, 4, 0, 0, 0, 0}} // "discard" is for end nodes
	check(t, []row{
		{"first", frame6(UDP, u, hopByHop), drop.Pass},
		{"an unknown option passes", frame6(UDP, u, unknown), drop.Pass},
		{"second", frame6(UDP, u, destOpts, hopByHop), drop.IPv6ChainInvalid},
		{"twice", frame6(UDP, u, hopByHop, hopByHop), drop.IPv6ChainInvalid},
		{"behind an atomic fragment header", frame6(UDP, u, atomicExt, hopByHop), drop.IPv6ChainInvalid},
	})
}

// TestM2_RouterAlert: the option asks routers to look (RFC 2711); only what is MLD is for
// them, and goes to the kernel, anything else is forwarded as it is.
func TestM2_RouterAlert(t *testing.T) {
	alert := ext{extHopByHop, []byte{0, 5, 2, 0, 0, 1, 0}}
	for _, row := range []struct {
		name  string
		frame []byte
		want  Kind
	}{
		{"MLD query", frame6(ICMPv6, icmp(130, 0, 0, make([]byte, 16)), alert), KindMLD},
		{"MLDv2 report", frame6(ICMPv6, icmp(143, 0, 0, make([]byte, 8)), alert), KindMLD},
		{"echo", frame6(ICMPv6, icmp(128, 0, 7, nil), alert), KindIP},
		{"RSVP or whatever", frame6(46, make([]byte, 8), alert), KindIP},
		{"UDP", frame6(UDP, udp([]byte("x")), alert), KindIP},
	} {
		if p := mustDecode(t, row.frame); p.Kind != row.want {
			t.Errorf("%s: kind %d, want %d", row.name, p.Kind, row.want)
		}
	}
}

func TestM3_TruncatedChains(t *testing.T) {
	authZero := ext{extAuth, []byte{0, 0, 0, 0, 0, 0, 0}}
	longer := ext{extDestination, []byte{1, 1, 4, 0, 0, 0, 0}}
	check(t, []row{
		{"no next header", frame6(59, nil), drop.Pass},
		{"no next header, and bytes behind it", frame6(59, []byte{1, 2, 3}, destOpts), drop.Pass},
		{"announced and absent", frame6(extDestination, nil), drop.IPv6ChainInvalid},
		{"announced, one byte", frame6(extDestination, []byte{17}), drop.IPv6ChainInvalid},
		{"announced, seven bytes", frame6(extFragment, make([]byte, 7)), drop.IPv6ChainInvalid},
		{"length past the packet", frame6(59, nil, longer), drop.IPv6ChainInvalid},
		{"AH of length zero", frame6(UDP, udp(nil), authZero), drop.IPv6ChainInvalid},
		{"AH past the packet", frame6(59, nil, ext{extAuth, append([]byte{2}, make([]byte, 10)...)}), drop.IPv6ChainInvalid},
		{"second fragment header", frame6(UDP, udp(nil), atomicExt, atomicExt), drop.IPv6ChainInvalid},
		{"destination options behind a fragment header", frame6(UDP, udp(nil), atomicExt, destOpts), drop.Pass},
		{"routing type 0", frame6(UDP, udp(nil), routing(0, 1, 1)), drop.IPv6RoutingType0},
		{"routing type 0, nothing left", frame6(UDP, udp(nil), routing(0, 0, 1)), drop.IPv6RoutingType0},
		{"routing type 0 behind options", frame6(UDP, udp(nil), hopByHop, destOpts, routing(0, 1, 1)), drop.IPv6RoutingType0},
		{"segment routing", frame6(UDP, udp(nil), routing(4, 2, 2)), drop.Pass},
		{"more segments left than there are", frame6(UDP, udp(nil), routing(4, 3, 2)), drop.IPv6ChainInvalid},
		{"an unknown type with segments left", frame6(UDP, udp(nil), routing(3, 1, 1)), drop.IPv6ChainInvalid},
		{"an unknown type, done", frame6(UDP, udp(nil), routing(3, 0, 1)), drop.Pass},
	})
}

func TestM6_Jumbograms(t *testing.T) {
	jumbo := frame6(UDP, udp(nil), ext{extHopByHop, []byte{0, 0xc2, 4, 0, 1, 0, 0}})
	binary.BigEndian.PutUint16(jumbo[18:], 0)
	good := ipv6(client6, server6, UDP, nil, udp(nil))
	check(t, []row{
		{"jumbogram", jumbo, drop.IPv6Jumbogram},
		{"version 4 under the IPv6 type", with(good, func(f []byte) { f[14] = 0x45 }), drop.IPv6HeaderInvalid},
		{"length past the frame", with(good, func(f []byte) { f[19]++ }), drop.FrameTruncated},
		{"cut in the header", cut(good, 53), drop.FrameTruncated},
		{"length 0", cut(frame6(59, nil), 54), drop.Pass},
	})
}

// TestM4_AllChains compares Decode with the plain reading of every chain of eight headers of
// six kinds, 1.7 million of them.
func TestM4_AllChains(t *testing.T) {
	if testing.Short() {
		t.Skip("1.7 million chains: not with -short")
	}
	kinds := []ext{hopByHop, destOpts, visited, atomicExt, authExt, mobility}
	f := ipv6(client6, server6, UDP, nil, make([]byte, 8*12+8))
	udpHeader := udp(nil)
	var p Parsed
	stride := 1
	if race.Enabled { // one goroutine: nothing to find, and ten times as long
		stride = 7
	}
	for n := 0; n < 6*6*6*6*6*6*6*6; n += stride {
		at, want, nextAt, fragments := 54, drop.Pass, 20, 0
		for i, rest := 0, n; i < 8; i, rest = i+1, rest/6 {
			k := kinds[rest%6]
			f[nextAt] = uint8(k.kind)
			copy(f[at+1:], k.body)
			nextAt, at = at, at+1+len(k.body)
			if k.kind == extFragment {
				fragments++
			}
			if k.kind == extHopByHop && i > 0 || fragments > 1 {
				want = drop.IPv6ChainInvalid
			}
		}
		f[nextAt] = uint8(UDP)
		end := at + copy(f[at:], udpHeader)
		binary.BigEndian.PutUint16(f[18:], uint16(end-54))
		if got := Decode(f[:end], &p); got != want {
			t.Fatalf("chain %d: %v, want %v\n% x", n, got, want, f[54:end])
		}
		if want == drop.Pass && (int(p.L4) != at || p.Tuple.DstPort != 53) {
			t.Fatalf("chain %d: L4 at %d, want %d", n, p.L4, at)
		}
	}
}
