package cluster

import (
	"testing"

	"holdfast/dataplane/gate"
)

// run lets a time pass.
func (p *pair) run(ns int64) {
	for until := p.now + ns; p.now < until; {
		p.turn()
	}
}

func TestAFaultMovesTheRoleAtOnceAndItStays(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.until(gate.Active, gate.Standby, 100)
	p.node[0].SetHealth(Health{Fault: "port wan has no carrier"})
	if took := p.until(gate.Standby, gate.Active, 100); took > 40 {
		t.Errorf("took %d ms", took)
	}
	p.node[0].SetHealth(Health{})
	p.run(1000 * ms)
	if p.node[1].Role() != gate.Active {
		t.Error("the role went back by itself")
	}
}

func TestAFaultKeepsNobodyFromServingWhereAllHaveOne(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	for _, e := range p.node {
		e.SetHealth(Health{Fault: "port dmz has no carrier"})
	}
	p.until(gate.Active, gate.Standby, 100)
	if !p.node[0].Alarm() {
		t.Error("no alarm")
	}
	p.run(1000 * ms)
	if n := len(p.node[0].History()); n != 1 {
		t.Errorf("%d changes of role between two nodes that both have a fault", n)
	}
	p.node[1].SetHealth(Health{})
	p.until(gate.Standby, gate.Active, 100)
	p.dead[1] = true
	p.until(gate.Active, gate.Active, 100) // and takes over, where nobody else is left
}

func TestAWeightMovesTheRoleWithPauses(t *testing.T) {
	p := newPair(t, [2]int32{100, 90}, AloneServe)
	p.until(gate.Active, gate.Standby, 100)
	p.node[0].SetHealth(Health{Lowered: 5})
	p.run(500 * ms)
	if p.node[0].Role() != gate.Active {
		t.Fatal("it handed over although it still stands higher")
	}
	p.node[0].SetHealth(Health{Lowered: 50})
	p.until(gate.Standby, gate.Active, 100)
	moves := func() int { return len(p.node[0].History()) + len(p.node[1].History()) }
	before := moves()
	for range 300 { // both have a trouble that comes and goes, ten times a second
		for i, e := range p.node {
			e.SetHealth(Health{Lowered: int32(20 * ((p.now / (100 * ms)) + int64(i)) % 40)})
		}
		p.run(100 * ms)
	}
	if n := (moves() - before) / 2; n > 12 {
		t.Errorf("%d changes of role in 30 s of flapping", n)
	}
}

func TestAPromoteOfAFaultyNodeIsRefusedAndForced(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.until(gate.Active, gate.Standby, 100)
	p.node[1].SetHealth(Health{Fault: "worker 2 is stuck"})
	p.turn()
	if p.node[1].AskPromote(p.now, false) == nil {
		t.Error("a node with a fault was asked to take over, and agreed")
	}
	if p.node[0].AskDemote(p.now) == nil {
		t.Error("the role was given to nobody")
	}
	if err := p.node[1].AskPromote(p.now, true); err != nil || p.node[1].Role() != gate.Active {
		t.Errorf("forced: %v", err)
	}
}

func TestAPromoteOfANodeThatHasHeardNobodyIsRefused(t *testing.T) {
	e := NewElection(1, 100, []uint16{2}, timing, AloneServe)
	e.SetReady(true)
	e.Tick(1000 * ms)
	if e.AskPromote(1000*ms, false) == nil {
		t.Error("it takes the role although the other node may serve")
	}
	if err := e.AskPromote(1000*ms, true); err != nil {
		t.Error("forced:", err)
	}
}

func TestPreemptWaitsForItsTimeAndReadiness(t *testing.T) {
	const after = 2000 * ms
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	for _, e := range p.node {
		e.timing.PreemptAfter = after
	}
	p.until(gate.Active, gate.Standby, 100)
	p.dead[0] = true
	p.until(gate.Active, gate.Active, 100)
	p.node[0] = NewElection(1, 100, []uint16{2}, p.node[1].timing, AloneServe)
	p.dead[0] = false
	p.run(2 * after)
	if p.node[0].Role() != gate.Standby {
		t.Fatal("an unready node took the role back")
	}
	p.node[0].SetReady(true)
	p.run(after / 2)
	if in := p.node[0].PreemptIn(p.now); in < after/3 || in > after*2/3 {
		t.Errorf("takes the role back in %d ms", in/ms)
	}
	p.node[0].SetReady(false) // and the time begins anew
	p.turn()
	p.node[0].SetReady(true)
	took := p.until(gate.Active, gate.Standby, 3000) * ms
	if took < after || took > after+100*ms {
		t.Errorf("took the role back after %d ms", took/ms)
	}
}

func TestWithoutPreemptTheRoleStays(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.node[1].SetHealth(Health{})
	if err := p.node[1].AskPromote(p.now, true); err != nil {
		t.Fatal(err)
	}
	p.until(gate.Standby, gate.Active, 100)
	p.run(20_000 * ms)
	if p.node[1].Role() != gate.Active {
		t.Error("the role went to the higher priority by itself")
	}
}
