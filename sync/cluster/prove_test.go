package cluster

import (
	"encoding/binary"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
)

// wide is connection i of many more than one address has ports for.
func wide(i int, node uint16) *conntrack.State {
	s := connection(0, node)
	s.Incarnation = conntrack.Incarnation(uint64(i+1)<<16 | uint64(node))
	binary.BigEndian.PutUint32(s.Original.Src[12:], 0x0a000000+uint32(i/60000))
	s.Original.SrcPort = uint16(1 + i%60000)
	s.Reply = s.Original.Reply()
	return s
}

// held are the exported forms that a table holds, by identity.
func held(t *testing.T, table *conntrack.Table) map[packet.Tuple]conntrack.State {
	t.Helper()
	all := map[packet.Tuple]conntrack.State{}
	var s conntrack.State
	for i := range table.High() {
		if table.Export(i, gate.Now(), &s) {
			s.Index, s.Idle = 0, 0
			all[s.Original] = s
		}
	}
	return all
}

// same reports whether two nodes hold the same, in the exported form.
func same(t *testing.T, a, b *testNode) bool {
	x, y := held(t, a.table), held(t, b.table)
	if len(x) != len(y) {
		return false
	}
	for k, s := range x {
		if y[k] != s {
			return false
		}
	}
	return true
}

// P2: a node that joins takes the whole table over by bulk transfer while connections come
// and go, is not ready before, and has proof of it then.
func TestP2_JoinerTakesTheTableWhileItMoves(t *testing.T) {
	a, b, links, key := startPair(t)
	b.end()
	const before, during = 30_000, 5_000
	var all []*conntrack.State
	begin := func() {
		all = append(all, wide(len(all), 1))
		a.begin(all[len(all)-1])
	}
	for range before {
		begin() // far more than the lane's backlog keeps
	}
	again := start(t, "b", links[1], key, 50)
	eventually(t, "the joiner is there", func() bool { return again.status().Peers[0].Session != "none" })
	for i := range during {
		if i%500 == 0 {
			a.pace()
		}
		begin()
		a.finish(all[i])
	}
	eventually(t, "the joiner is ready, with proof", func() bool {
		ready, _ := again.node.Ready()
		return ready && again.status().Peers[0].Repair.Proven != 0
	})
	eventually(t, "both hold the same", func() bool { return same(t, a, again) })
	if n := again.table.Len(); n != before {
		t.Errorf("%d connections, want %d", n, before)
	}
	if told := a.status().Peers[0].Told; told < before/2 {
		t.Errorf("transfers told %d connections: the lane's backlog gave the rest, so this test shows nothing", told)
	}
	// Nor is the backlog told beside it, some 4,100 batches.
	if again := a.status().Peers[0].Resent; again > 1000 {
		t.Errorf("%d batches were sent again that the transfer gives", again)
	}
}

// REL14: what differs, by whatever fault, is seen by the next rounds and repaired.
func TestREL14_PlantedDivergenceIsFoundAndRepaired(t *testing.T) {
	a, b, _, _ := startPair(t)
	const count = 20_000
	for i := range count {
		a.begin(wide(i, 1))
	}
	eventually(t, "b has all", func() bool { return b.table.Len() == count })
	eventually(t, "b has proof", func() bool { return b.status().Peers[0].Repair.Proven != 0 })
	for name, plant := range map[string]func(){
		"one connection is missing": func() { b.forget(wide(7, 1)) },
		"one too many": func() {
			s := wide(count+5, 1)
			s.Incarnation = wide(3, 1).Incarnation // old: it has ended at a long ago
			var applied conntrack.Applied
			b.table.Apply(s, gate.Now(), &applied)
		},
		"one field differs": func() {
			s := wide(11, 1)
			s.Flags = conntrack.Replied
			var applied conntrack.Applied
			b.forget(s)
			b.table.Apply(s, gate.Now(), &applied)
		},
		"another incarnation": func() {
			s := wide(12, 1)
			b.forget(s)
			s.Incarnation -= 1 << 16
			var applied conntrack.Applied
			b.table.Apply(s, gate.Now(), &applied)
		},
	} {
		repaired := func() uint64 { return b.status().Peers[0].Repair.Repairs }
		before := repaired()
		plant()
		seen := !same(t, a, b)
		eventually(t, name+": found and repaired", func() bool { return same(t, a, b) })
		if !seen && repaired() == before { // it may have been repaired before we looked
			t.Fatalf("%s: nothing was planted", name)
		}
	}
	if r := b.status().Peers[0].Repair; r.Repairs == 0 {
		t.Errorf("no repair is counted: %+v", r)
	}
	if ready, why := b.node.Ready(); !ready {
		t.Errorf("a repaired node is not ready: %s", why)
	}
}

// Nothing differs, so nothing is repaired, however fast the table moves.
func TestRoundsOfAMovingTableFindNothing(t *testing.T) {
	a, b, _, _ := startPair(t)
	var living []*conntrack.State
	for i := 0; b.status().Peers[0].Repair.Last.Round < 3; i++ {
		s := wide(i%50_000, 1)
		s.Incarnation = conntrack.Incarnation(uint64(i+1)<<16 | 1)
		if i%500 == 0 {
			a.pace()
		}
		a.begin(s)
		if living = append(living, s); len(living) > 500 {
			a.finish(living[0])
			living = living[1:]
		}
	}
	r := b.status().Peers[0].Repair
	if r.Repairs != 0 || r.Last.Divergent != 0 {
		t.Errorf("repairs of what did not differ: %+v", r)
	}
	eventually(t, "both hold the same", func() bool { return same(t, a, b) })
}
