package dataplane

import (
	"fmt"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// BenchmarkSYN is what a SYN costs: answered with a cookie, and admitted, which the removal of
// the connection is a part of here.
func BenchmarkSYN(b *testing.B) {
	for _, when := range []string{"always", "never"} {
		b.Run(fmt.Sprintf("syn_proxy=%s", when), func(b *testing.B) {
			r := newProxyRig(b, "dnat", when)
			syn := r.client.frame(tcp{flags: packet.FlagSYN, seq: clientFirst, options: clientOffers})
			var last conntrack.State
			for b.Loop() {
				burst := &r.w.burst
				burst.in, burst.n = r.w.shares[r.client.at], r.w.umem.Alloc(burst.desc[:1])
				buf := r.w.umem.Bytes(burst.desc[0])
				burst.desc[0].Len = uint32(copy(buf[:cap(buf)], syn))
				r.w.forward(burst)
				if r.discard() != 1 {
					b.Fatal("nothing left")
				}
				if when == "never" {
					r.w.snapshot.Table.Remove(r.w.result.Index, r.w.result.Incarnation, r.w.now, &last)
				}
			}
		})
	}
}
