package nat

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"holdfast/dataplane/packet"
)

// TestForesee: what is foretold is what the next connection gets, and asking changes nothing:
// neither the ports in use nor what would be drawn next.
func TestForesee(t *testing.T) {
	addr := func(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }
	rapid.Check(t, func(rt *rapid.T) {
		pool := NewPool()
		mapping := rapid.SampledFrom([]Mapping{EndpointIndependent, AddressAndPortDependent}).Draw(rt, "mapping")
		p, err := Compile([]Translation{{
			Kind: Masquerade, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Out: []packet.PortID{1}, Mapping: mapping,
		}}, Site{Addresses: map[packet.PortID][]netip.Addr{1: {netip.MustParseAddr("203.0.113.2")}}}, pool)
		if err != nil {
			rt.Fatal(err)
		}
		sources := []packet.Addr{addr("10.0.0.2"), addr("10.0.0.3"), addr("192.0.2.9"), addr("203.0.113.2")}
		var held []Binding
		for range rapid.IntRange(1, 60).Draw(rt, "connections") {
			tuple := packet.Tuple{
				Src: rapid.SampledFrom(sources).Draw(rt, "source"), SrcPort: uint16(rapid.IntRange(40000, 40003).Draw(rt, "port")),
				Dst: addr("198.51.100.7"), DstPort: uint16(rapid.IntRange(80, 83).Draw(rt, "to")), Proto: packet.TCP,
			}
			turn := p.Destination(&tuple, 0)
			for range rapid.IntRange(1, 3).Draw(rt, "asked") {
				p.Foresee(&turn, 1)
			}
			told, toldOutcome := p.Foresee(&turn, 1)
			reply, binding, outcome := p.Source(&turn, 1, 0)
			if told != reply || toldOutcome != outcome {
				rt.Fatalf("%v: foretold %v %v, and it became %v %v", tuple, told, toldOutcome, reply, outcome)
			}
			held = append(held, binding)
			if rapid.Bool().Draw(rt, "one ends") {
				pool.Release(held[0])
				held = held[1:]
			}
		}
		for _, b := range held {
			pool.Release(b)
		}
		for _, u := range pool.Usage() {
			if u.Used != 0 {
				rt.Fatalf("%+v after all have ended", u)
			}
		}
	})
}
