package cluster

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"holdfast/dataplane/gate"
	"holdfast/internal/lab"
	"holdfast/sync/journal"
	"holdfast/sync/seal"
)

// cable is a way that can be cut.
type cable struct {
	journal.Way
	cut *atomic.Bool
}

// Write loses the datagram where the cable is cut.
func (c cable) Write(datagram []byte) error {
	if c.cut.Load() {
		return nil
	}
	return c.Way.Write(datagram)
}

// TestASecondLinkGoesOnWhereTheFirstIsCut: two nodes with two links to each other, real sockets.
// The first is cut: nobody takes over, and what is begun afterwards is on both nodes.
func TestASecondLinkGoesOnWhereTheFirstIsCut(t *testing.T) {
	at := netip.AddrPortFrom
	here, there := lab.Loopback(0), lab.Loopback(1)
	ends := [2][2]netip.AddrPort{{at(here, 17401), at(there, 17401)}, {at(here, 17402), at(there, 17402)}}
	var cut atomic.Bool
	key := seal.NewKey()
	how := build{
		lanes: 1, inside: func(open func() error) error { return open() },
		links: func(links []*PeerLink) { links[0].paths[0].way = cable{links[0].paths[0].way, &cut} },
	}
	link := func(me int) LinkConfig {
		return LinkConfig{
			Local: ends[0][me], Peer: ends[0][1-me],
			Also: []LinkConfig{{Local: ends[1][me], Peer: ends[1][1-me]}},
		}
	}
	a, b := how.start(t, "a", link(0), key, 100), how.start(t, "b", link(1), key, 50)
	eventually(t, "a is active, b is ready", func() bool {
		a.claim(b)
		return a.node.Role() == gate.Active && b.node.Role() == gate.Standby && b.status().Ready
	})
	a.begin(connection(1, 1))
	eventually(t, "b has the first connection", func() bool { return b.table.Len() == 1 })
	cut.Store(true)
	eventually(t, "the streams go by the second link", func() bool { return a.status().Peers[0].Paths[1].Used && b.status().Peers[0].Paths[1].Used })
	a.begin(connection(2, 1))
	eventually(t, "b has the second connection", func() bool { return b.table.Len() == 2 && b.status().Ready })
	if a.node.Role() != gate.Active || b.node.Role() != gate.Standby {
		t.Errorf("roles %v and %v", a.node.Role(), b.node.Role())
	}
	if s := b.status().Peers[0]; len(s.Paths) != 2 || s.Paths[0].Kind != PathSync {
		t.Errorf("paths %+v", s.Paths)
	}
}
