package fragment

import (
	"testing"

	"holdfast/dataplane/packet"
)

// BenchmarkFlood is what a piece of a flood costs, each of a datagram and a source of its
// own while the memory is full (REL34), and BenchmarkDatagram one of 8 KiB in six pieces.
func BenchmarkFlood(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"tiny", 8}, {"full", 1480}} {
		b.Run(size.name, func(b *testing.B) {
			k := newBench()
			frame := host(1).piece(0, true, data(size.bytes))
			var p packet.Parsed
			packet.Decode(frame, &p)
			for n := 0; b.Loop(); n++ {
				p.Tuple.Src[13], p.Tuple.Src[14], p.Tuple.Src[15] = byte(n), byte(n>>8), byte(n>>16)
				k.t.Add(port, frame, &p, int64(n), &k.d, &k.r)
			}
		})
	}
}

func BenchmarkDatagram(b *testing.B) {
	k := newBench()
	pieces := v4().cut(udpOf(8192), 1480)
	parsed := make([]packet.Parsed, len(pieces))
	for i, f := range pieces {
		packet.Decode(f, &parsed[i])
	}
	for b.Loop() {
		for i, f := range pieces {
			k.t.Add(port, f, &parsed[i], 1, &k.d, &k.r)
		}
	}
	if k.r.Outcome != Whole {
		b.Fatal(k.r.Outcome)
	}
}
