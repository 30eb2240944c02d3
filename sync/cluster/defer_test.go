package cluster

import (
	"net/netip"
	"slices"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/nat"
	"holdfast/sync/journal"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// TestP3_AcknowledgementMeansThatThePeerHasIt: between two nodes and over sockets the owner
// of a lane is woken for a connection that the peer's table holds by then.
func TestP3_AcknowledgementMeansThatThePeerHasIt(t *testing.T) {
	a, b, _, _ := startPair(t)
	wake := make(chan struct{}, 1)
	a.lane.OnAcknowledged(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	if !a.lane.Heard() {
		t.Fatal("b is there, and not expected to answer")
	}
	for i := range 200 {
		s := connection(i, 1)
		var applied conntrack.Applied
		if got := a.table.Apply(s, gate.Now(), &applied); got != conntrack.AppliedNew {
			t.Fatal(got)
		}
		s.Index = applied.Index
		a.lane.Insert(s)
		batch := a.lane.RequestAck()
		a.lane.Await(batch)
		a.lane.Flush()
		for a.lane.Acknowledged() < batch {
			<-wake
		}
		if n := b.table.Len(); n != i+1 {
			t.Fatalf("acknowledged %d connections, b has %d", i+1, n)
		}
	}
	b.end()
	eventually(t, "nobody is expected to answer", func() bool { return !a.lane.Heard() })
}

// carried is a node whose datagrams the test carries.
type carried struct {
	node  *Node
	lane  *journal.Journal
	table *conntrack.Table
	out   [][]byte
}

// Write implements journal.Way.
func (c *carried) Write(datagram []byte) error {
	c.out = append(c.out, slices.Clone(datagram))
	return nil
}

func newCarried(t *testing.T, link LinkConfig, key seal.Key, now *int64) *carried {
	t.Helper()
	c := &carried{}
	l, err := NewLink(link, Life{Boot: 7, Keys: []seal.Key{key}}, c)
	if err != nil {
		t.Fatal(err)
	}
	if c.table, err = conntrack.New(conntrack.Config{Capacity: 1000, Node: Number([]LinkConfig{link})}); err != nil {
		t.Fatal(err)
	}
	outlet := journal.NewOutlet([]*journal.Link{&l.Link})
	c.lane = journal.New(0, outlet)
	shared := journal.NewShared(journal.New(1, outlet))
	c.node, err = NewNode(Config{
		Name: "one", Timing: slow, Links: []LinkConfig{link}, Table: c.table, Lease: new(gate.Lease), Progress: []*gate.Progress{{}},
		Journals: []*journal.Journal{c.lane}, Shared: shared, Now: func() int64 { return *now },
		Applier: func() *journal.Applier {
			return journal.NewApplier(c.table, nat.NewPool(), shared, func(*wire.Neighbor) {})
		},
		Transition: func(gate.Role) {},
	}, []*PeerLink{l})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// carry takes what the node has sent to another one, and returns how many datagrams.
func (c *carried) carry(to *carried) int {
	all := c.out
	c.out = nil
	for _, d := range all {
		to.node.Receive(0, d)
	}
	return len(all)
}

// TestP3_AcknowledgedAtOnce: the batch that asks for it is answered by one datagram, before
// any beat; one that does not ask is not.
func TestP3_AcknowledgedAtOnce(t *testing.T) {
	addr := [2]netip.AddrPort{netip.MustParseAddrPort("127.0.7.1:1"), netip.MustParseAddrPort("127.0.7.2:1")}
	now, key := int64(1e12), seal.NewKey()
	a := newCarried(t, LinkConfig{Local: addr[0], Peer: addr[1]}, key, &now)
	b := newCarried(t, LinkConfig{Local: addr[1], Peer: addr[0]}, key, &now)
	for range 100 { // handshake, hellos, beats
		now += 10e6
		for _, n := range []*carried{a, b} {
			n.node.Due(0)
			n.node.Turn()
		}
		a.carry(b)
		b.carry(a)
	}
	a.out, b.out = nil, nil
	if !a.lane.Heard() {
		t.Fatal("no session")
	}
	a.lane.Insert(connection(1, 1))
	a.lane.Flush()
	if a.carry(b); len(b.out) != 0 {
		t.Error("a batch that does not ask is answered")
	}
	a.lane.Insert(connection(2, 1))
	batch := a.lane.RequestAck()
	if again := a.lane.RequestAck(); again != batch {
		t.Errorf("asked twice: %d, %d", batch, again)
	}
	a.lane.Flush()
	a.carry(b)
	if a.lane.Acknowledged() >= batch || b.table.Len() != 2 {
		t.Fatalf("acknowledged %d of %d, b has %d connections", a.lane.Acknowledged(), batch, b.table.Len())
	}
	if n := b.carry(a); n != 1 || a.lane.Acknowledged() != batch {
		t.Errorf("%d datagrams came back, acknowledged %d of %d", n, a.lane.Acknowledged(), batch)
	}

	// A batch that comes before its turn is not acknowledged; the gap filled, both are.
	for i := range 2 {
		a.lane.Insert(connection(3+i, 1))
		batch = a.lane.RequestAck()
		a.lane.Flush()
	}
	late := a.out[0]
	a.out = a.out[1:]
	a.carry(b)
	if b.carry(a); a.lane.Acknowledged() >= batch-1 {
		t.Error("acknowledged with a gap before it")
	}
	a.out = [][]byte{late}
	a.carry(b)
	if b.carry(a); a.lane.Acknowledged() != batch || b.table.Len() != 4 {
		t.Errorf("acknowledged %d of %d", a.lane.Acknowledged(), batch)
	}
}
