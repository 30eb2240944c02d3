package dataplane

import (
	"testing"

	"holdfast/dataplane/drop"
)

// BenchmarkEstablished takes bursts of segments of an established, translated connection
// through the path, from decode to the staged frame. One operation is one packet.
func BenchmarkEstablished(b *testing.B) {
	r := newRig(b)
	r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(b))
	r.feed(wan, fromServer(packetIn{sport: 80, dport: 4000, flags: "SA", seq: 500, ack: 101}).frame(b))
	r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "A", seq: 101, ack: 501}).frame(b))
	segment := fromClient(packetIn{sport: 4000, dport: 80, flags: "A", seq: 101, ack: 501}).frame(b)
	const burst = 32
	w, in := r.w, &r.w.burst
	b.ResetTimer()
	for range b.N / burst {
		in.in, in.n = w.shares[lan], w.umem.Alloc(in.desc[:burst])
		for i := range burst {
			buf := w.umem.Bytes(in.desc[i])
			in.desc[i].Len = uint32(copy(buf[:cap(buf)], segment))
		}
		w.forward(in)
		if out := w.shares[wan]; len(out.staged) != burst {
			b.Fatalf("%d left: %v", len(out.staged), r.dropped(lan))
		}
		r.discard()
	}
	if w.shares[lan].ReceiveDrops.Count(drop.RuleBlock) != 0 {
		b.Error("blocked")
	}
}
