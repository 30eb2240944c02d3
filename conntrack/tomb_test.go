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
