package node

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules"
	"holdfast/rules/config"
	"holdfast/sync/journal"
	"holdfast/sync/saved"
)

// life is one life of a daemon without ports: what saving and restoring needs.
type life struct {
	*daemon
	said strings.Builder
	plan plan
	file *config.Policy
}

const restorePolicy = `[ports.lan]
addresses = ["10.0.0.1/24"]
[ports.wan]
addresses = ["203.0.113.1/24"]
[[rules]]
id = "out"
action = "pass"
in = "lan"
proto = ["tcp", "udp"]
to_port = [53, 80]
limit = { connections = 1000 }
`

func newLife(t *testing.T, path, policy string) *life {
	t.Helper()
	p, err := config.ParsePolicy("p.toml", []byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	l := &life{file: p, plan: plan{stateFile: path}}
	l.daemon = &daemon{log: slog.New(slog.NewTextHandler(&l.said, nil)), pool: nat.NewPool(),
		shared: journal.NewShared(journal.New(0, journal.NewOutlet(nil)))}
	if l.table, err = conntrack.New(conntrack.Config{Capacity: 1000, Node: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.table.Close(); err != nil {
			t.Error(err)
		}
	})
	l.snapshot.Store(&dataplane.Snapshot{Ports: l.pool, Table: l.table})
	if err := l.plan.compile(p, &rules.Former{}); err != nil {
		t.Fatal(err)
	}
	first, err := l.prepare(p, &l.plan, l.pool)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.publish(first); err != nil {
		t.Fatal(err)
	}
	return l
}

// begin takes over what the life before has left.
func (l *life) begin(t *testing.T) *life {
	t.Helper()
	l.takeSaved(&l.plan, l.file)
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// translated is connection i of a client behind masquerade, of a rule, idle for so many ms.
func translated(i int, proto packet.Proto, rule string, idle uint32) conntrack.State {
	addr := func(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }
	s := conntrack.State{
		Incarnation: conntrack.Incarnation(i+1)<<16 | 1, Class: conntrack.Class{Rule: rules.Number(rule), Ingress: 0, Egress: 1}, Flags: conntrack.SourceNAT,
		Original: packet.Tuple{Src: addr("10.0.0.5"), Dst: addr("198.51.100.9"), SrcPort: uint16(10000 + i), DstPort: 53, Proto: proto},
		Idle:     idle,
	}
	s.Reply = s.Original.Reply()
	s.Reply.Dst = addr("203.0.113.1")
	return s
}

// enter puts connections into the table, with ports and counts, as a peer's would be.
func (l *life) enter(t *testing.T, states ...conntrack.State) {
	t.Helper()
	a := journal.NewApplier(l.table, l.pool, l.shared, nil)
	a.CountIn(l.limits)
	for i := range states {
		if !a.Restore(&states[i], gate.Now()) {
			t.Fatalf("connection %d does not get in", i)
		}
	}
}

func (l *life) is(t *testing.T, connections, ports, sources int) {
	t.Helper()
	held := 0
	for _, u := range l.pool.Usage() {
		held += u.Used
	}
	if l.table.Len() != connections || held != ports || l.limits().Sources() != sources {
		t.Errorf("%d connections, %d ports held, %d sources; want %d, %d, %d\n%s", l.table.Len(), held, l.limits().Sources(), connections, ports, sources, &l.said)
	}
}

// TestF7_NextLife: connections, their external ports and their counts are there again; what
// ran out in the meantime is not, and gives back what it held.
func TestF7_NextLife(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	first := newLife(t, path, restorePolicy).begin(t)
	for i := range 10 {
		first.enter(t, translated(i, packet.UDP, "out", 0))
	}
	first.save()
	second := newLife(t, path, restorePolicy).begin(t)
	second.is(t, 10, 10, 1)
	third := newLife(t, path, restorePolicy).begin(t) // the second has not saved
	third.is(t, 0, 0, 0)

	// An hour later, by the boot's clock.
	h := first.saving.header(gate.Now() - 3600e9)
	if _, err := saved.Write(path, &h, second.table); err != nil {
		t.Fatal(err)
	}
	late := newLife(t, path, restorePolicy).begin(t)
	late.is(t, 0, 0, 0)
	if !strings.Contains(late.said.String(), "expired=10") {
		t.Errorf("it says %s", &late.said)
	}
}

// TestF7_AnotherPolicy: under other rules each connection is asked about again, and where
// numbers mean something else nothing is taken over.
func TestF7_AnotherPolicy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	save := func() {
		first := newLife(t, path, restorePolicy).begin(t)
		first.enter(t, translated(1, packet.UDP, "out", 0), translated(2, packet.UDP, "out", 0))
		first.save()
	}
	renamed := strings.Replace(restorePolicy, `id = "out"`, `id = "outward"`, 1)
	save()
	l := newLife(t, path, renamed).begin(t)
	l.is(t, 2, 2, 1)
	l.table.Classes(func(c conntrack.Class, _ int) {
		if c.Rule != rules.Number("outward") {
			t.Errorf("rule %#x", c.Rule)
		}
	})
	save()
	l = newLife(t, path, strings.Replace(restorePolicy, "[53, 80]", "80", 1)).begin(t)
	l.is(t, 0, 0, 0)
	if !strings.Contains(l.said.String(), "refused=2") {
		t.Errorf("it says %s", &l.said)
	}
	save()
	l = newLife(t, path, strings.Replace(restorePolicy, "[ports.lan]", "[ports.inside]\naddresses = [\"10.1.0.1/24\"]\n[ports.lan]", 1)).begin(t)
	l.is(t, 0, 0, 0)
	if !strings.Contains(l.said.String(), "other ports") {
		t.Errorf("it says %s", &l.said)
	}
}

func TestBootID(t *testing.T) {
	if a, b := bootID(), bootID(); a != b || a == (saved.Boot{}) {
		t.Errorf("%x, %x", a, b)
	}
}
