package gate

import "testing"

func TestLease(t *testing.T) {
	var l Lease
	if l.Held(1) {
		t.Fatal("the zero lease is held")
	}
	if l.Extend(1, 100) {
		t.Fatal("extended a lease that was never granted")
	}
	l.Grant(100)
	for _, row := range []struct {
		now  int64
		held bool
	}{{99, true}, {100, false}, {101, false}} {
		if got := l.Held(row.now); got != row.held {
			t.Errorf("Held(%d) = %v, want %v", row.now, got, row.held)
		}
	}
	if !l.Extend(99, 200) || !l.Held(199) {
		t.Error("a running lease was not extended")
	}
	if l.Extend(200, 300) || l.Held(200) {
		t.Error("a lapsed lease came back without a grant")
	}
	l.Grant(400)
	if l.Lapse(399); !l.Held(399) {
		t.Error("a running lease was made to lapse")
	}
	if l.Lapse(400); l.Extend(399, 500) {
		t.Error("a lapsed lease was extended from an old reading")
	}
	l.Grant(400)
	l.Revoke()
	if l.Held(1) || l.Extend(1, 500) {
		t.Error("a revoked lease is alive")
	}
}

func TestWatchNamesTheStuckWorker(t *testing.T) {
	a, b := new(Progress), new(Progress)
	w := NewWatch([]*Progress{a, b})
	a.Step()
	if stuck, moved := w.AllMoved(); moved || stuck != 1 {
		t.Fatalf("AllMoved = %d, %v; want worker 1 stuck", stuck, moved)
	}
	b.Step()
	if _, moved := w.AllMoved(); !moved {
		t.Fatal("both moved, but not seen")
	}
	if stuck, moved := w.AllMoved(); moved || stuck != 0 {
		t.Fatalf("AllMoved = %d, %v; nobody moved since", stuck, moved)
	}
}

func TestNowIsMonotonic(t *testing.T) {
	a := Now()
	if b := Now(); b < a || a <= 0 {
		t.Fatalf("Now went from %d to %d", a, b)
	}
}
