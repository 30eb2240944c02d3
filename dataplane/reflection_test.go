package dataplane

import (
	"testing"

	"holdfast/dataplane/packet"
	"holdfast/internal/race"
)

// TestREL37_Reflection: random packets of every shape from outside, to the node, to hosts
// inside and to nobody, where no rule rejects: no TCP packet ever comes back, and all that
// does comes to less than was sent, so nobody can use the node to multiply traffic.
func TestREL37_Reflection(t *testing.T) {
	total := 100_000
	switch {
	case soaking():
		total = 1_000_000
	case race.Enabled:
		total = 10_000
	}
	g, r := newForger(seedOf(t, 37)), newHostile(t)
	sent, back, answers := 0, 0, map[string]int{}
	for n := 0; n < total; {
		in, frame := g.frame()
		if in != wan {
			continue
		}
		n++
		sent += len(frame)
		for _, o := range r.feed(wan, frame) {
			if o.port != wan {
				continue
			}
			back += len(o.frame)
			var p packet.Parsed
			packet.Decode(o.frame, &p)
			answers[p.Tuple.Proto.String()]++
			if p.Tuple.Proto != packet.ICMP && p.Tuple.Proto != packet.ICMPv6 || !p.IsICMPError() {
				t.Fatalf("to\n%x\nit answers\n%x", frame, o.frame)
			}
		}
		if n%1000 == 0 {
			r.pass(1e7) // 100,000 packets a second
		}
	}
	if back > sent {
		t.Errorf("%d bytes came back for %d", back, sent)
	}
	t.Logf("%d packets, %d bytes; %d bytes came back: %v", total, sent, back, answers)
}
