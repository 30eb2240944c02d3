package gateway

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestMonitor: one row, one history of attempts and what is believed after each: u unknown,
// U up, D down.
func TestMonitor(t *testing.T) {
	for _, row := range []struct {
		patience Patience
		attempts string // + answered, - missed
		beliefs  string
		why      string
	}{
		{Patience{3, 2}, "+", "U", "answers in 2.0 ms"},
		{Patience{3, 2}, "---", "uuD", "no answer to the last 3"}, // it was dead from the start
		{Patience{3, 2}, "+--+--+", "UUUUUUU", "answers in 2.0 ms"},
		{Patience{3, 2}, "+---", "UUUD", "no answer to the last 3"},
		{Patience{3, 2}, "+---+", "UUUDD", "answered 1 of 2 in a row"},
		{Patience{3, 2}, "+---+-++", "UUUDDDDU", "answers in 2.0 ms"}, // who comes and goes stays down
		{Patience{1, 1}, "-+-", "DUD", "no answer to the last 1"},
		{Patience{}, "-+", "DU", "answers in 2.0 ms"},
	} {
		m := Monitor{Patience: row.patience}
		got, before := "", Unknown
		for _, a := range row.attempts {
			changed := false
			if a == '+' {
				changed = m.Answer(2e6)
			} else {
				changed = m.Miss()
			}
			if changed != (m.Health() != before) {
				t.Errorf("%s: changed %v from %v to %v", row.attempts, changed, before, m.Health())
			}
			before = m.Health()
			got += string("uUD"[before])
		}
		if got != row.beliefs || m.Why() != row.why {
			t.Errorf("%s: %s, %q, want %s, %q", row.attempts, got, m.Why(), row.beliefs, row.why)
		}
		if m.Forget(); m.Health() != Unknown || m.Loss() != 0 || m.Why() != "not asked yet" {
			t.Errorf("forgotten: %v %v %q", m.Health(), m.Loss(), m.Why())
		}
	}
}

// TestMonitor_Hysteresis: whatever comes, it goes down only at the Lost-th miss in a row and
// comes up from there only at the Answered-th answer in a row; the loss is that of the last 64.
func TestMonitor_Hysteresis(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Patience{rapid.IntRange(1, 6).Draw(t, "lost"), rapid.IntRange(1, 6).Draw(t, "answered")}
		m := Monitor{Patience: p}
		all := rapid.SliceOf(rapid.Bool()).Draw(t, "answers")
		row := 0 // attempts alike at the end
		for i, answered := range all {
			if i == 0 || all[i-1] != answered {
				row = 0
			}
			row++
			before := m.Health()
			want := before
			switch {
			case answered && (before != Dead || row >= p.Answered):
				want = Alive
			case !answered && row >= p.Lost:
				want = Dead
			}
			if answered {
				m.Answer(1000)
			} else {
				m.Miss()
			}
			if m.Health() != want {
				t.Fatalf("attempt %d of %v: %v, want %v", i, all, m.Health(), want)
			}
		}
		last := all[max(0, len(all)-window):]
		missed := 0
		for _, answered := range last {
			if !answered {
				missed++
			}
		}
		if len(last) > 0 && math.Abs(m.Loss()-float64(missed)/float64(len(last))) > 1e-9 {
			t.Fatalf("loss %v of %s", m.Loss(), fmt.Sprint(last))
		}
	})
}
