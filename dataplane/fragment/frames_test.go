package fragment

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

const port packet.PortID = 3

// maker makes pieces of datagrams between two hosts.
type maker struct {
	v6       bool
	src, dst string
	id       uint32
	proto    uint8
	class    uint8
	ttl      uint8
	options  []byte // IPv4
	chain    []byte // IPv6: in front of the Fragment header, first of type chainOf
	chainOf  uint8
}

func v4() maker {
	return maker{src: "10.0.0.2", dst: "203.0.113.9", id: 7, proto: 17, ttl: 64}
}

func v6() maker {
	return maker{v6: true, src: "2001:db8:1::2", dst: "2001:db8:9::9", id: 7, proto: 17, ttl: 64}
}

// family returns a maker of either family.
func family(sixth bool) maker {
	if sixth {
		return v6()
	}
	return v4()
}

// more says whether pieces follow.
type more bool

// piece returns the frame of a piece at an offset in bytes.
func (m maker) piece(start int, follow more, data []byte) []byte {
	f := make([]byte, 14, 14+60+len(data))
	f[0], f[6] = 2, 2
	field := uint16(start)
	if m.v6 {
		f[12], f[13] = 0x86, 0xdd
		h := make([]byte, 40)
		binary.BigEndian.PutUint32(h, 6<<28|uint32(m.class)<<20|0x54321)
		binary.BigEndian.PutUint16(h[4:], uint16(len(m.chain)+8+len(data)))
		h[6], h[7] = 44, m.ttl
		if len(m.chain) > 0 {
			h[6] = m.chainOf
		}
		src, dst := netip.MustParseAddr(m.src).As16(), netip.MustParseAddr(m.dst).As16()
		copy(h[8:], src[:])
		copy(h[24:], dst[:])
		if follow {
			field |= 1
		}
		fh := []byte{m.proto, 0, byte(field >> 8), byte(field), 0, 0, 0, 0}
		binary.BigEndian.PutUint32(fh[4:], m.id)
		return append(append(append(append(f, h...), m.chain...), fh...), data...)
	}
	f[12] = 8
	h := make([]byte, 20+len(m.options))
	h[0], h[1] = 4<<4|uint8(len(h)/4), m.class
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(data)))
	binary.BigEndian.PutUint16(h[4:], uint16(m.id))
	field /= 8
	if follow {
		field |= 0x2000
	}
	binary.BigEndian.PutUint16(h[6:], field)
	h[8], h[9] = m.ttl, m.proto
	src, dst := netip.MustParseAddr(m.src).As4(), netip.MustParseAddr(m.dst).As4()
	copy(h[12:], src[:])
	copy(h[16:], dst[:])
	copy(h[20:], m.options)
	var total uint32
	for i := 0; i < len(h); i += 2 {
		total += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	for total > 0xffff {
		total = total&0xffff + total>>16
	}
	binary.BigEndian.PutUint16(h[10:], ^uint16(total))
	return append(append(f, h...), data...)
}

// bench is a tracker with what a worker has beside it.
type bench struct {
	t *Tracker
	d Datagram
	r Result
}

func newBench() *bench { return &bench{t: New()} }

func newSmall(l limits) *bench { return &bench{t: newTracker(l)} }

// add gives the tracker a frame, which must be a piece.
func (b *bench) add(t testing.TB, frame []byte, now int64) Outcome {
	t.Helper()
	var p packet.Parsed
	if why := packet.Decode(frame, &p); why != drop.Fragment {
		t.Fatalf("no piece: %v", why)
	}
	b.t.Add(port, frame, &p, now, &b.d, &b.r)
	return b.r.Outcome
}

// data returns n bytes in which no two places are alike for long.
func data(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13 + i>>4)
	}
	return b
}
