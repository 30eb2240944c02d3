package node

import (
	"context"
	"net/netip"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/rules"
	"holdfast/rules/table"
)

const flushPolicy = reloadPorts + `
[tables.brutes]
addresses = "!10.0.0.6"
timeout = "1h"
[[rules]]
id = "ssh"
action = "pass"
in = "lan"
to_port = 22
proto = "tcp"
limit = { rate = "5/1m", mask4 = 24 }
overload = "brutes"
flush = "rule"
[[rules]]
id = "web"
action = "pass"
in = "lan"
`

// flusher is a daemon with connections of several sources by two rules.
func flusher(t *testing.T) *life {
	l := newLife(t, "", flushPolicy)
	l.overloads = dataplane.NewOverloads()
	l.lease.Grant(1 << 62)
	for i, src := range []string{"10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.1.5", "2001:db8::5", "2001:db8:0:0:9::5"} {
		for j, rule := range []string{"ssh", "web"} {
			s := translated(10*i+j, packet.UDP, rule, 0)
			s.Original.Src = packet.AddrFrom(netip.MustParseAddr(src))
			if s.Original.Src.Is4() {
				s.Reply.DstPort += uint16(j)
			} else {
				s.Flags, s.Original.Dst = 0, packet.AddrFrom(netip.MustParseAddr("2001:db8:9::1"))
				s.Reply = s.Original.Reply()
			}
			l.enter(t, s)
		}
	}
	return l
}

// left lists what is left, as sources and their rules.
func (l *life) left() map[string]int {
	all := map[string]int{}
	var v conntrack.View
	for i := range l.table.High() {
		if l.table.View(i, gate.Now(), &v) {
			all[v.Original.Src.String()+" "+l.ruleName(v.Rule)]++
		}
	}
	return all
}

// TestO6_FlushEndsWhatTheTableHolds: the connections of a source end, those of the rule or
// all, in the extent in which its limit tells sources apart; not of who is kept out of the
// table, nor of anybody who is not in it.
func TestO6_FlushEndsWhatTheTableHolds(t *testing.T) {
	every := flusher(t).left()
	for _, row := range []struct {
		name   string
		source string
		rule   string // "": all
		added  string // what the table has taken in
		gone   []string
	}{
		{"of the rule", "10.0.0.5/32", "ssh", "10.0.0.5/32", []string{"10.0.0.5 ssh"}},
		{"of all rules", "10.0.0.5/32", "", "10.0.0.5/32", []string{"10.0.0.5 ssh", "10.0.0.5 web"}},
		{"of a network, but one", "10.0.0.0/24", "", "10.0.0.0/24", []string{"10.0.0.5 ssh", "10.0.0.5 web", "10.0.0.7 ssh", "10.0.0.7 web"}},
		{"of a subscriber", "2001:db8::/64", "ssh", "2001:db8::/64", []string{"2001:db8::5 ssh", "2001:db8::9:0:0:5 ssh"}},
		{"who is not in the table any more", "10.0.0.5/32", "", "10.0.0.9/32", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := flusher(t)
			brutes := l.snapshot.Load().Tables.ByName("brutes")
			brutes.AddPrefix(netip.MustParsePrefix(row.added), table.Include, gate.Now(), table.Default, table.Cause{Kind: table.Overload})
			order := dataplane.Flush{Table: brutes, Source: netip.MustParsePrefix(row.source)}
			if row.rule != "" {
				order.Rule = rules.Number(row.rule)
			}
			l.flush(map[dataplane.Flush]struct{}{order: {}, {Table: brutes, Source: netip.MustParsePrefix("192.0.2.0/25")}: {}})
			want := map[string]int{}
			for k, n := range every {
				want[k] = n
			}
			for _, k := range row.gone {
				if want[k] == 0 {
					t.Fatalf("no %s", k)
				}
				delete(want, k)
			}
			if got := l.left(); !equalCounts(got, want) {
				t.Errorf("left %v, want %v", got, want)
			}
			if n := l.overloadStatus().Flushed; n != uint64(len(row.gone)) || l.ended()["limited"] != n {
				t.Errorf("%d are counted as flushed, %d as limited", n, l.ended()["limited"])
			}
		})
	}
}

// TestO6_StandbyFlushesNothing: its connections are copies, which the active node ends.
func TestO6_StandbyFlushesNothing(t *testing.T) {
	l := flusher(t)
	brutes := l.snapshot.Load().Tables.ByName("brutes")
	brutes.AddPrefix(netip.MustParsePrefix("10.0.0.5/32"), table.Include, gate.Now(), table.Default, table.Cause{Kind: table.Overload})
	l.lease.Revoke()
	before := l.left()
	l.flush(map[dataplane.Flush]struct{}{{Table: brutes, Source: netip.MustParsePrefix("10.0.0.5/32")}: {}})
	if got := l.left(); !equalCounts(got, before) {
		t.Errorf("left %v", got)
	}
}

// TestO6_FullTableDegrades: status says that nobody is blocked any more.
func TestO6_FullTableDegrades(t *testing.T) {
	l := newLife(t, "", flushPolicy[:len(reloadPorts)+len("\n[tables.brutes]\n")]+"max = 1\n"+flushPolicy[len(reloadPorts)+len("\n[tables.brutes]\n"):])
	if got := l.fullTables(); len(got) != 0 {
		t.Errorf("empty: %v", got)
	}
	a := packet.AddrFrom(netip.MustParseAddr("192.0.2.1"))
	l.snapshot.Load().Tables.ByName("brutes").Add(&a, 1, table.Forever, table.Cause{Kind: table.Command})
	if got := l.fullTables(); len(got) != 1 {
		t.Errorf("full: %v", got)
	}
}

// TestO6_FlushesEndWithTheDaemon: the goroutine returns when it is told to.
func TestO6_FlushesEndWithTheDaemon(t *testing.T) {
	l := flusher(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { l.flushSources(ctx); close(done) }()
	cancel()
	<-done
}
