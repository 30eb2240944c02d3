package packet

import (
	"encoding/binary"
	"testing"

	"holdfast/dataplane/drop"
)

// TestA1_AllHeaderLengths is row 1 of the bug classes: IHL 0-15, total length 0 to past the
// frame, data offset 0-15, frames of 14 to 98 bytes. The oracle says what must come out by
// comparing in the order of the headers, and the race is for a length that wraps.
func TestA1_AllHeaderLengths(t *testing.T) {
	pool := make([]byte, 98)
	SetMACs(pool, macWall, macHost)
	binary.BigEndian.PutUint16(pool[12:], etherIPv4)
	base := ipv4(client4, server4, TCP, nil, nil)
	for i := ethernetLen + ipv4Len; i < len(pool); i++ {
		pool[i] = 1 // options that do nothing, to IPv4 and to TCP; flags are set below
	}
	var p Parsed
	for frameLen := ethernetLen; frameLen <= len(pool); frameLen++ {
		copy(pool[ethernetLen:], base[ethernetLen:])
		f := pool[:frameLen:frameLen]
		for ihl := range 16 {
			for total := range frameLen + 3 {
				checkLengths(t, f, ihl, total, &p)
			}
		}
	}
}

// checkLengths tries every data offset for one IHL and total length.
func checkLengths(t *testing.T, f []byte, ihl, total int, p *Parsed) {
	if len(f) >= ethernetLen+ipv4Len {
		f[14] = uint8(0x40 | ihl)
		binary.BigEndian.PutUint16(f[16:], uint16(total))
		sumHeader4(f)
	}
	l4 := ethernetLen + ihl*4
	offset := l4 + 12
	hasTCP := offset >= ethernetLen+ipv4Len && offset+1 < len(f) // and not in the IP header
	for doff := range 16 {
		if hasTCP {
			f[offset], f[offset+1] = uint8(doff<<4), uint8(FlagACK)
		}
		want := wantLengths(len(f)-ethernetLen, ihl*4, total, doff*4)
		if got := Decode(f, p); got != want {
			t.Fatalf("frame %d, ihl %d, total %d, offset %d: %v, want %v", len(f), ihl, total, doff, got, want)
		}
		if want == drop.Pass && (int(p.L4) != l4 || int(p.Payload) != l4+doff*4 || int(p.End) != ethernetLen+total) {
			t.Fatalf("frame %d, ihl %d, total %d, offset %d: %+v", len(f), ihl, total, doff, *p)
		}
		if !hasTCP {
			return
		}
		f[offset], f[offset+1] = 1, 1
	}
}

// wantLengths is the oracle, over the room behind the Ethernet header.
func wantLengths(room, header, total, tcpHeader int) drop.Reason {
	switch {
	case room < 20:
		return drop.FrameTruncated
	case header < 20, header > total:
		return drop.IPv4HeaderInvalid
	case total > room:
		return drop.FrameTruncated
	case total < header+20, tcpHeader < 20, header+tcpHeader > total:
		return drop.TCPTruncated
	}
	return drop.Pass
}
