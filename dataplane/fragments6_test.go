package dataplane

import (
	"encoding/binary"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// piece6 returns a piece of a UDP datagram from an inside host of the hostile rig to an
// outside one, without a checksum. field is offset and M as in the Fragment header.
func piece6(id uint32, field uint16, data []byte) []byte {
	f := append(append(append([]byte(nil), macLan[:]...), macClient[:]...), 0x86, 0xdd, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(8+len(data)))
	f = append(f, 44, 64)
	src, dst := insiders[1][0].As16(), outsiders[1][0].As16()
	f = append(append(f, src[:]...), dst[:]...)
	f = append(f, 17, 0, byte(field>>8), byte(field))
	f = binary.BigEndian.AppendUint32(f, id)
	return append(f, data...)
}

// TestK2_SenderIsTold: of a datagram in IPv6 that is given up its sender hears, if the first
// piece came (RFC 8200 section 4.5), and by it alone can know what it was.
func TestK2_SenderIsTold(t *testing.T) {
	for name, row := range map[string]struct {
		field uint16
		told  bool
	}{"first piece": {1, true}, "another piece": {8 | 1, false}} {
		h := newHostile(t)
		piece := piece6(9, row.field, make([]byte, 64))
		if left := h.feed(lan, piece); len(left) > 0 {
			t.Fatalf("%s: %d frames left", name, len(left))
		}
		h.w.now += 61e9
		h.w.sweep()
		left := h.take()
		if (len(left) == 1) != row.told {
			t.Fatalf("%s: %d frames left", name, len(left))
		}
		if d := h.dropped(lan); len(d) != 1 || d[0] != drop.FragmentTimeout {
			t.Errorf("%s: dropped %v", name, d)
		}
		if !row.told {
			continue
		}
		p := parse(t, left[0].frame)
		icmp := left[0].frame[p.L4:p.End]
		if left[0].port != lan || p.Tuple.Dst != packet.AddrFrom(insiders[1][0]) || icmp[0] != 3 || icmp[1] != 1 || string(icmp[8:]) != string(piece[14:]) {
			t.Errorf("%v: %x", p.Tuple, icmp)
		}
	}
}

// TestK5_ParameterProblem: the errors that RFC 8200 section 4.5 has for pieces that cannot be.
func TestK5_ParameterProblem(t *testing.T) {
	for name, row := range map[string]struct {
		field   uint16
		length  int
		pointer uint32 // 0: none is sent
	}{
		"no multiple of eight": {1, 12, 4},
		"past the longest":     {0xfff8, 8, 42},
		"empty":                {8, 0, 0},
		"a good one":           {1, 64, 0},
	} {
		h := newHostile(t)
		left := h.feed(lan, piece6(9, row.field, make([]byte, row.length)))
		if (len(left) == 1) != (row.pointer > 0) {
			t.Fatalf("%s: %d frames left", name, len(left))
		}
		if d := h.dropped(lan); (len(d) == 1 && d[0] == drop.FragmentInvalid) != (name != "a good one") {
			t.Errorf("%s: dropped %v", name, d)
		}
		if row.pointer == 0 {
			continue
		}
		p := parse(t, left[0].frame)
		if icmp := left[0].frame[p.L4:p.End]; icmp[0] != 4 || icmp[1] != 0 || binary.BigEndian.Uint32(icmp[4:]) != row.pointer {
			t.Errorf("%s: %x", name, icmp[:8])
		}
	}
}
