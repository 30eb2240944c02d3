package cluster

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/internal/lab"
	"holdfast/nat"
	"holdfast/rules/table"
	"holdfast/sync/journal"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// testNode is a node without a data plane: a table, one lane, and a worker that only
// shows signs of life.
type testNode struct {
	t       *testing.T
	node    *Node
	table   *conntrack.Table
	lane    *journal.Journal // the first of lanes
	lanes   []*journal.Journal
	tables  *table.Tables
	lease   gate.Lease
	stuck   atomic.Bool
	turning sync.RWMutex // held for reading in a turn of traffic, and between two for a sign of life
	stop    context.CancelFunc
	stopped chan struct{}
}

// capacity of the tests' tables, in connections.
const capacity = 200_000

// slow is the timing of the tests: machines that run them are shared.
var slow = Timing{Heartbeat: 20 * ms, Lease: 1000 * ms, DeadAfter: 1500 * ms, AloneAfter: 3000 * ms}

// build is how a testNode is made.
type build struct {
	lanes    int
	backlog  uint64                   // of each lane, in batches; 0: as in production
	inside   func(func() error) error // where its sockets are opened
	versions wire.Versions            // of the language; zero: today's
	witness  *LinkConfig              // nil: there is none
	links    func([]*PeerLink)        // looks at them before they are used; nil: nobody
	tables   []table.Plan             // none: the node knows nothing of tables, as older ones do
}

func start(t *testing.T, name string, link LinkConfig, key seal.Key, priority int32) *testNode {
	t.Helper()
	return build{lanes: 1, inside: func(open func() error) error { return open() }}.start(t, name, link, key, priority)
}

func (how build) start(t *testing.T, name string, link LinkConfig, key seal.Key, priority int32) *testNode {
	t.Helper()
	n := &testNode{t: t, stopped: make(chan struct{})}
	var links []*PeerLink
	err := how.inside(func() (err error) {
		links, err = OpenLinks([]LinkConfig{link}, Life{Keys: []seal.Key{key}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	alone, third := AloneServe, []*PeerLink{nil}
	if how.witness != nil {
		alone = AloneWitness
		if third, err = OpenLinks([]LinkConfig{*how.witness}, Life{Keys: []seal.Key{key}}); err != nil {
			t.Fatal(err)
		}
	}
	if how.links != nil {
		how.links(links)
		if how.witness != nil {
			how.links(third)
		}
	}
	if n.table, err = conntrack.New(conntrack.Config{Capacity: capacity, Node: Number([]LinkConfig{link})}); err != nil {
		t.Fatal(err)
	}
	if n.tables, err = table.New(how.tables, table.None(Number([]LinkConfig{link}), 0)); err != nil {
		t.Fatal(err)
	}
	outlet := journal.NewOutlet([]*journal.Link{&links[0].Link})
	for i := range how.lanes {
		lane := journal.New(uint16(i), outlet)
		if how.backlog != 0 {
			lane = journal.NewKeeping(how.backlog, uint16(i), outlet)
		}
		n.lanes = append(n.lanes, lane)
	}
	n.lane = n.lanes[0]
	shared := journal.NewShared(journal.New(uint16(how.lanes), outlet))
	progress := new(gate.Progress)
	var tables func() *table.Tables
	if how.tables != nil {
		tables = func() *table.Tables { return n.tables }
	}
	n.node, err = NewNode(Config{
		Name: name, Tables: tables, Versions: how.versions, Priority: priority, Timing: slow, Alone: alone, Witness: third[0], Links: []LinkConfig{link}, Keys: []seal.Key{key}, Standing: wire.Standing{Kept: wire.Generation{Number: 1, Hash: 1}, Force: 1},
		Table: n.table, Lease: &n.lease, Progress: []*gate.Progress{progress}, Journals: n.lanes, Shared: shared,
		Applier: func() *journal.Applier {
			return journal.NewApplier(n.table, nat.NewPool(), shared, func(*wire.Neighbor) {})
		},
		Kill:       n.carryOut,
		Transition: func(gate.Role) {},
	}, links)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	go func() { // the worker
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if !n.stuck.Load() {
					n.turning.Lock()
					progress.Step()
					n.turning.Unlock()
				}
			}
		}
	}()
	go func() {
		defer close(n.stopped)
		if err := n.node.Run(ctx); err != nil {
			t.Error(err)
		}
		if third[0] != nil {
			links = append(links, third[0])
		}
		for _, l := range links {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	t.Cleanup(n.end)
	return n
}

// begin makes a connection as a worker does: into the table, and told.
func (n *testNode) begin(s *conntrack.State) {
	n.t.Helper()
	var applied conntrack.Applied
	if got := n.table.Apply(s, gate.Now(), &applied); got != conntrack.AppliedNew {
		n.t.Fatalf("connection %v: outcome %d", s.Original, got)
	}
	s.Index = applied.Index
	n.lane.Insert(s)
	n.lane.Flush()
}

// pace waits until the peer follows: what outruns a lane's backlog is another test.
func (n *testNode) pace() {
	n.t.Helper()
	eventually(n.t, "the peer has most of what it was told", func() bool { return n.status().Peers[0].Unconfirmed < 2000 })
}

// finish ends a connection that begin has made, as a worker does.
func (n *testNode) finish(s *conntrack.State) {
	n.t.Helper()
	var last conntrack.State
	if !n.table.Remove(s.Index, s.Incarnation, gate.Now(), &last) {
		n.t.Fatalf("connection %v is not there", s.Original)
	}
	n.lane.Delete(&last, conntrack.EndExpired)
	n.lane.Flush()
}

// forget takes a connection out of the table and tells nobody: a fault.
func (n *testNode) forget(s *conntrack.State) {
	n.t.Helper()
	if _, ok := n.remove(s); !ok {
		n.t.Fatalf("connection %v is not there", s.Original)
	}
}

// remove looks at every entry: Lookup only hints.
func (n *testNode) remove(s *conntrack.State) (last conntrack.State, ok bool) {
	for i := range n.table.High() {
		if n.table.Export(i, gate.Now(), &last) && last.Original == s.Original {
			return last, n.table.Forget(i, last.Incarnation, gate.Now(), &last)
		}
	}
	return last, false
}

func (n *testNode) end() {
	n.stop()
	<-n.stopped
}

func (n *testNode) status() Status { return n.node.Status(gate.Now()) }

// patience is how long a test waits for what must come about. With the race detector, on a
// machine that others use too, ten seconds were not enough.
const patience = 40 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// claim asks for the role where the other node was faster to start.
func (n *testNode) claim(other *testNode) {
	if other.node.Role() == gate.Active {
		_ = n.node.Promote(false) // refused until this node is ready: it is asked again
	}
}

// at is the end of a link of node i, which runs of other processes do not have: they would take
// each other's datagrams, which then come as those of unknown sessions.
func at(i int) netip.AddrPort { return netip.AddrPortFrom(lab.Loopback(i), 17400) }

func startPair(t *testing.T) (a, b *testNode, links [2]LinkConfig, key seal.Key) {
	key = seal.NewKey()
	addr := [2]netip.AddrPort{at(0), at(1)}
	links = [2]LinkConfig{{Local: addr[0], Peer: addr[1]}, {Local: addr[1], Peer: addr[0]}}
	a = start(t, "a", links[0], key, 100)
	b = start(t, "b", links[1], key, 50)
	eventually(t, "a is active, b stands by ready", func() bool {
		a.claim(b)
		return a.node.Role() == gate.Active && b.node.Role() == gate.Standby && b.status().Ready && b.status().Active == "a"
	})
	return a, b, links, key
}

func connection(i int, node uint16) *conntrack.State {
	original := packet.Tuple{
		Src: packet.AddrFrom(netip.MustParseAddr("10.0.0.1")), Dst: packet.AddrFrom(netip.MustParseAddr("203.0.113.9")),
		SrcPort: uint16(1000 + i), DstPort: 53, Proto: packet.UDP,
	}
	return &conntrack.State{
		Index: uint32(i), Incarnation: conntrack.Incarnation(uint64(i+1)<<16 | uint64(node)),
		Original: original, Reply: original.Reply(), Class: conntrack.Class{Egress: 1},
	}
}

func TestP1_StateOnOneNodeExistsOnTheOther(t *testing.T) {
	a, b, _, _ := startPair(t)
	const count = 500
	for i := range count {
		a.lane.Insert(connection(i, 1))
	}
	a.lane.Flush()
	eventually(t, "every connection is at b", func() bool { return b.table.Len() == count })
	for i := range count {
		s := connection(i, 1)
		a.lane.Delete(s, conntrack.EndExpired)
	}
	a.lane.Flush()
	eventually(t, "every connection has gone from b", func() bool { return b.table.Len() == 0 })
	eventually(t, "a knows that b has it all", func() bool { return a.status().Peers[0].Unconfirmed == 0 })
}

func TestStandbyTakesOverAndARestartedPeerStandsBy(t *testing.T) {
	a, b, links, key := startPair(t)
	a.begin(connection(1, 1))
	eventually(t, "b has the connection", func() bool { return b.table.Len() == 1 })
	a.end()
	eventually(t, "b is active", func() bool { return b.node.Role() == gate.Active && b.lease.Held(gate.Now()) })
	b.begin(connection(2, 2))
	again := start(t, "a", links[0], key, 100)
	eventually(t, "the restarted node has what b announced since", func() bool { return again.table.Len() >= 1 })
	// b's table holds a connection of a's life before too, which no lane of b's life tells.
	eventually(t, "the restarted node holds all of b's table and has proof of it", func() bool {
		ready, _ := again.node.Ready()
		return ready && again.table.Len() == 2 && again.status().Peers[0].Repair.Proven != 0
	})
	eventually(t, "b knows of the proof", func() bool {
		p := b.status().Peers[0].Proof
		return p.At != 0 && p.Divergent == 0
	})
	if again.node.Role() != gate.Standby || b.node.Role() != gate.Active {
		t.Errorf("roles %v and %v: a joiner took the role", again.node.Role(), b.node.Role())
	}
}

func TestStuckWorkerLosesTheLease(t *testing.T) {
	a, b, _, _ := startPair(t)
	a.stuck.Store(true)
	eventually(t, "a is mute and b active", func() bool {
		return !a.lease.Held(gate.Now()) && a.node.Role() == gate.Standby && b.node.Role() == gate.Active
	})
	if h := a.status().History; h[len(h)-1].Cause != "the lease lapsed" {
		t.Errorf("history says %+v", h)
	}
}

func TestWrongKeyIsNeverHeard(t *testing.T) {
	addr := [2]netip.AddrPort{at(0), at(1)}
	a := start(t, "a", LinkConfig{Local: addr[0], Peer: addr[1]}, seal.NewKey(), 100)
	b := start(t, "b", LinkConfig{Local: addr[1], Peer: addr[0]}, seal.NewKey(), 50)
	eventually(t, "b has refused a's handshake", func() bool { return b.status().Peers[0].Rejected["unauthentic"] > 0 })
	if a.status().Peers[0].Heard != 0 || b.status().Peers[0].Heard != 0 {
		t.Error("nodes with different keys hear each other")
	}
}
