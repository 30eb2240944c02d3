package replica

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/internal/lab"
	"holdfast/nat"
	"holdfast/sync/cluster"
	"holdfast/sync/journal"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// timing is that of a machine whose cores are shared.
var timing = cluster.Timing{Heartbeat: 20e6, Lease: 2000e6, DeadAfter: 3000e6, AloneAfter: 4000e6}

// ends are the addresses of the two nodes, which no other process has.
var ends = [2]netip.AddrPort{netip.AddrPortFrom(lab.Loopback(0), 17400), netip.AddrPortFrom(lab.Loopback(1), 17400)}

// Node is a node of a cluster of two.
type Node struct {
	Table   *conntrack.Table
	Lane    *journal.Journal // of the one worker; whoever uses it
	cluster *cluster.Node
	lease   gate.Lease
	links   []*cluster.PeerLink
	stop    context.CancelFunc
	stopped chan error
}

// Start starts node i, 0 or 1, on a table that stays the caller's. Node 0 is to serve.
func Start(i int, table *conntrack.Table, key seal.Key) (*Node, error) {
	link := cluster.LinkConfig{Local: ends[i], Peer: ends[1-i]}
	links, err := cluster.OpenLinks([]cluster.LinkConfig{link}, cluster.Life{Keys: []seal.Key{key}})
	if err != nil {
		return nil, err
	}
	n := &Node{Table: table, links: links, stopped: make(chan error, 1)}
	outlet := journal.NewOutlet([]*journal.Link{&links[0].Link})
	n.Lane = journal.New(0, outlet)
	shared := journal.NewShared(journal.New(1, outlet))
	progress := new(gate.Progress)
	n.cluster, err = cluster.NewNode(cluster.Config{
		Name: fmt.Sprintf("node%d", i), Priority: int32(100 - 50*i), Timing: timing, Links: []cluster.LinkConfig{link}, Keys: []seal.Key{key},
		Standing: wire.Standing{Kept: wire.Generation{Number: 1, Hash: 1}, Force: 1},
		Table:    table, Lease: &n.lease, Progress: []*gate.Progress{progress}, Journals: []*journal.Journal{n.Lane}, Shared: shared,
		Applier: func() *journal.Applier {
			return journal.NewApplier(table, nat.NewPool(), shared, func(*wire.Neighbor) {})
		},
		Transition: func(gate.Role) {},
	}, links)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	go func() { // the worker's signs of life
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			progress.Step()
		}
	}()
	go func() { n.stopped <- n.cluster.Run(ctx) }()
	return n, nil
}

// Close ends it. Nobody may use its lane any more.
func (n *Node) Close() error {
	n.stop()
	err := <-n.stopped
	if closed := n.links[0].Close(); err == nil {
		err = closed
	}
	return err
}

// Status is what the node knows of itself.
func (n *Node) Status() cluster.Status { return n.cluster.Status(gate.Now()) }

// wait waits until something is so.
func wait(ctx context.Context, what string, patience time.Duration, so func() bool) error {
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for !so() {
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %s", patience, what)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
