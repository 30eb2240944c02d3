package journal

import (
	"testing"

	"holdfast/conntrack"
	"holdfast/rules/limit"
)

// ask is the verdict on another connection of the client that tcp and udp have.
func (s *side) ask() limit.Verdict {
	src := udp(1).Original.Src
	return s.limits.Ask(7, &src, now)
}

// halfOpen is tcp(i) before its handshake was complete.
func halfOpen(i int) conntrack.State {
	s := tcp(i)
	s.Flags &^= conntrack.Replied | conntrack.Assured
	s.Dir[0] = conntrack.DirState{Seen: conntrack.SeenSYN, MaxWin: 1 << 16, End: 1<<32 | 4<<20, MaxEnd: 1<<32 | 4<<20}
	s.Dir[1] = conntrack.DirState{MaxAck: 1<<32 | 4<<20 - 1}
	return s
}

// TestO6_ReplicatedConnectionsCount: what a peer tells of counts here as it did there, once
// whatever is said twice, so that a promoted node goes on with the counts.
func TestO6_ReplicatedConnectionsCount(t *testing.T) {
	again := tcp(1)
	again.Incarnation += 100 << 16
	rival := udp(2)
	rival.Incarnation += 200 << 16
	b := newSide(t, 64)
	for _, row := range []struct {
		what string
		body []byte
		want limit.Verdict // of the second one: so many count
		n    int
	}{
		{"half-open", tell(insert(halfOpen(1))), limit.Within, 0},
		{"the same, told again", tell(insert(halfOpen(1))), limit.Within, 0},
		{"completed", tell(insert(tcp(1))), limit.Within, 1},
		{"completed, told again", tell(insert(tcp(1)), update(further(tcp(1), 1))), limit.Within, 1},
		{"a UDP one", tell(insert(udp(2)), insert(udp(2))), limit.TooMany, 2},
		{"a new life of the first", tell(insert(again)), limit.TooMany, 2},
		{"a new life of the second", tell(insert(rival)), limit.TooMany, 2},
		{"the end of a life before", tell(end(tcp(1))), limit.TooMany, 2},
		{"the end of the first", tell(end(again)), limit.Within, 1},
		{"the end of the first, told again", tell(end(again)), limit.Within, 1},
		{"the end of the second", tell(end(rival)), limit.Within, 0},
	} {
		b.Apply(row.body, now)
		if got := b.ask(); got != row.want {
			t.Errorf("%s: %v, want %v", row.what, got, row.want)
		}
		if n := b.limits.Sources(); (n > 0) != (row.n > 0) {
			t.Errorf("%s: %d sources, and %d connections count", row.what, n, row.n)
		}
	}
	if n := b.Refused(); n != 0 {
		t.Errorf("%d messages refused", n)
	}
}

// TestO6_ReplicatedBeyondTheLimit: two nodes may each have let in what is within; together
// it is more, none of it is refused, and the count is of all.
func TestO6_ReplicatedBeyondTheLimit(t *testing.T) {
	b := newSide(t, 64)
	for i := range 5 {
		b.Apply(tell(insert(tcp(i+1))), now)
	}
	b.is(t, 5, 5, 0, 0)
	for i := range 4 {
		if got := b.ask(); got != limit.TooMany {
			t.Errorf("with %d: %v", 5-i, got)
		}
		b.Apply(tell(end(tcp(i+1))), now)
	}
	if got := b.ask(); got != limit.Within {
		t.Errorf("with one: %v", got)
	}
	b.clear()
	if n := b.limits.Sources(); n != 0 {
		t.Errorf("%d sources are left", n)
	}
}
