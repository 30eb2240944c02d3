package gateway

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/packet"
)

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

// providers is three gateways of IPv4 on two ports and one of IPv6.
func providers(t testing.TB) *Set {
	t.Helper()
	s, err := NewSet([]Gateway{
		{"isp1", 1, addr("203.0.113.1")}, {"isp2", 2, addr("198.51.100.1")}, {"isp3", 2, addr("198.51.100.9")}, {"six", 1, addr("fe80::1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func group(t testing.TB, stick Stick, members ...Member) *Group {
	t.Helper()
	g, err := NewGroup(providers(t), members, stick)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func tuple(i int) *packet.Tuple {
	return &packet.Tuple{
		Src: packet.AddrFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})), Dst: addr("192.0.2.7"),
		SrcPort: uint16(40000 + i%7), DstPort: 443, Proto: packet.TCP,
	}
}

func TestSet(t *testing.T) {
	s := providers(t)
	v4, v6 := addr("1.2.3.4"), addr("2001:db8::1")
	if got := fmt.Sprint(s.On(2, &v4), s.On(1, &v4), s.On(1, &v6), s.On(0, &v4), s.On(packet.NoPort, &v4)); got != "[2 3] [1] [4] [] []" {
		t.Errorf("gateways by port: %s", got)
	}
	if s.Port(2) != 2 || s.Port(None) != packet.NoPort || s.Port(5) != packet.NoPort || s.Port(255) != packet.NoPort {
		t.Error("ports")
	}
	var none *Set
	if none.Port(1) != packet.NoPort || none.On(1, &v4) != nil || none.All() != nil {
		t.Error("nil has gateways")
	}
	if _, err := NewSet(make([]Gateway, Max+1)); err == nil {
		t.Error("too many gateways")
	}
	if _, err := NewSet([]Gateway{{"x", packet.NoPort, v4}}); err == nil {
		t.Error("a gateway on no port")
	}
}

func TestDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var down Down
		want := map[Number]bool{}
		for _, n := range rapid.SliceOf(rapid.Uint8Range(1, Max)).Draw(t, "down") {
			down, want[Number(n)] = down.With(Number(n)), true
		}
		for n := Number(1); n <= Max; n++ {
			if down.Has(n) != want[n] {
				t.Fatalf("gateway %d: down %v", n, down.Has(n))
			}
		}
	})
}

func TestGroupErrors(t *testing.T) {
	for _, row := range []struct {
		members []Member
		want    string
	}{
		{nil, "needs 1"},
		{[]Member{{1, 1}, {9, 1}}, "member 2: there is no gateway 9"},
		{[]Member{{1, 0}}, "weight 0"},
		{[]Member{{1, WeightMax + 1}}, "weight 1001"},
	} {
		if _, err := NewGroup(providers(t), row.members, StickSource); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v: %v", row.members, err)
		}
	}
}

// TestL7_ConnectionsShareByWeight: the shares follow the weights, within five standard
// deviations of the throw.
func TestL7_ConnectionsShareByWeight(t *testing.T) {
	g := group(t, StickSource, Member{1, 1}, Member{2, 3}, Member{3, 4})
	const n = 40000
	count := map[Number]float64{}
	for i := range n {
		count[g.Choose(tuple(i), Down{})]++
	}
	for gateway, share := range map[Number]float64{1: 1. / 8, 2: 3. / 8, 3: 4. / 8} {
		if off := math.Abs(count[gateway] - n*share); off > 5*math.Sqrt(n*share*(1-share)) {
			t.Errorf("gateway %d has %v of %d, want a share of %v", gateway, count[gateway], n, share)
		}
	}
}

// TestL7_WhatSticks: what must go together does, whatever else of the tuple differs.
func TestL7_WhatSticks(t *testing.T) {
	members := []Member{{1, 1}, {2, 1}, {3, 1}}
	for stick, sticky := range map[Stick][3]bool{ // by another port, destination, source
		StickSource:            {true, true, false},
		StickSourceDestination: {true, false, false},
		StickConnection:        {false, false, false},
	} {
		g := group(t, stick, members...)
		var moved [3]bool
		for i := range 200 {
			base := *tuple(i)
			chosen := g.Choose(&base, Down{})
			port, dst, src := base, base, base
			port.SrcPort++
			dst.Dst = addr("192.0.2.8")
			src.Src = tuple(i + 1000).Src
			for k, other := range []*packet.Tuple{&port, &dst, &src} {
				moved[k] = moved[k] || g.Choose(other, Down{}) != chosen
			}
		}
		for k := range moved {
			if moved[k] == sticky[k] {
				t.Errorf("%v, change %d: moved %v", stick, k, moved[k])
			}
		}
	}
}

// TestQ6_OnlyWhatIsDownMoves: a gateway that goes down moves its own connections, by
// weight, and no other's; nothing goes to a gateway that is down while one is up.
func TestQ6_OnlyWhatIsDownMoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var members []Member
		set := make([]Gateway, rapid.IntRange(1, 8).Draw(t, "gateways"))
		for i := range set {
			set[i] = Gateway{Name: fmt.Sprint(i), Addr: addr("203.0.113.1")}
			members = append(members, Member{Number(i + 1), rapid.Uint32Range(1, WeightMax).Draw(t, "weight")})
		}
		s, err := NewSet(set)
		if err != nil {
			t.Fatal(err)
		}
		g, err := NewGroup(s, members, Stick(rapid.IntRange(0, 2).Draw(t, "stick")))
		if err != nil {
			t.Fatal(err)
		}
		var down Down
		up := len(set)
		for i := range set {
			if rapid.Bool().Draw(t, "down") {
				down = down.With(Number(i + 1))
				up--
			}
		}
		for i := range 50 {
			all, now := g.Choose(tuple(i), Down{}), g.Choose(tuple(i), down)
			switch {
			case up == 0 || !down.Has(all):
				if now != all {
					t.Fatalf("moved from %d to %d for nothing", all, now)
				}
			case down.Has(now):
				t.Fatalf("gateway %d is down, and others are up", now)
			}
		}
	})
}

// TestFamilies: a group serves the families of its gateways, each by itself.
func TestFamilies(t *testing.T) {
	g := group(t, StickSource, Member{1, 1}, Member{4, 1})
	six := packet.Tuple{Src: addr("fd00::2"), Dst: addr("2001:db8::7")}
	for i := range 50 {
		if got := g.Choose(tuple(i), Down{}); got != 1 {
			t.Errorf("IPv4 by %d", got)
		}
		six.Src[15] = byte(i)
		if got := g.Choose(&six, Down{}); got != 4 {
			t.Errorf("IPv6 by %d", got)
		}
	}
	if g := group(t, StickSource, Member{1, 1}); g.Choose(&six, Down{}) != None || g.Serves(&six.Dst) {
		t.Error("an IPv4 group serves IPv6")
	}
}

// TestAllNodesChooseAlike: the choice is part of what nodes agree on, so it must not
// change from one version to the next unseen.
func TestAllNodesChooseAlike(t *testing.T) {
	var got []string
	for _, stick := range []Stick{StickSource, StickConnection, StickSourceDestination} {
		g := group(t, stick, Member{1, 1}, Member{2, 1}, Member{3, 2})
		row := stick.String() + " "
		for i := range 16 {
			row += fmt.Sprint(g.Choose(tuple(i), Down{}), g.Choose(tuple(i), Down{}.With(3)), " ")
		}
		got = append(got, row)
	}
	want := []string{
		"source 3 1 3 2 3 1 1 1 2 2 2 2 1 1 3 2 3 1 3 1 1 1 1 1 2 2 2 2 1 1 1 1 ",
		"connection 1 1 2 2 3 2 3 1 2 2 3 2 1 1 2 2 1 1 3 1 3 2 3 2 3 2 3 1 3 1 3 2 ",
		"source-destination 2 2 3 1 2 2 3 2 2 2 1 1 2 2 2 2 1 1 2 2 3 1 3 1 3 2 3 1 2 2 3 1 ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestChooseAllocatesNothing(t *testing.T) {
	for _, stick := range []Stick{StickSource, StickConnection, StickSourceDestination} {
		g, in, down := group(t, stick, Member{1, 1}, Member{2, 1}, Member{3, 2}), tuple(9), Down{}.With(1).With(2)
		if n := testing.AllocsPerRun(100, func() { g.Choose(in, down) }); n != 0 {
			t.Errorf("%v: %v allocations", stick, n)
		}
	}
}

func BenchmarkChoose(b *testing.B) {
	g, in := group(b, StickConnection, Member{1, 1}, Member{2, 1}, Member{3, 2}), tuple(9)
	for b.Loop() {
		g.Choose(in, Down{})
	}
}
