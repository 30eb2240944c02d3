package journal

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/nat"
)

const outside = packet.PortID(1)

// masquerades gives a node the policy that all nodes of its cluster have.
func (s *side) masquerades(t *testing.T) *nat.Policy {
	t.Helper()
	p, err := nat.Compile(
		[]nat.Translation{{Kind: nat.Masquerade, Out: []packet.PortID{outside}, TargetPorts: nat.PortSpan{First: 50000, Last: 50199}}},
		nat.Site{Addresses: map[packet.PortID][]netip.Addr{outside: {netip.MustParseAddr("203.0.113.1")}}}, s.pool)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// admits begins a connection as a worker does; false: no port is free.
func (s *side) admits(t *testing.T, p *nat.Policy, from netip.Addr, port uint16, life int) (conntrack.State, bool) {
	t.Helper()
	st := udp(0)
	st.Incarnation = conntrack.Incarnation(life)<<16 | 2
	st.Original.Src, st.Original.SrcPort = packet.AddrFrom(from), port
	turn := p.Destination(&st.Original, 0)
	reply, _, outcome := p.Source(&turn, outside, 0)
	if outcome != nat.Translated {
		return st, false
	}
	st.Reply = reply
	var applied conntrack.Applied
	if got := s.table.Apply(&st, now, &applied); got != conntrack.AppliedNew {
		t.Fatalf("%v > %v: outcome %v", st.Original, st.Reply, got)
	}
	st.Index = applied.Index
	return st, true
}

// TestI4_PromotedNodeGivesNoPortTwice: of 200 external ports the active node has given most to
// its connections. The node that takes over gives none of those to anybody else, gives all that
// are left, and gives one again when its connection has ended: no ports need dividing between
// nodes of which one gives them out at a time.
func TestI4_PromotedNodeGivesNoPortTwice(t *testing.T) {
	a, b := newSide(t, 1024), newSide(t, 1024)
	onA, onB := a.masquerades(t), b.masquerades(t)
	random := rand.New(rand.NewPCG(1, 2))
	var living []conntrack.State
	for i := range 600 { // b hears of each, of some twice, and of ends
		if len(living) > 150 || i%5 == 4 {
			at := random.IntN(len(living))
			last := living[at]
			if !a.table.Remove(last.Index, last.Incarnation, now, &last) {
				t.Fatal("it is not there")
			}
			a.gone(&last)
			b.Apply(tell(end(last)), now)
			living = append(living[:at], living[at+1:]...)
			continue
		}
		st, ok := a.admits(t, onA, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint16(1000+random.IntN(60000)), i+1)
		if !ok {
			t.Fatalf("no port with %d in use", len(living))
		}
		living = append(living, st)
		b.Apply(tell(insert(st), insert(st)), now)
	}
	used := map[uint16]packet.Tuple{}
	for _, st := range living {
		used[st.Reply.DstPort] = st.Original
	}
	if len(used) != len(living) || b.table.Len() != len(living) || b.ports() != len(living) {
		t.Fatalf("%d connections, %d ports, b has %d and %d", len(living), len(used), b.table.Len(), b.ports())
	}
	given := 0
	for i := range 300 { // a is dead
		st, ok := b.admits(t, onB, netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), uint16(1000+random.IntN(60000)), 10_000+i)
		if !ok {
			break
		}
		if other, twice := used[st.Reply.DstPort]; twice {
			t.Fatalf("port %d of %v was given to %v", st.Reply.DstPort, other, st.Original)
		}
		used[st.Reply.DstPort] = st.Original
		given++
	}
	if given == 0 || len(used) > 200 || len(used) < 190 {
		t.Errorf("%d were left, %d of 200 are used", given, len(used))
	}
	last := living[0]
	b.Apply(tell(end(last)), now)
	st, ok := b.admits(t, onB, netip.MustParseAddr("10.8.0.1"), 7, 20_000)
	if !ok || st.Reply.DstPort != last.Reply.DstPort {
		t.Errorf("the port that is free again is not given: %v", st.Reply)
	}
	b.clear()
	if n := b.ports(); n != 0 {
		t.Errorf("%d ports are left without connections", n)
	}
}
