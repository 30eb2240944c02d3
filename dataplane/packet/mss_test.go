package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"holdfast/dataplane/drop"
)

// synFrame is a SYN with these raw options, filled up with zeros, right checksums, and a
// payload of two bytes, that the options must not reach.
func synFrame(t testing.TB, version int, flags TCPFlags, options []byte) ([]byte, Parsed) {
	t.Helper()
	options = append(slices.Clone(options), make([]byte, (4-len(options)%4)%4)...)
	segment := make([]byte, tcpLen, tcpLen+len(options)+2)
	binary.BigEndian.PutUint16(segment[0:], 40000)
	binary.BigEndian.PutUint16(segment[2:], 80)
	binary.BigEndian.PutUint32(segment[4:], 0x12345678)
	segment[12] = byte((tcpLen+len(options))/4) << 4
	segment[13] = byte(flags)
	segment = append(append(segment, options...), 2, 4)
	frame := make([]byte, 14)
	src, dst := Addr{}, Addr{}
	if version == 4 {
		src.set4([]byte{10, 0, 0, 1})
		dst.set4([]byte{192, 0, 2, 1})
		binary.BigEndian.PutUint16(frame[12:], 0x0800)
		h := make([]byte, ipv4Len)
		h[0], h[8], h[9] = 0x45, 64, byte(TCP)
		binary.BigEndian.PutUint16(h[2:], uint16(ipv4Len+len(segment)))
		copy(h[12:], src[12:])
		copy(h[16:], dst[12:])
		binary.BigEndian.PutUint16(h[10:], ^fold(sum(h)))
		frame = append(frame, h...)
	} else {
		src, dst = Addr{0: 0x20, 1: 1, 15: 1}, Addr{0: 0x20, 1: 1, 15: 2}
		binary.BigEndian.PutUint16(frame[12:], 0x86dd)
		h := make([]byte, ipv6Len)
		h[0], h[6], h[7] = 0x60, byte(TCP), 64
		binary.BigEndian.PutUint16(h[4:], uint16(len(segment)))
		copy(h[8:], src[:])
		copy(h[24:], dst[:])
		frame = append(frame, h...)
	}
	binary.BigEndian.PutUint16(segment[tcpSumAt:], ^fold(add(pseudoSum(&src, &dst, TCP, len(segment)), sum(segment))))
	frame = append(frame, segment...)
	var p Parsed
	if why := Decode(frame, &p); why != drop.Pass {
		t.Fatalf("options %x: %v", options, why)
	}
	if !VerifyChecksum(frame, &p) {
		t.Fatal("the test's own checksum is wrong")
	}
	return frame, p
}

// TestB17_MSS reads as a table of options before and behind a clamp to 1400 (0x578).
func TestB17_MSS(t *testing.T) {
	for _, row := range []struct {
		name         string
		flags        TCPFlags
		before, want []byte // want nil: untouched
	}{
		{"greater", FlagSYN, []byte{2, 4, 0x05, 0xb4}, []byte{2, 4, 0x05, 0x78}},
		{"of a SYN/ACK", FlagSYN | FlagACK, []byte{2, 4, 0x05, 0xb4}, []byte{2, 4, 0x05, 0x78}},
		{"the largest", FlagSYN, []byte{2, 4, 0xff, 0xff}, []byte{2, 4, 0x05, 0x78}},
		{"by one", FlagSYN, []byte{2, 4, 0x05, 0x79}, []byte{2, 4, 0x05, 0x78}},
		{"equal", FlagSYN, []byte{2, 4, 0x05, 0x78}, nil},
		{"less: only downwards", FlagSYN, []byte{2, 4, 0x02, 0x18}, nil},
		{"zero", FlagSYN, []byte{2, 4, 0, 0}, nil},
		{"after data began: not a SYN", FlagACK | FlagPSH, []byte{2, 4, 0x05, 0xb4}, nil},
		{"a FIN", FlagFIN | FlagACK, []byte{2, 4, 0x05, 0xb4}, nil},
		{"a reset", FlagRST, []byte{2, 4, 0x05, 0xb4}, nil},
		{"none", FlagSYN, []byte{}, nil},
		{"others only", FlagSYN, []byte{4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}, nil},
		{"as Linux", FlagSYN, []byte{2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7},
			[]byte{2, 4, 0x05, 0x78, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}},
		{"odd, one NOP before", FlagSYN, []byte{1, 2, 4, 0x05, 0xb4}, []byte{1, 2, 4, 0x05, 0x78}},
		{"odd, behind a window scale", FlagSYN, []byte{3, 3, 7, 2, 4, 0x23, 0x00, 1}, []byte{3, 3, 7, 2, 4, 0x05, 0x78, 1}},
		{"even, two NOPs", FlagSYN, []byte{1, 1, 2, 4, 0x23, 0x28}, []byte{1, 1, 2, 4, 0x05, 0x78}},
		{"odd, last", FlagSYN, []byte{1, 1, 1, 2, 4, 0x23, 0x28}, []byte{1, 1, 1, 2, 4, 0x05, 0x78}},
		{"twice, once even and once odd", FlagSYN, []byte{2, 4, 0x05, 0xb4, 1, 2, 4, 0x05, 0xdc}, []byte{2, 4, 0x05, 0x78, 1, 2, 4, 0x05, 0x78}},
		{"behind the end of the list", FlagSYN, []byte{0, 2, 4, 0x05, 0xb4}, nil},
		{"truncated: its length goes into the payload", FlagSYN, []byte{1, 1, 2, 4}, nil},
		{"truncated after its kind", FlagSYN, []byte{1, 1, 1, 2}, nil},
		{"of three bytes", FlagSYN, []byte{2, 3, 0x05, 1}, nil},
		{"of five bytes", FlagSYN, []byte{2, 5, 0x05, 0xb4, 1}, nil},
		{"of length one: nothing behind it counts", FlagSYN, []byte{2, 1, 2, 4, 0x05, 0xb4, 1, 1}, nil},
		{"of length zero", FlagSYN, []byte{9, 0, 2, 4, 0x05, 0xb4, 1, 1}, nil},
		{"an unknown option that holds one", FlagSYN, []byte{9, 6, 2, 4, 0x05, 0xb4, 1, 1}, nil},
		{"forty bytes", FlagSYN, append(bytes.Repeat([]byte{1}, 36), 2, 4, 0x05, 0xb4), append(bytes.Repeat([]byte{1}, 36), 2, 4, 0x05, 0x78)},
	} {
		for _, version := range []int{4, 6} {
			t.Run(fmt.Sprint(row.name, " v", version), func(t *testing.T) {
				frame, p := synFrame(t, version, row.flags, row.before)
				was := slices.Clone(frame)
				lowered := ClampMSS(frame, &p, 1400)
				if lowered != (row.want != nil) {
					t.Errorf("lowered: %v", lowered)
				}
				if row.want == nil {
					if !bytes.Equal(frame, was) {
						t.Errorf("changed:\n%x\n%x", was, frame)
					}
					return
				}
				want, _ := synFrame(t, version, row.flags, row.want)
				if !bytes.Equal(frame, want) {
					t.Errorf("got, and as it would have been sent with that:\n%x\n%x", frame, want)
				}
			})
		}
	}
}

// TestB17_WrongChecksumStaysWrong: by exactly as much as before.
func TestB17_WrongChecksumStaysWrong(t *testing.T) {
	for _, options := range [][]byte{{2, 4, 0x05, 0xb4}, {1, 2, 4, 0x05, 0xb4}} {
		frame, p := synFrame(t, 4, FlagSYN, options)
		frame[p.L4+tcpSumAt] ^= 0x40
		if !ClampMSS(frame, &p, 1400) || VerifyChecksum(frame, &p) {
			t.Error("it has become right")
		}
		frame[p.L4+tcpSumAt] ^= 0x40
	}
}

// TestB17_AnyOptions sends random options through, most of them broken: what was right stays
// so, nothing but an MSS and the checksum changes, and what Decode reads is within the clamp.
func TestB17_AnyOptions(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 1))
	lowered := 0
	for range 20_000 {
		var options []byte
		for n := rng.IntN(12); len(options) < n; {
			options = append(options, [][]byte{{1}, {4, 2}, {3, 3, 7}, {5, 2}, {byte(rng.Uint32())}, {2, 4, byte(rng.Uint32()), byte(rng.Uint32())}}[rng.IntN(6)]...)
		}
		version := 4 + 2*rng.IntN(2)
		frame, p := synFrame(t, version, FlagSYN, options)
		most := uint16(rng.Uint32())
		was := slices.Clone(frame)
		if ClampMSS(frame, &p, most) {
			lowered++
		}
		if !VerifyChecksum(frame, &p) {
			t.Fatalf("options %x to %d: the checksum is wrong", options, most)
		}
		for i := range frame {
			isSum := i == int(p.L4)+tcpSumAt || i == int(p.L4)+tcpSumAt+1
			isOption := i >= int(p.L4)+tcpLen && i < int(p.Payload)
			if frame[i] != was[i] && !isSum && !isOption {
				t.Fatalf("options %x: byte %d has changed", options, i)
			}
		}
		var now Parsed
		if why := Decode(frame, &now); why != drop.Pass || now.TCPOptions != p.TCPOptions || now.TCPOptions&HasMSS != 0 && now.MSS != min(p.MSS, most) {
			t.Fatalf("options %x to %d: MSS %d, was %d (%v)", options, most, now.MSS, p.MSS, why)
		}
	}
	if lowered < 1000 {
		t.Errorf("only %d were lowered", lowered)
	}
}
