package journal

import (
	"testing"

	"holdfast/conntrack"
	"holdfast/sync/wire"
)

// told has a side tell its connections to another, and returns what that says of ends.
func told(t *testing.T, from, to *side) (over []wire.Ended) {
	t.Helper()
	for i := range from.table.High() {
		var s conntrack.State
		if from.table.Export(i, now, &s) {
			to.Apply(wire.AppendInsert(nil, &s), now)
		}
	}
	to.Over(func(e *wire.Ended) { over = append(over, *e) })
	return over
}

// enters puts a connection into a side's table.
func enters(t *testing.T, s *side, c conntrack.State) {
	t.Helper()
	s.Apply(wire.AppendInsert(nil, &c), now)
	if _, ok := s.states()[c.Original]; !ok {
		t.Fatal("it was not taken in")
	}
}

// ends removes a connection from a side's table as one that has ended.
func ends(t *testing.T, s *side, c *conntrack.State) {
	t.Helper()
	for i := range s.table.High() {
		var last conntrack.State
		if s.table.Export(i, now, &last) && last.Original == c.Original && s.table.Remove(i, last.Incarnation, now, &last) {
			s.gone(&last)
			return
		}
	}
	t.Fatal("it was not there")
}

// INV7: who forwards a connection that another knows to have ended is told so, ends it, and
// tells all.
func TestINV7_EndIsToldToWhoStillHasTheConnection(t *testing.T) {
	a, b := newSide(t, 100), newSide(t, 100)
	c := tcp(3)
	enters(t, a, c)
	enters(t, b, c)
	ends(t, b, &c)
	over := told(t, a, b)
	if len(over) != 1 || over[0].UpTo != c.Incarnation || over[0].Killed {
		t.Fatalf("answered %+v", over)
	}
	a.Ended(&over[0], true, now)
	if n := a.table.Len(); n != 0 || a.ports() != 0 {
		t.Errorf("%d connections and %d ports are left", n, a.ports())
	}
	said := a.way.all(t)
	if len(said) != 1 || len(said[0].types(t)) != 2 || said[0].types(t)[1] != "delete" {
		t.Errorf("the peers were told %v", said)
	}
	a.Ended(&over[0], true, now) // said twice: nothing is left to end
	if more := a.way.all(t); len(more) != 0 {
		t.Errorf("told again: %v", more)
	}
}

// A connection that began here, in ignorance of a later life of its tuple, lives on under a
// greater incarnation, which the peer takes in; on a node that does not forward it ends.
func TestConnectionThatBeganInIgnoranceOfAnEndIsRenewed(t *testing.T) {
	for _, forwards := range []bool{true, false} {
		a, b := newSide(t, 100), newSide(t, 100)
		c := tcp(3)
		c.Incarnation = 8<<16 | 2 // of node 2, which both sides are
		later := c
		later.Incarnation = 9<<16 | 1
		enters(t, b, later)
		ends(t, b, &later)
		enters(t, a, c)
		over := told(t, a, b)
		if len(over) != 1 || over[0].UpTo != later.Incarnation {
			t.Fatalf("answered %+v", over)
		}
		a.Ended(&over[0], forwards, now)
		if !forwards {
			if n := a.table.Len(); n != 0 {
				t.Errorf("%d connections are left", n)
			}
			continue
		}
		b.take(t, a.way)
		if got := b.states()[c.Original]; got.Incarnation <= later.Incarnation {
			t.Errorf("the peer has %v", got.Incarnation)
		}
	}
}

// The ends that wait to be said are bounded (INV11).
func TestINV11_EndsToBeSaidAreBounded(t *testing.T) {
	a, b := newSide(t, 1000), newSide(t, 1000)
	for i := range 3 * overMax {
		c := udp(i)
		enters(t, a, c)
		enters(t, b, c)
		ends(t, b, &c)
	}
	if n := len(told(t, a, b)); n != overMax {
		t.Errorf("%d ends wait, want %d", n, overMax)
	}
}
