package cluster

import "testing"

// N13: the lateness of a node's own turns is told as maximum and 99th percentile of the last
// minute, at most an eighth too high, and forgotten after it.
func TestJitterIsToldOfTheLastMinute(t *testing.T) {
	var j jitter
	now := int64(1e12)
	for i := range 1000 {
		now += 1e6 // due after 1 ms: on time
		if i%50 == 0 {
			now += 3e6 // 2 in 100 come 3 ms late
		}
		if i == 500 {
			now += 40e6
		}
		j.turn(now, 1e6)
	}
	f := j.read(now)
	if f.Turns != 1000 || f.Max != 43e6 || f.P99 < 3e6 || f.P99 > 3e6*9/8 {
		t.Errorf("%+v", f)
	}
	if f = j.read(now + 70e9); f.Turns != 0 || f.Max != 0 || f.P99 != 0 {
		t.Errorf("a minute later: %+v", f)
	}
	for _, late := range []int64{0, 1, 7, 8, 9, 15, 16, 17, 1e3, 1e6, 123456789, 1 << 62} {
		if top := ceiling(bucket(late)); top < late || top > late+late/8 {
			t.Errorf("%d is counted as %d", late, top)
		}
	}
}

// A peer that was counted dead and speaks again in the same life was a false alarm; one that was
// started anew was not.
func TestFalseAlarmsAreCounted(t *testing.T) {
	timing := Timing{Heartbeat: 20 * ms, Lease: 100 * ms, DeadAfter: 150 * ms, AloneAfter: 800 * ms}
	e := NewElection(2, 50, []uint16{1}, timing, AloneWait)
	now := int64(1e12)
	pass := func(ns int64) {
		for end := now + ns; now < end; now += 10 * ms {
			e.Tick(now)
		}
	}
	say := func(life uint64) { e.Step(Beat{Node: 1, Life: life}, now) }
	pass(50 * ms)
	say(7)
	pass(100 * ms)
	say(7)
	if e.FalseAlarms() != 0 {
		t.Error("nobody was counted dead")
	}
	pass(300 * ms)
	say(7)
	if e.FalseAlarms() != 1 {
		t.Errorf("%d false alarms, want 1", e.FalseAlarms())
	}
	pass(300 * ms)
	say(8)
	if e.FalseAlarms() != 1 {
		t.Errorf("%d false alarms after a restart, want 1", e.FalseAlarms())
	}
}
