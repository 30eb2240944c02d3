package main

import (
	"net/netip"
	"testing"
)

// TestJ3_PrefixesBetweenKernels: hosts inside and outside speak as if the prefix were
// theirs, whoever begins, and so do two inside hosts by their external addresses (J7).
func TestJ3_PrefixesBetweenKernels(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 0)
	v6 := pathServer[1]
	witness(t, h.server, netip.AddrPortFrom(v6, 7000))
	for _, host := range []struct {
		ns      string
		address netip.Addr
	}{{"alice", alice[1]}, {"bob", bob[1]}} {
		ns := h.alice
		if host.ns == "bob" {
			ns = h.bob
		}
		witness(t, ns, netip.AddrPortFrom(host.address, 7000))
		t.Run(host.ns, func(t *testing.T) {
			reaches(t, h.server, v6, netip.AddrPortFrom(imageOf(host.address), 7000), v6)
			reaches(t, ns, host.address, netip.AddrPortFrom(v6, 7000), imageOf(host.address))
			ping(t, h.server, imageOf(host.address))
			ping(t, ns, v6)
			big := newPinger(t, h.server, 1, imageOf(host.address))
			for _, size := range []int{1452, 1453, 4000, 20000} { // in one piece, and in more
				if err := big.answered(size); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Run("hairpin", func(t *testing.T) {
		reaches(t, h.alice, alice[1], netip.AddrPortFrom(imageOf(bob[1]), 7000), imageOf(alice[1]))
		reaches(t, h.bob, bob[1], netip.AddrPortFrom(imageOf(alice[1]), 7000), imageOf(bob[1]))
		ping(t, h.alice, imageOf(bob[1]))
	})
	h.node.stop(t, 15)
}

// TestJ6_ErrorsBetweenKernels: traces show the routers inside by their external addresses
// to the outside, and as they are to the inside; the end says that nobody listens; and the
// outside learns of a smaller link inside.
func TestJ6_ErrorsBetweenKernels(t *testing.T) {
	t.Parallel()
	h := newHouse(t, smallMTU)
	v6 := netip.MustParseAddr
	inwards := []netip.Addr{v6("2001:db8:3::1"), nodeWan[1], imageOf(houseInner), imageOf(alice[1])}
	outwards := []netip.Addr{v6("fd01:203:405:1::1"), houseNode[1], v6("2001:db8:2::10"), pathServer[1]}
	for name, probe := range probes {
		t.Run(name, func(t *testing.T) {
			for i := range inwards {
				got, err := probe.send(h.server, imageOf(alice[1]), uint16(33434+i), 1+i)
				if err != nil || got.from != inwards[i] || got.farthest != (i == len(inwards)-1) {
					t.Errorf("inwards, hop %d: %+v, %v, want %v", 1+i, got, err, inwards[i])
				}
				got, err = probe.send(h.alice, pathServer[1], uint16(33434+i), 1+i)
				if err != nil || got.from != outwards[i] || got.farthest != (i == len(outwards)-1) {
					t.Errorf("outwards, hop %d: %+v, %v, want %v", 1+i, got, err, outwards[i])
				}
			}
		})
	}
	t.Run("a smaller link inside", func(t *testing.T) { h.transfer(t, pathServer[1], true) })
	h.node.stop(t, 15)
}
