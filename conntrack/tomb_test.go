package conntrack

import "testing"

// Nothing older than its end brings a connection back, unless it was only forgotten.
func TestEndedConnectionDoesNotComeBack(t *testing.T) {
	for _, row := range []struct {
		name string
		end  func(*Table, uint32, *State) bool
		want ApplyOutcome
	}{
		{"removed", func(table *Table, i uint32, s *State) bool { return table.Remove(i, s.Incarnation, 1, s) }, AppliedDead},
		{"forgotten", func(table *Table, i uint32, s *State) bool { return table.Forget(i, s.Incarnation, 1, s) }, AppliedNew},
	} {
		t.Run(row.name, func(t *testing.T) {
			table := newTable(t, Config{Capacity: 10})
			s := established(t, true)
			var a Applied
			if got := table.Apply(&s, 1, &a); got != AppliedNew {
				t.Fatalf("Apply = %d", got)
			}
			last := s
			if !row.end(table, a.Index, &last) {
				t.Fatal("it was not there")
			}
			if got := table.Apply(&s, 1, &a); got != row.want {
				t.Errorf("the same life: %d, want %d", got, row.want)
			}
			s.Incarnation += 1 << 16
			if got := table.Apply(&s, 1, &a); got != AppliedNew && got != AppliedReopened {
				t.Errorf("a later life: %d", got)
			}
		})
	}
}

// Who refuses says why, so that the peer can be told.
func TestRefusedStateSaysHowFarItsTupleIsOver(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	s := established(t, true)
	var a Applied
	if got := table.Apply(&s, 1, &a); got != AppliedNew {
		t.Fatalf("Apply = %d", got)
	}
	last := s
	if !table.Remove(a.Index, s.Incarnation, 1, &last) {
		t.Fatal("it was not there")
	}
	older := s
	older.Incarnation -= 1 << 16
	if got := table.Apply(&older, 1, &a); got != AppliedDead || a.Over != (Over{UpTo: s.Incarnation}) {
		t.Errorf("a life before the one that ended: %d, %+v", got, a.Over)
	}
	table.Kill(func(*Class) bool { return true }, s.Incarnation+5<<16)
	s.Incarnation += 1 << 16
	if got := table.Apply(&s, 1, &a); got != AppliedDead || a.Over != (Over{UpTo: s.Incarnation, Killed: true}) {
		t.Errorf("one that began before a kill: %d, %+v", got, a.Over)
	}
}

// A connection that lost its tuple to a greater incarnation has not ended by anybody's word:
// when that one is given up, it can be told again.
func TestDisplacedConnectionMayComeBack(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	s := established(t, true)
	rival := s
	rival.Original.SrcPort++
	rival.Incarnation += 1 << 16
	var a Applied
	if got := table.Apply(&s, 1, &a); got != AppliedNew {
		t.Fatalf("Apply = %d", got)
	}
	if got := table.Apply(&rival, 1, &a); got != AppliedNew || len(a.Ended) != 1 {
		t.Fatalf("the rival: %d, ended %d", got, len(a.Ended))
	}
	if !table.Forget(a.Index, rival.Incarnation, 1, &rival) {
		t.Fatal("the rival was not there")
	}
	if got := table.Apply(&s, 1, &a); got != AppliedNew {
		t.Errorf("told again: %d", got)
	}
}

// A whole state that lacks anything is answered, also where it lacks a window alone.
func TestWholeStateThatLacksAWindowIsStale(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	s := established(t, true)
	s.Dir[Original].MaxWin *= 4
	s.Dir[Reply].MaxEnd = s.Dir[Reply].End + uint64(s.Dir[Original].MaxWin)
	var a Applied
	if got := table.Apply(&s, 1, &a); got != AppliedNew {
		t.Fatalf("Apply = %d", got)
	}
	var full State
	table.Export(a.Index, 1, &full)
	less := full
	less.Dir[Original].MaxWin /= 4
	less.Dir[Reply].MaxEnd = less.Dir[Reply].End + uint64(less.Dir[Original].MaxWin)
	if got := table.Apply(&less, 1, &a); got != Stale {
		t.Errorf("what lacks a window: %d", got)
	}
	if got := table.Apply(&full, 1, &a); got != AppliedMerged {
		t.Errorf("what lacks nothing: %d", got)
	}
}

// Renew gives a life a greater name, that a tombstone of another does not meet.
func TestRenewedConnectionOutlivesATombstone(t *testing.T) {
	table, peer := newTable(t, Config{Capacity: 10}), newTable(t, Config{Capacity: 10})
	s := established(t, true)
	later := s
	later.Incarnation += 9 << 16
	var a Applied
	if got := peer.Apply(&later, 1, &a); got != AppliedNew || !peer.Remove(a.Index, later.Incarnation, 1, &State{}) {
		t.Fatalf("Apply = %d", got)
	}
	if got := table.Apply(&s, 1, &a); got != AppliedNew {
		t.Fatalf("Apply = %d", got)
	}
	index := a.Index
	if got := peer.Apply(&s, 1, &a); got != AppliedDead || a.Over.UpTo != later.Incarnation {
		t.Fatalf("the peer takes it: %d, %+v", got, a.Over)
	}
	var told State
	if !table.Renew(index, s.Incarnation, a.Over.UpTo, 1, &told) || told.Incarnation <= later.Incarnation {
		t.Fatalf("renewed to %v, above %v is needed", told.Incarnation, later.Incarnation)
	}
	if got := peer.Apply(&told, 1, &a); got != AppliedNew {
		t.Errorf("the peer refuses the renewed life: %d", got)
	}
}
