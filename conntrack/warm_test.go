package conntrack

import (
	"testing"

	"holdfast/dataplane/packet"
)

// Warm changes nothing, whatever it is given: states that are known, that are not, and nonsense.
func TestWarmChangesNothing(t *testing.T) {
	table := newTable(t, Config{Capacity: 1024})
	states := make([]State, 3*warmBatch+1)
	for i := range states[1:] {
		s := &states[i+1]
		s.Original = packet.Tuple{Src: packet.Addr{10: 0xff, 11: 0xff, 12: 10, 15: byte(i)}, Dst: packet.Addr{10: 0xff, 11: 0xff, 12: 192, 15: 9}, SrcPort: 1000, DstPort: 53, Proto: packet.UDP}
		s.Reply = s.Original.Reply()
		s.Incarnation = Incarnation(i+1)<<16 | 1
		var a Applied
		if i%2 == 0 {
			if got := table.Apply(s, 1e9, &a); got != AppliedNew {
				t.Fatalf("state %d: outcome %d", i, got)
			}
		}
	}
	held := table.Len()
	table.Warm(states)
	table.Warm(nil)
	table.WarmEntries([]uint32{0, table.High(), ^uint32(0)})
	if got := table.Len(); got != held {
		t.Errorf("%d connections, there were %d", got, held)
	}
}
