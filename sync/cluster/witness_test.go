package cluster

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"

	"holdfast/dataplane/gate"
	"holdfast/internal/lab"
	"holdfast/sync/seal"
)

// REL12: two nodes and a witness with real sockets. The active node is cut off from both and is
// silent before the other one serves; the witness dies and nothing changes.
func TestREL12_AWitnessDecidesBetweenTwoNodes(t *testing.T) {
	key := seal.NewKey()
	var cut atomic.Bool
	ends := [2]LinkConfig{}
	ends[0].Local, ends[1].Local = at(0), at(1)
	ends[0].Peer, ends[1].Peer = ends[1].Local, ends[0].Local
	var voters []LinkConfig
	for i := range ends {
		voters = append(voters, LinkConfig{Local: at(3), Peer: netip.AddrPortFrom(lab.Loopback(i), 17404)})
	}
	ways, err := OpenLinks(voters, Life{Keys: []seal.Key{key}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, kill := context.WithCancel(t.Context())
	done := make(chan error, 1)
	third := NewWitness(ways, nil)
	go func() { done <- third.Run(ctx) }()
	var nodes [2]*testNode
	for i := range nodes {
		how := build{lanes: 1, inside: func(open func() error) error { return open() }}
		how.witness = &LinkConfig{Local: voters[i].Peer, Peer: voters[i].Local}
		how.links = func(links []*PeerLink) {
			for _, l := range links {
				l.paths[0].way = cable{l.paths[0].way, &cut}
			}
		}
		if i == 1 { // only what node 0 says of itself is cut, to the peer and to the witness
			how.links = nil
		}
		nodes[i] = how.start(t, string(rune('a'+i)), ends[i], key, int32(100-50*i))
	}
	a, b := nodes[0], nodes[1]
	eventually(t, "a is active by votes, b stands by ready", func() bool {
		a.claim(b)
		return a.node.Role() == gate.Active && b.node.Role() == gate.Standby && b.status().Ready && a.node.Witness().Granted != 0
	})
	if s := third.Status(); !s[0].Holds && !s[1].Holds || s[0].Heard == 0 {
		t.Errorf("the witness says %+v", s)
	}
	if err := b.node.Promote(true); err == nil {
		t.Error("an operator has stood in for a vote")
	}
	cut.Store(true)
	eventually(t, "b serves by the witness's vote", func() bool {
		if b.lease.Held(gate.Now()) && a.lease.Held(gate.Now()) {
			t.Fatal("two nodes forward")
		}
		return b.node.Role() == gate.Active
	})
	if a.node.Role() == gate.Active {
		t.Error("a still serves")
	}
	cut.Store(false)
	eventually(t, "a stands by ready", func() bool { return a.node.Role() == gate.Standby && a.status().Ready })
	kill()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, w := range ways {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	at := b.served()
	eventually(t, "b goes on without the witness", func() bool { return b.served() > at+2*slow.DeadAfter })
}

func (n *testNode) served() int64 { return n.node.served.Load() }
