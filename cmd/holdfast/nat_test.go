package main

import (
	"net/netip"
	"testing"
)

// TestI15_TranslationsBetweenKernels: forwarded ports (I15), their hairpin (I8), a redirect
// to a server on the node, both ends translated (I16) and static prefixes from both sides,
// with the kernels' TCP and UDP.
func TestI15_TranslationsBetweenKernels(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	twice := [2]netip.Addr{netip.MustParseAddr("192.0.2.200"), netip.MustParseAddr("2001:db8:200::200")}
	elsewhere := [2]netip.Addr{netip.MustParseAddr("198.51.100.77"), netip.MustParseAddr("2001:db8:3::77")}
	for family, name := range families {
		at := func(a [2]netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a[family], port) }
		external := nodeWan[family] // of alice's
		if family == 1 {
			external = imageOf(alice[1])
		}
		witness(t, h.alice, at(alice, 9003))
		witness(t, h.server, at(pathServer, 7000))
		witness(t, h.bob, at(bob, 7002))
		witness(t, h.node.place.Namespace, at(houseNode, 53))
		t.Run("forwarded port "+name, func(t *testing.T) {
			reaches(t, h.server, pathServer[family], at(nodeWan, 8003), pathServer[family])
		})
		t.Run("hairpin "+name, func(t *testing.T) {
			reaches(t, h.bob, bob[family], at(nodeWan, 8003), bobOutside[family])
			reaches(t, h.alice, alice[family], at(nodeWan, 8003), external)
			reaches(t, h.alice, alice[family], at(bobOutside, 7002), external)
		})
		t.Run("redirect "+name, func(t *testing.T) {
			reaches(t, h.alice, alice[family], at(elsewhere, 53), alice[family])
			reaches(t, h.bob, bob[family], at(elsewhere, 53), bob[family])
		})
		t.Run("twice "+name, func(t *testing.T) {
			reaches(t, h.alice, aliceOther[family], at(twice, 7000), nodeWan[family])
		})
		t.Run("static "+name, func(t *testing.T) {
			reaches(t, h.bob, bob[family], at(pathServer, 7000), bobOutside[family])
			reaches(t, h.server, pathServer[family], at(bobOutside, 7002), pathServer[family])
		})
	}
	witness(t, h.bob, netip.AddrPortFrom(bob[0], 7001))
	t.Run("twice from outside", func(t *testing.T) {
		reaches(t, h.server, pathServer[0], netip.MustParseAddrPort("192.0.2.201:7001"), houseNode[0])
	})
	h.node.stop(t, 15)
}
