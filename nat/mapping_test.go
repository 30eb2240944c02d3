package nat

import (
	"fmt"
	"net/netip"
	"testing"
)

// TestI5_MappingByRemote: with a mapping that depends on address and port every remote end
// sees another port of the same endpoint, as long as there are free ones (RFC 4787 section
// 4.1); then ports serve several remote ends, never one of them twice.
func TestI5_MappingByRemote(t *testing.T) {
	policy, pool := compiled(t, Translation{
		Kind: Source, Out: ports(wan), From: prefixes("10.0.0.0/8"), Targets: []Target{target("203.0.113.9")},
		TargetPorts: through(40000, 40099), Mapping: AddressAndPortDependent,
	})
	used, held := map[uint16]int{}, []Binding{}
	for i := range 150 {
		remote := netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i/4)})
		original := tcp("10.0.0.2", 40000, remote.String(), uint16(443+i%4))
		turn := policy.Destination(&original, lan)
		reply, b, outcome := policy.Source(&turn, wan, 0)
		if outcome != Translated {
			t.Fatalf("connection %d: %v", i, outcome)
		}
		held = append(held, b)
		used[reply.DstPort]++
		if i == 0 && reply.DstPort != 40000 {
			t.Errorf("a free port is not kept: %v", reply)
		}
		if i < 100 && used[reply.DstPort] > 1 {
			t.Errorf("connection %d shares port %d while others are free", i, reply.DstPort)
		}
	}
	for _, b := range held {
		if !pool.Release(b) {
			t.Fatal(fmt.Sprint("not held: ", b.Port()))
		}
	}
	for _, u := range pool.Usage() {
		if u.Used != 0 {
			t.Errorf("%d ports are left", u.Used)
		}
	}
}
