package cluster

import (
	"testing"

	"holdfast/dataplane/gate"
)

// TestCrossedClaimsOfWhichOneHandsOverSettle: two nodes take the role in one instant, because
// each has not heard the latest of the other. The higher claim has a fault and hands over at
// once. Then the other takes it; were it to yield because it has lost, both would wait, and
// claim, in step for ever (sync/smallscope, election-fault).
func TestCrossedClaimsOfWhichOneHandsOverSettle(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.node[0].SetHealth(Health{Fault: "port wan has no carrier"})
	p.now += timing.Heartbeat
	for _, e := range p.node {
		e.Tick(p.now)
		if err := e.AskPromote(p.now, true); err != nil { // the claims cross
			t.Fatal(err)
		}
	}
	beats := [2]Beat{p.node[0].Beat(), p.node[1].Beat()}
	for turns := 0; ; turns++ {
		p.now += timing.Heartbeat
		for i, e := range p.node { // what a node hears is what the other said in the turn before
			e.Step(beats[1-i], p.now)
		}
		for _, e := range p.node {
			e.Tick(p.now)
		}
		beats = [2]Beat{p.node[0].Beat(), p.node[1].Beat()}
		if turns > 5 && p.node[1].Role() == gate.Active && p.node[0].Role() == gate.Standby {
			return
		}
		if turns == 100 {
			t.Fatalf("roles are %v and %v: %+v", p.node[0].Role(), p.node[1].Role(), p.node[1].History())
		}
	}
}
