package dataplane

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// withOptions puts raw TCP options, filled up with the end of the list, into a frame of
// IPv4 whose TCP header has none, and makes both checksums right.
func withOptions(t *testing.T, frame, options []byte) []byte {
	t.Helper()
	const l3, l4 = 14, 34
	options = append(slices.Clone(options), make([]byte, (4-len(options)%4)%4)...)
	f := slices.Concat(frame[:l4+20], options, frame[l4+20:])
	f[l4+12] = byte(5+len(options)/4) << 4
	binary.BigEndian.PutUint16(f[l3+2:], uint16(len(f)-l3))
	sum := func(b []byte, total uint32) uint16 {
		for i, x := range b {
			total += uint32(x) << (8 * (1 - i%2))
		}
		for total>>16 != 0 {
			total = total>>16 + total&0xffff
		}
		return ^uint16(total)
	}
	clear(f[l3+10 : l3+12])
	binary.BigEndian.PutUint16(f[l3+10:], sum(f[l3:l4], 0))
	clear(f[l4+16 : l4+18])
	pseudo := slices.Concat(f[l3+12:l3+20], []byte{0, 6, 0, 0})
	binary.BigEndian.PutUint16(pseudo[10:], uint16(len(f)-l4))
	binary.BigEndian.PutUint16(f[l4+16:], sum(slices.Concat(pseudo, f[l4:]), 0))
	var p packet.Parsed
	if why := packet.Decode(f, &p); why == drop.Pass && !packet.VerifyChecksum(f, &p) {
		t.Fatal("withOptions makes wrong checksums")
	}
	return f
}

// optionsOf returns the TCP options of a frame that left, whose checksums must be right.
func optionsOf(t *testing.T, o out) []byte {
	t.Helper()
	var p packet.Parsed
	if why := packet.Decode(o.frame, &p); why != drop.Pass {
		t.Fatalf("what left does not decode: %v", why)
	}
	if !packet.VerifyChecksum(o.frame, &p) {
		t.Error("the checksum of what left is wrong")
	}
	return o.frame[p.L4+20 : p.Payload]
}

// timestamps is the option as everybody lays it out (RFC 7323 appendix A).
func timestamps(value, echo uint32) []byte {
	o := []byte{1, 1, 8, 10}
	o = binary.BigEndian.AppendUint32(o, value)
	return binary.BigEndian.AppendUint32(o, echo)
}

// TestC13_TimestampsAreForwarded: segments whose timestamps PAWS would refuse (RFC 7323
// section 5) pass, by the fast way and by the general one, and no byte of the option is
// another behind the translation.
func TestC13_TimestampsAreForwarded(t *testing.T) {
	r := newRig(t)
	var port uint16
	for n, row := range []struct {
		toServer    bool
		flags       string
		seq, ack    uint32
		value, echo uint32
		why         string
	}{
		{true, "S", 100, 0, 1 << 20, 0, "begins"},
		{false, "SA", 500, 101, 7, 1 << 20, "answers"},
		{true, "A", 101, 501, 1<<20 + 1, 7, "completes"},
		{true, "PA", 101, 501, 1<<20 + 2, 7, "in order"},
		{true, "PA", 111, 501, 1, 7, "older than all before: another clock behind one address"},
		{true, "PA", 121, 501, 1<<20 + 1<<31 + 9, 7, "half the circle ahead, so behind"},
		{false, "PA", 501, 131, 0, 0, "the value zero"},
		{false, "PA", 511, 131, 5, 99, "echoes what was never sent"},
		{true, "A", 131, 521, 0xffffffff, 0xffffffff, "the last value"},
		{true, "A", 131, 521, 3, 3, "and beyond the wrap, with the same numbers again"},
		{true, "FA", 131, 521, 2, 3, "closing with an old one"},
		{false, "A", 521, 132, 2, 0, "and its acknowledgement"},
	} {
		p, in, from := packetIn{sport: 40000, dport: 80}, lan, fromClient
		if !row.toServer {
			p, in, from = packetIn{sport: 80, dport: port}, wan, fromServer
		}
		p.flags, p.seq, p.ack = row.flags, row.seq, row.ack
		if row.flags == "PA" {
			p.payload = 10
		}
		want := timestamps(row.value, row.echo)
		outs := r.feed(in, withOptions(t, from(p).frame(t), want))
		if len(outs) != 1 {
			t.Fatalf("row %d, %s: %d frames left, %v", n, row.why, len(outs), r.dropped(in))
		}
		if got := optionsOf(t, outs[0]); !bytes.Equal(got, want) {
			t.Errorf("row %d, %s: options %x, want %x", n, row.why, got, want)
		}
		if n == 0 {
			tcp := gopacket.NewPacket(outs[0].frame, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeTCP).(*layers.TCP)
			port = uint16(tcp.SrcPort)
		}
	}
}
