package dataplane

import (
	"maps"
	"slices"
	"testing"

	"holdfast/dataplane/packet"
	"holdfast/rules"
	"holdfast/rules/config"
	"holdfast/rules/table"
)

// TestNATPool_IsTheTablesWrittenEntries: connections get the addresses that the table's written
// entries hold, all of them and no others. One that is added while the node runs is given to
// nobody, by a reload of the same policy neither; one that is written and reloaded is, and
// who lives keeps what it has.
func TestNATPool_IsTheTablesWrittenEntries(t *testing.T) {
	r := newRig(t)
	policy := func(written string) *config.Policy {
		t.Helper()
		p, err := config.ParsePolicy("pool", []byte(rigPorts+`
[tables.outside]
addresses = `+written+`
[[nat]]
kind = "snat"
out = "wan"
from = "10.0.0.0/24"
target = "<outside>"
pick = "round-robin"
pooling = "arbitrary"
mapping = "address-and-port-dependent"
[[rules]]
id = "out"
action = "pass"
in = "lan"
`))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.reload(p); err != nil {
			t.Fatal(err)
		}
		r.w.snapshot = r.snapshot.Load()
		return p
	}
	send := func(sport uint16) packet.Addr {
		t.Helper()
		query := fromClient(packetIn{proto: packet.UDP, sport: sport, dport: 53}).frame(t)
		return r.one(r.feed(lan, query), wan, macServer, macWan).Tuple.Src
	}
	next := uint16(1000)
	expect := func(when string, want ...packet.Addr) {
		t.Helper()
		got := map[packet.Addr]bool{}
		for range 3 * len(want) {
			got[send(next)] = true
			next++
		}
		if all := slices.SortedFunc(maps.Keys(got), func(a, b packet.Addr) int { return a.Netip().Compare(b.Netip()) }); !slices.Equal(all, want) {
			t.Errorf("%s: %v, want %v", when, all, want)
		}
	}
	pool := []packet.Addr{ip("203.0.113.20"), ip("203.0.113.28"), ip("203.0.113.29"), ip("203.0.113.30"), ip("203.0.113.31")}
	p := policy(`["203.0.113.28/30", "203.0.113.20"]`)
	expect("as written", pool...)
	old := send(999)

	tables, err := table.New(rules.Tables(p), nil)
	if err != nil {
		t.Fatal(err)
	}
	added := ip("203.0.113.40")
	if out := tables.ByName("outside").Add(&added, r.w.now, table.Default, table.Cause{Kind: table.Command}); out != table.Added {
		t.Fatal(out)
	}
	if err := r.reload(p); err != nil {
		t.Fatal(err)
	}
	snapshot := *r.snapshot.Load()
	snapshot.Tables = tables
	r.snapshot.Store(&snapshot)
	r.w.snapshot = &snapshot
	expect("with an entry added", pool...)

	policy(`["203.0.113.40"]`)
	expect("as written now", added)
	if got := send(999); got != old {
		t.Errorf("a connection that lives went from %v to %v", old, got)
	}
}
