package journal

import (
	"testing"

	"holdfast/conntrack"
	"holdfast/sync/wire"
)

// killOf makes a kill of all connections up to an incarnation.
func killOf(before conntrack.Incarnation) func([]byte) []byte {
	return (&wire.Kill{Before: before, Selector: []byte("all")}).Append
}

// reap takes away what is dead, as a daemon does.
func (s *side) reap() {
	reaped := make([]conntrack.Reaped, 64)
	for from, more := uint32(0), true; more; more = from != 0 {
		var n int
		from, n = s.table.Reap(from, 64, now, reaped, nil)
		for i := range reaped[:n] {
			s.gone(&reaped[i].State)
		}
	}
}

// TestQ1_KillOutrunsOtherLanes: what another lane still tells of a killed connection is
// counted by itself, is no fault, and brings nothing back.
func TestQ1_KillOutrunsOtherLanes(t *testing.T) {
	b := newSide(t, 64)
	all := func(*conntrack.Class) bool { return true }
	b.OnKill(func(k *wire.Kill) bool {
		b.table.Kill(all, k.Before)
		return string(k.Selector) == "all"
	})
	early, late := tcp(1), tcp(2)
	b.Apply(tell(insert(udp(3)), killOf(early.Incarnation)), now)
	b.Apply(tell(insert(early), update(early), insert(late)), now)
	if b.Dead() != 1 || b.Refused() != 0 {
		t.Errorf("%d dead, %d refused", b.Dead(), b.Refused())
	}
	var v conntrack.View
	lives := 0
	for i := range b.table.High() {
		if b.table.View(i, now, &v) {
			lives++
		}
	}
	// udp(3) has a greater incarnation than the kill, as late has.
	if lives != 2 {
		t.Errorf("%d connections live", lives)
	}
	if got := b.asked(); len(got) != 1 {
		t.Errorf("asked for %v: the update of what never came", got)
	}
	// A connection that is dead and not reaped yet.
	b.Apply(tell(killOf(late.Incarnation), insert(late)), now)
	if b.Dead() != 2 || b.Refused() != 0 {
		t.Errorf("%d dead, %d refused", b.Dead(), b.Refused())
	}
}

// TestKillIsRefusedWhereNobodyCarriesItOut: and one that is not understood.
func TestKillIsRefusedWhereNobodyCarriesItOut(t *testing.T) {
	b := newSide(t, 64)
	b.Apply(tell(killOf(1<<16)), now)
	b.is(t, 0, 0, 1, 0)
	b.OnKill(func(*wire.Kill) bool { return false })
	b.Apply(tell(killOf(1<<16)), now)
	b.is(t, 0, 0, 2, 0)
}

// TestDeletesOfAKillAreCounted: those that ended something, since the last question.
func TestDeletesOfAKillAreCounted(t *testing.T) {
	b := newSide(t, 64)
	var counts []uint32
	b.OnKill(func(k *wire.Kill) bool {
		if k.Kind == wire.KillTold {
			counts = append(counts, b.Deleted())
		}
		return true
	})
	killed := func(s conntrack.State) func([]byte) []byte {
		return func(b []byte) []byte {
			return wire.AppendDelete(b, &wire.Delete{Index: s.Index, Incarnation: uint32(s.Incarnation), Why: conntrack.EndKilled})
		}
	}
	told := (&wire.Kill{Before: 9 << 16, Kind: wire.KillTold}).Append
	b.Apply(tell(insert(tcp(1)), insert(tcp(2)), insert(tcp(3))), now)
	b.Apply(tell(killed(tcp(1)), killed(tcp(1)), end(tcp(2)), killed(tcp(4)), told, killed(tcp(3)), told, told), now)
	if len(counts) != 3 || counts[0] != 1 || counts[1] != 1 || counts[2] != 0 {
		t.Errorf("counts %v", counts)
	}
	b.is(t, 0, 0, 0, 0)
}
