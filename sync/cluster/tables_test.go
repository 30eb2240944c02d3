package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/internal/lab"
	"holdfast/rules/table"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

var tablePlans = []table.Plan{{Name: "brutes", Max: 20_000, Lifetime: int64(time.Hour)}, {Name: "fixed", Const: true}, {Name: "others", Max: 5}}

// brute is an address, by number.
func brute(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 32)
}

// brutes is the node's table.
func (n *testNode) brutes() *table.Table { return n.tables.ByName("brutes") }

// block adds an entry as a worker does: into the table, and told by its lane.
func (n *testNode) block(i int, lifetime time.Duration) {
	n.brutes().AddPrefix(brute(i), table.Include, gate.Now(), int64(lifetime), table.Cause{Kind: table.Overload, Rule: 7})
	var c wire.TableChange
	if n.brutes().Tell(brute(i), gate.Now(), &c.Change) {
		n.lane.TableChange(&c)
		n.lane.Flush()
	}
}

// unblock deletes one as a command does, by another lane.
func (n *testNode) unblock(i int) {
	n.brutes().Delete(brute(i))
	var c wire.TableChange
	if n.brutes().Tell(brute(i), gate.Now(), &c.Change) {
		n.node.config.Shared.TableChange(&c)
		n.node.config.Shared.Flush()
	}
}

// changes are the entries of a node's table as all nodes know them.
func (n *testNode) changes() (all []string) {
	for c := range n.brutes().Changes(gate.Now()) {
		if c.Kind == table.Put {
			all = append(all, fmt.Sprintf("%v %v %v %v", c.Prefix, c.Sense, c.Version, c.Cause))
		}
	}
	slices.Sort(all)
	return all
}

func (n *testNode) tablesProven() bool { return n.status().Peers[0].Tables.Proven != 0 }

// sameTables reports whether two nodes' digests are the same.
func sameTables(a, b *testNode) bool {
	now := gate.Now()
	x, _ := a.brutes().Digest(now)
	y, _ := b.brutes().Digest(now)
	return x.Same(&y)
}

func startTables(t *testing.T, at byte, plans [2][]table.Plan) (a, b *testNode, links [2]LinkConfig, key seal.Key) {
	key = seal.NewKey()
	addr := [2]netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, at, 1}), 17400), netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, at, 2}), 17400)}
	links = [2]LinkConfig{{Local: addr[0], Peer: addr[1]}, {Local: addr[1], Peer: addr[0]}}
	a = tabled(plans[0]).start(t, "a", links[0], key, 100)
	b = tabled(plans[1]).start(t, "b", links[1], key, 50)
	eventually(t, "a is active, b stands by ready", func() bool {
		a.claim(b)
		return a.node.Role() == gate.Active && b.node.Role() == gate.Standby && b.status().Ready && b.status().Active == "a"
	})
	return a, b, links, key
}

func tabled(plans []table.Plan) build {
	return build{lanes: 1, tables: plans, inside: func(open func() error) error { return open() }}
}

// P1, P3: both nodes add and delete by lanes that lose, repeat and overtake; then both hold the
// same, with the same time left.
func TestP3_TablesAreEqualOverABadLink(t *testing.T) {
	how := tabled(tablePlans)
	p := startFar(t, how, lab.Impairment{Loss: 0.1, Duplicate: 0.05, DelayMin: time.Millisecond, DelayMax: 20 * time.Millisecond, Seed: 1})
	for i := range 3000 {
		p.a.block(i, table0)
		switch i % 5 {
		case 1:
			p.a.unblock(i)
		case 2:
			p.b.block(i-1, 2*time.Hour)
		case 3:
			p.b.unblock(i - 3)
		}
	}
	eventually(t, "both hold the same", func() bool { return sameTables(p.a, p.b) && slices.Equal(p.a.changes(), p.b.changes()) })
	// The lanes have repaired themselves: the comparison finds nothing to ask for.
	eventually(t, "it is proven at both", func() bool { return p.a.tablesProven() && p.b.tablesProven() })
	if n := len(p.a.changes()); n < 1000 || n > 3000 {
		t.Errorf("%d entries", n)
	}
	p.a.brutes().Flush()
	for c := range p.a.brutes().Changes(gate.Now()) {
		p.a.node.config.Shared.TableChange(&wire.TableChange{Change: c})
	}
	p.a.node.config.Shared.Flush()
	eventually(t, "a flush has reached b", func() bool { return len(p.b.changes()) == 0 && sameTables(p.a, p.b) })
}

const table0 = time.Duration(table.Default)

// P5: what no lane has told is found and repaired, whichever node lacks it, and a lifetime that
// is longer at one end too.
func TestP5_TablesThatDifferAreRepaired(t *testing.T) {
	a, b, _, _ := startTables(t, 11, [2][]table.Plan{tablePlans, tablePlans})
	a.block(1, time.Minute)
	eventually(t, "b has it", func() bool { return sameTables(a, b) })
	for i := range 500 {
		a.brutes().AddPrefix(brute(1000+i), table.Include, gate.Now(), table.Default, table.Cause{Kind: table.Command})
	}
	b.brutes().AddPrefix(brute(2), table.Include, gate.Now(), table.Default, table.Cause{Kind: table.Command})
	b.brutes().Delete(brute(1))
	eventually(t, "both hold the same", func() bool { return len(a.changes()) == 501 && slices.Equal(a.changes(), b.changes()) })
	if a.brutes().Holds(addrOf(brute(1))) {
		t.Error("what b has deleted is back")
	}
	var c table.Change
	a.brutes().Tell(brute(1000), gate.Now(), &c)
	// As if b had heard of it an hour late: its lifetime is longer there.
	b.brutes().AddPrefix(brute(3), table.Include, gate.Now(), int64(3*time.Hour), table.Cause{Kind: table.Command})
	b.brutes().Tell(brute(3), gate.Now(), &c)
	c.Left = int64(time.Hour)
	a.brutes().Merge(&c, gate.Now())
	eventually(t, "both say the shorter time", func() bool {
		e, ok := b.brutes().Get(brute(3))
		return ok && e.Expires-gate.Now() < int64(2*time.Hour)
	})
	eventually(t, "it is proven", func() bool {
		x, y := a.status().Peers[0].Tables, b.status().Peers[0].Tables
		return x.Divergent == 0 && y.Divergent == 0 && x.Asked+y.Asked > 0
	})
}

// P6: a node that is started again has the entries, with what is left of their lifetimes,
// before it counts as ready; and they outlive the node that made them.
func TestP6_JoinerHasTheTables(t *testing.T) {
	a, b, links, key := startTables(t, 12, [2][]table.Plan{tablePlans, tablePlans})
	for i := range 2000 {
		a.block(i, 10*time.Minute)
	}
	eventually(t, "b has them", func() bool { return sameTables(a, b) })
	a.end()
	eventually(t, "b is active", func() bool { return b.node.Role() == gate.Active })
	if !b.brutes().Holds(addrOf(brute(7))) {
		t.Error("b lets in whom a has blocked")
	}
	again := tabled(tablePlans).start(t, "a", links[0], key, 100)
	eventually(t, "the restarted node is ready", func() bool {
		heard := again.status().Peers[0].Heard != 0 // before, nothing is known to be lacking
		ready, _ := again.node.Ready()
		ready = ready && heard
		if ready && len(again.changes()) != 2000 {
			t.Errorf("ready with %d entries", len(again.changes()))
		}
		return ready
	})
	e, ok := again.brutes().Get(brute(7))
	if left := time.Duration(e.Expires - gate.Now()); !ok || left > 10*time.Minute || left < 8*time.Minute || e.Cause != (table.Cause{Kind: table.Overload, Rule: 7}) {
		t.Errorf("%+v, %v left", e, left)
	}
}

// P6: without all entries a node is not ready, and says why: here it has no room for them.
func TestP6_NotReadyWithoutTheTables(t *testing.T) {
	small := []table.Plan{{Name: "others", Max: 1}}
	a, b, links, key := startTables(t, 16, [2][]table.Plan{tablePlans, small})
	b.end()
	for i := range 5 {
		a.tables.ByName("others").AddPrefix(brute(i), table.Include, gate.Now(), table.Forever, table.Cause{Kind: table.Command})
	}
	again := tabled(small).start(t, "b", links[1], key, 50)
	eventually(t, "it says what it lacks", func() bool {
		s := again.status()
		return !s.Ready && strings.Contains(s.NotReady, "tables of addresses") && s.Peers[0].Tables.Refused > 0
	})
}

// A node of a version that knows nothing of tables, or has others, is no less ready by that.
func TestTablesThatOnlyOneNodeHas(t *testing.T) {
	for i, other := range [][]table.Plan{nil, {{Name: "mine", Max: 1}}} {
		a, b, _, _ := startTables(t, byte(13+i), [2][]table.Plan{tablePlans, other})
		a.block(1, time.Minute)
		a.begin(connection(1, 1))
		eventually(t, "b has the connection told behind it", func() bool { return b.table.Len() == 1 })
		if n := b.status().Peers[0].Rejected["not-applicable"]; n != 0 {
			t.Errorf("%d messages refused", n)
		}
		a.end()
		b.end()
	}
}

// A peer that asks for tables without end, or tells of sums in parts that never end, costs no
// more than our own tables do.
func TestHostileTableMessages(t *testing.T) {
	a, _, _, _ := startTables(t, 15, [2][]table.Plan{tablePlans, tablePlans})
	r := a.node.remotes[0]
	for i := range 10_000 {
		r.onTableRequest(&wire.TableRequest{Tables: []string{fmt.Sprint("nonsense", i), "brutes"}})
	}
	r.tabled.mu.Lock()
	if n := len(r.tabled.wanted); n > 1 {
		t.Errorf("%d tables wanted", n)
	}
	r.tabled.mu.Unlock()
	var g gathered
	for i := range 100 {
		m := wire.TableSums{Round: 1, Part: uint8(i % wire.TablePartsMax), Parts: wire.TablePartsMax}
		for j := range 60 {
			m.Sums = append(m.Sums, wire.TableSum{Table: fmt.Sprint(i, j)})
		}
		g.take(&m)
	}
	if len(g.sums) > table.Max {
		t.Errorf("%d sums kept", len(g.sums))
	}
}

// All tables that a policy can have fit the parts that there may be.
func TestSumsOfAllTablesFit(t *testing.T) {
	var plans []table.Plan
	for i := range table.Max {
		plans = append(plans, table.Plan{Name: fmt.Sprintf("%063d", i), Max: 1})
	}
	ts, err := table.New(plans, nil)
	if err != nil {
		t.Fatal(err)
	}
	parts := split(ts, 1)
	if len(parts) > wire.TablePartsMax {
		t.Errorf("%d parts", len(parts))
	}
	var g gathered
	for i, sums := range parts {
		if done := g.take(&wire.TableSums{Round: 1, Part: uint8(i), Parts: uint8(len(parts)), Sums: sums}); done != (i == len(parts)-1) {
			t.Errorf("part %d: %v", i, done)
		}
	}
	if len(g.sums) != table.Max {
		t.Errorf("%d sums", len(g.sums))
	}
}

func addrOf(p netip.Prefix) *packet.Addr {
	a := packet.AddrFrom(p.Addr())
	return &a
}
