package cluster

import (
	"net/netip"
	"strings"
	"testing"

	"holdfast/dataplane/gate"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// speakers starts two nodes that speak such versions of the language.
func speakers(t *testing.T, a, b wire.Versions) (x, y *testNode) {
	addr := [2]netip.AddrPort{at(0), at(1)}
	key := seal.NewKey()
	here := func(open func() error) error { return open() }
	x = build{lanes: 1, inside: here, versions: a}.start(t, "a", LinkConfig{Local: addr[0], Peer: addr[1]}, key, 100)
	y = build{lanes: 1, inside: here, versions: b}.start(t, "b", LinkConfig{Local: addr[1], Peer: addr[0]}, key, 50)
	return x, y
}

// In a rolling upgrade the nodes speak the highest version that both know.
func TestP6_NodesSpeakTheHighestCommonVersion(t *testing.T) {
	a, b := speakers(t, wire.Versions{Min: 1, Max: 1}, wire.Versions{Min: 1, Max: 2})
	eventually(t, "a is active, b stands by ready", func() bool {
		return a.node.Role() == gate.Active && b.node.Role() == gate.Standby && b.status().Ready
	})
	a.begin(connection(1, 1))
	eventually(t, "b has the connection", func() bool { return b.table.Len() == 1 })
	for _, n := range []*testNode{a, b} {
		if p := n.status().Peers[0]; p.Language != 1 || p.Refused != "" {
			t.Errorf("version %d is spoken, refused: %q", p.Language, p.Refused)
		}
	}
}

// Without a common version nothing is taken in but who forwards, and both say so.
func TestP6_NoCommonVersionIsRefusedWithAnAlarm(t *testing.T) {
	a, b := speakers(t, wire.Versions{Min: 1, Max: 1}, wire.Versions{Min: 2, Max: 3})
	for _, n := range []*testNode{a, b} {
		eventually(t, "the peer is refused", func() bool {
			p := n.status().Peers[0]
			return p.Language == 0 && strings.Contains(p.Refused, "1 to 1") && strings.Contains(p.Refused, "2 to 3")
		})
	}
	eventually(t, "one forwards, and the other knows it", func() bool {
		if b.node.Role() == gate.Active {
			a, b = b, a // where a stood still at the start
		}
		return a.node.Role() == gate.Active && b.node.Role() == gate.Standby && b.status().Active == a.node.config.Name
	})
	a.begin(connection(1, 1))
	heard := b.status().Peers[0].Heard
	eventually(t, "b has heard a since", func() bool { return b.status().Peers[0].Heard > heard+int64(100e6) })
	s := b.status()
	if b.table.Len() != 0 {
		t.Error("a connection came over in a language that is not spoken")
	}
	if s.Ready || !strings.Contains(s.NotReady, "sync language") {
		t.Errorf("ready %v: %q", s.Ready, s.NotReady)
	}
}
