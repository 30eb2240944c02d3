package wire

import (
	"testing"

	"holdfast/conntrack"
)

// TestLog_Replicated: that a connection has all of its packets logged goes to the peers, with
// any set of timeouts beside it.
func TestLog_Replicated(t *testing.T) {
	for _, logged := range []bool{false, true} {
		for timeouts := range uint8(conntrack.TimeoutSetsMax) {
			k := conntrack.Class{Logged: logged, Timeouts: timeouts, PickUp: true, Mode: conntrack.ModeSloppy}
			var got conntrack.Class
			c := cursor{rest: []byte{1, classByte(&k)}}
			c.class(&got)
			k.Gateway = 1
			if got != k {
				t.Errorf("%+v became %+v", k, got)
			}
		}
	}
}
