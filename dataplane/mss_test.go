package dataplane

import (
	"bytes"
	"encoding/binary"
	"testing"

	"holdfast/dataplane/packet"
)

// TestB17_ClampOnThePath takes a handshake through ports of which one or both clamp: both
// directions are bounded, whichever port it is, behind the translation and with right
// checksums, and nothing but SYN and SYN/ACK is touched.
func TestB17_ClampOnThePath(t *testing.T) {
	mss := func(n uint16) []byte { return binary.BigEndian.AppendUint16([]byte{1, 1, 1, 2, 4}, n) } // odd
	for _, row := range []struct {
		name         string
		lan, wan     Clamp
		mtu          int // of wan
		offer, reply uint16
		want, wanted uint16
	}{
		{"none", 0, 0, 1492, 1460, 1460, 1460, 1460},
		{"a number on wan", 0, 1400, 1500, 1460, 1380, 1400, 1380},
		{"a number on lan", 1400, 0, 1500, 1460, 1460, 1400, 1400},
		{"the smaller of two", 1300, 1400, 1500, 1460, 1460, 1300, 1300},
		{"path on wan, PPPoE", 0, ClampPath, 1492, 1460, 1460, 1452, 1452},
		{"path on lan: the smaller MTU is wan's", ClampPath, 0, 1492, 1460, 1400, 1452, 1400},
		{"path and a number", ClampPath, 1200, 1492, 1460, 1460, 1200, 1200},
		{"path over jumbo frames", ClampPath, ClampPath, 9000, 8960, 8960, 1460, 1460},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t)
			r.w.shares[lan].Clamp, r.w.shares[wan].Clamp, r.w.shares[wan].MTU = row.lan, row.wan, row.mtu
			send := func(from packet.PortID, p packetIn, options, want []byte) out {
				t.Helper()
				outs := r.feed(from, withOptions(t, p.frame(t), options))
				if len(outs) != 1 {
					t.Fatalf("%d frames left: %v", len(outs), r.dropped(from))
				}
				if got := optionsOf(t, outs[0]); !bytes.HasPrefix(got, want) {
					t.Errorf("%s: options %x, want %x", p.flags, got, want)
				}
				return outs[0]
			}
			syn := packetIn{sport: 40000, dport: 80, flags: "S", seq: 100}
			first := send(lan, fromClient(syn), mss(row.offer), mss(row.want))
			send(lan, fromClient(syn), mss(row.offer), mss(row.want)) // repeated
			back := packetIn{sport: 80, dport: binary.BigEndian.Uint16(first.frame[34:]), flags: "SA", seq: 500, ack: 101}
			send(wan, fromServer(back), mss(row.reply), mss(row.wanted))
			send(lan, fromClient(packetIn{sport: 40000, dport: 80, flags: "A", seq: 101, ack: 501}), mss(row.offer), mss(row.offer))
			back.flags, back.seq, back.payload = "PA", 501, 10
			send(wan, fromServer(back), mss(row.reply), mss(row.reply))
		})
	}
}

// TestB17_BoundOfBothFamilies: what an MTU leaves for a segment.
func TestB17_BoundOfBothFamilies(t *testing.T) {
	port := func(mtu int, c Clamp) *share { return &share{Port: &Port{MTU: mtu, Clamp: c}} }
	for _, row := range []struct {
		in, out *share
		v4, v6  uint16
	}{
		{port(1500, 0), port(1500, 0), 65535, 65535},
		{port(1500, ClampPath), port(1280, 0), 1240, 1220},
		{port(1500, 0), port(1500, 536), 536, 536},
		{port(20, ClampPath), port(1500, 0), 0, 0},
	} {
		if v4, v6 := row.in.bound(row.out, 4), row.in.bound(row.out, 6); v4 != row.v4 || v6 != row.v6 {
			t.Errorf("%+v to %+v: %d and %d, want %d and %d", row.in.Port, row.out.Port, v4, v6, row.v4, row.v6)
		}
	}
}
