package cluster

import (
	"testing"

	"holdfast/dataplane/gate"
)

const ms = int64(1e6)

var timing = Timing{Heartbeat: 10 * ms, Lease: 20 * ms, DeadAfter: 30 * ms, AloneAfter: 5000 * ms}

// pair is two elections on one clock with a link between them that can be cut.
type pair struct {
	t    *testing.T
	now  int64
	node [2]*Election
	dead [2]bool
	cut  bool
}

func newPair(t *testing.T, priorities [2]int32, alone Alone) *pair {
	p := &pair{t: t, now: 1000 * ms}
	for i := range p.node {
		p.node[i] = NewElection(uint16(i+1), priorities[i], []uint16{uint16(2 - i)}, timing, alone)
		p.node[i].SetReady(true)
	}
	return p
}

// turn lets one heartbeat interval pass.
func (p *pair) turn() {
	p.now += timing.Heartbeat
	for i, e := range p.node {
		if p.dead[i] {
			continue
		}
		e.Tick(p.now)
		if other := 1 - i; !p.dead[other] && !p.cut {
			p.node[other].Step(e.Beat(), p.now)
		}
	}
	if !p.cut && !p.dead[0] && !p.dead[1] && p.node[0].Role() == gate.Active && p.node[1].Role() == gate.Active {
		p.t.Errorf("two active nodes at %d ms", p.now/ms)
	}
}

// until turns until the roles are as wanted, and returns how many ms that took.
func (p *pair) until(want0, want1 gate.Role, limitMS int64) int64 {
	p.t.Helper()
	from := p.now
	for p.now-from < limitMS*ms {
		p.turn()
		if (p.dead[0] || p.node[0].Role() == want0) && (p.dead[1] || p.node[1].Role() == want1) {
			return (p.now - from) / ms
		}
	}
	p.t.Fatalf("roles are %v/%v after %d ms, want %v/%v", p.node[0].Role(), p.node[1].Role(), limitMS, want0, want1)
	return 0
}

func TestStartElectsByPriority(t *testing.T) {
	p := newPair(t, [2]int32{50, 100}, AloneServe)
	p.until(gate.Standby, gate.Active, 100)
	if d := p.node[1].Decide(); d != Promote {
		t.Errorf("decision %v, want Promote", d)
	}
	if d := p.node[1].Decide(); d != Stay {
		t.Errorf("the decision came twice: %v", d)
	}
}

func TestStandbyTakesOverAfterDeadAfterAndNotBefore(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.until(gate.Active, gate.Standby, 100)
	p.turn()
	p.dead[0] = true
	took := p.until(gate.Active, gate.Active, 200) * ms
	if took < timing.DeadAfter-timing.Heartbeat || took > timing.DeadAfter+2*timing.Heartbeat {
		t.Errorf("took over after %d ms, want about %d", took/ms, timing.DeadAfter/ms)
	}
	if p.node[1].Beat().Term != 2 {
		t.Errorf("term %d, want 2", p.node[1].Beat().Term)
	}
}

func TestUnreadyNodeWaitsForAloneAfterThenServesWithAlarm(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.until(gate.Active, gate.Standby, 100)
	p.node[1].SetReady(false)
	p.turn()
	p.dead[0] = true
	took := p.until(gate.Active, gate.Active, 6000) * ms
	if took < timing.AloneAfter {
		t.Errorf("an unready node served after %d ms", took/ms)
	}
	if !p.node[1].Alarm() {
		t.Error("no alarm")
	}
}

func TestAloneWaitNeverServesAlone(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneWait)
	p.until(gate.Active, gate.Standby, 100)
	p.node[1].SetReady(false)
	p.dead[0] = true
	for range 1000 {
		p.turn()
	}
	if p.node[1].Role() != gate.Standby {
		t.Error("an unready node that hears nobody serves although alone = wait")
	}
	// The active side of it: nobody heard, lease given up.
	q := newPair(t, [2]int32{100, 50}, AloneWait)
	q.until(gate.Active, gate.Standby, 100)
	q.dead[1] = true
	q.until(gate.Standby, gate.Standby, 200)
}

func TestLowerTermYieldsWhenThePartitionHeals(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.until(gate.Active, gate.Standby, 100)
	p.cut = true
	p.until(gate.Active, gate.Active, 200) // the window that only a witness closes
	p.cut = false
	p.node[0].Step(p.node[1].Beat(), p.now)
	if p.node[0].Role() != gate.Standby || p.node[0].Decide() != Demote {
		t.Error("the lower term did not yield at once")
	}
}

func TestEqualTermsAreSettledByNumber(t *testing.T) {
	p := newPair(t, [2]int32{100, 100}, AloneServe)
	for i, e := range p.node {
		if err := e.AskPromote(p.now, true); err != nil {
			t.Fatalf("node %d: %v", i, err)
		}
	}
	p.node[0].Step(p.node[1].Beat(), p.now)
	p.node[1].Step(p.node[0].Beat(), p.now)
	if p.node[0].Role() != gate.Active || p.node[1].Role() != gate.Standby {
		t.Errorf("roles %v/%v, want the lower number to stay", p.node[0].Role(), p.node[1].Role())
	}
}

func TestPromoteHandsOverWithoutTwoActive(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.until(gate.Active, gate.Standby, 100)
	if err := p.node[1].AskPromote(p.now, false); err != nil {
		t.Fatal(err)
	}
	if took := p.until(gate.Standby, gate.Active, 100); took > 50 {
		t.Errorf("hand-over took %d ms", took)
	}
	for range 100 {
		p.turn() // and it stays: no fight over the role
	}
	if p.node[1].Role() != gate.Active {
		t.Error("the role went back by itself")
	}
}

func TestDemote(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.until(gate.Active, gate.Standby, 100)
	p.node[1].SetReady(false)
	p.turn()
	if err := p.node[0].AskDemote(p.now); err == nil {
		t.Error("demoted although no peer is ready")
	}
	p.node[1].SetReady(true)
	p.turn()
	if err := p.node[0].AskDemote(p.now); err != nil {
		t.Fatal(err)
	}
	p.until(gate.Standby, gate.Active, 100)
}

func TestLapsedLeaseDemotesAndThePeerTakesOver(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.until(gate.Active, gate.Standby, 100)
	p.turn()
	p.node[0].Lapsed(p.now, "worker 0 stuck")
	if p.node[0].Role() != gate.Standby || p.node[0].Decide() != Demote {
		t.Fatal("not demoted")
	}
	p.until(gate.Standby, gate.Active, 100)
}

func TestOwnStallIsNotThePeersSilence(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.until(gate.Active, gate.Standby, 100)
	p.turn()
	p.now += 500 * ms // node 2 was not scheduled; node 1's beats lie in its socket
	p.node[1].Tick(p.now)
	if p.node[1].Role() == gate.Active {
		t.Fatal("promoted on its own stall")
	}
	if p.node[1].Stalls() != 1 {
		t.Errorf("%d stalls counted, want 1", p.node[1].Stalls())
	}
}

// TestALeapMakesNobodyDeadWithinALease: the clock of a standby leaps ahead, and no beat comes after
// that. Whatever it leaps by, the peer is given as long as its lease may still run (INV1).
func TestALeapMakesNobodyDeadWithinALease(t *testing.T) {
	timing := Timing{Heartbeat: 20 * ms, Lease: 100 * ms, DeadAfter: 150 * ms, AloneAfter: 800 * ms}
	for leap := int64(0); leap <= 1000*ms; leap += ms {
		e := NewElection(2, 50, []uint16{1}, timing, AloneServe)
		e.SetReady(true)
		now, shown := 1000*ms, int64(0) // the time, and what the clock is ahead of it
		for range 10 {
			now += timing.Heartbeat / 2
			e.Tick(now)
		}
		heard := now
		e.Step(Beat{Node: 1, Role: gate.Active, Term: 1, Priority: 100, Ready: true}, now)
		shown = leap
		for e.Role() != gate.Active {
			now += timing.Heartbeat / 2
			e.Tick(now + shown)
			if now-heard > 3*timing.DeadAfter {
				t.Fatalf("leap of %d ms: it never takes over", leap/ms)
			}
		}
		if silent := now - heard; silent < timing.Lease {
			t.Fatalf("leap of %d ms: it takes the role %d ms after its peer was heard, whose lease lasts %d ms", leap/ms, silent/ms, timing.Lease/ms)
		}
	}
}

func TestSingleNodeServesAtOnce(t *testing.T) {
	e := NewElection(1, 100, nil, timing, AloneServe)
	e.SetReady(true)
	e.Tick(1000 * ms)
	if e.Role() != gate.Active || e.Alarm() {
		t.Errorf("role %v alarm %v", e.Role(), e.Alarm())
	}
}

func TestNodeThatHeardNobodyWaitsForAloneAfter(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.dead[1] = true
	if took := p.until(gate.Active, gate.Standby, 6000) * ms; took < timing.AloneAfter {
		t.Errorf("served after %d ms without having heard its peer", took/ms)
	}
}

func TestClosedSocketIsNoticedBeforeDeadAfter(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.until(gate.Active, gate.Standby, 100)
	p.turn()
	p.dead[0] = true
	for range refusalsDead {
		if p.node[1].Tick(p.now); p.node[1].Role() == gate.Active {
			t.Fatal("promoted on fewer refusals than it takes")
		}
		p.node[1].Refused(1, 1)
	}
	p.node[1].Tick(p.now)
	if p.node[1].Role() != gate.Active {
		t.Error("a closed socket was not noticed")
	}
}

func TestForgedRefusalsAgainstALivingNodeDoNothing(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.until(gate.Active, gate.Standby, 100)
	for range 100 {
		p.node[1].Refused(1, refusalsDead-1) // per beat that is heard
		p.turn()
		if p.node[1].Role() == gate.Active {
			t.Fatal("promoted although the active node is heard")
		}
	}
}

// A node with an older policy goes behind one with a newer, and serves where it is the only one.
func TestAnOlderPolicyGoesBehind(t *testing.T) {
	p := newPair(t, [2]int32{100, 50}, AloneServe)
	p.node[0].SetGeneration(4)
	p.node[1].SetGeneration(5)
	p.until(gate.Standby, gate.Active, 1000)
	p.dead[1] = true
	p.until(gate.Active, gate.Standby, 1000)
}
