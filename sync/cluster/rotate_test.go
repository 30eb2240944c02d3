package cluster

import (
	"os"
	"testing"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/sync/seal"
)

// REL26: keys are rotated on both nodes while connections come and go, and no batch is lost
// by it. 20 rotations with HOLDFAST_SOAK set.
func TestREL26_KeysAreRotatedUnderTraffic(t *testing.T) {
	rotations := 3
	if os.Getenv("HOLDFAST_SOAK") != "" {
		rotations = 20
	}
	a, b, _, older := startPair(t)
	made := 0
	var living []*conntrack.State
	during := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(); {
			if time.Now().After(deadline) {
				t.Fatalf("not within 10 s: %s", what)
			}
			for range 50 {
				s := wide(made, 1)
				if made++; made > 2000 {
					a.finish(living[0])
					living = living[1:]
				}
				a.begin(s)
				living = append(living, s)
			}
			a.pace()
		}
	}
	session := func(n *testNode) *seal.Session { return n.node.remotes[0].link.peer.Session() }
	steps := 0
	for range rotations {
		newer := seal.NewKey()
		for _, keys := range [][]seal.Key{{older, newer}, {newer, older}, {newer}} {
			for _, n := range []*testNode{a, b} {
				was := [2]*seal.Session{session(a), session(b)}
				if changed, err := n.node.SetKeys(keys); !changed || err != nil {
					t.Fatal(changed, err)
				}
				during("both have a new session", func() bool { return session(a) != was[0] && session(b) != was[1] })
				steps++
			}
		}
		older = newer
	}
	if changed, err := a.node.SetKeys([]seal.Key{older}); changed || err != nil {
		t.Errorf("the same keys again: changed %v, %v", changed, err)
	}
	eventually(t, "both hold the same", func() bool { return same(t, a, b) })
	for _, n := range []*testNode{a, b} {
		s := n.status()
		p := s.Peers[0]
		// A batch may be sent again because its reader came late; none because it did not open.
		for _, why := range []seal.Reject{seal.RejectUnknownSession, seal.RejectUnauthentic, seal.RejectReplayed} {
			if c := p.Rejected[why.String()]; c > 0 {
				t.Errorf("%s: %d datagrams %v", n.node.config.Name, c, why)
			}
		}
		if p.Told != 0 || p.Discarded != 0 || p.Repair.Repairs != 0 {
			t.Errorf("%s: transfers told %d, discarded %d, repairs %d: something was lost", n.node.config.Name, p.Told, p.Discarded, p.Repair.Repairs)
		}
	}
	if ready, why := b.node.Ready(); !ready || a.node.Role() != gate.Active {
		t.Errorf("ready %v (%s), role %v", ready, why, a.node.Role())
	}
	t.Logf("%d steps, %d connections", steps, made)
}
