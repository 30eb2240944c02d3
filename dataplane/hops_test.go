package dataplane

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// TestL7_RememberedHops: a hop that is remembered is the one that the routes give, for
// many more destinations than there are places, and after the routes have changed.
func TestL7_RememberedHops(t *testing.T) {
	prefix := netip.MustParsePrefix
	tables := []*fib.Table{
		fib.NewTable(rigRoutes, rigNeighbors),
		fib.NewTable([]fib.Route{{Prefix: prefix("0.0.0.0/0"), Kind: fib.Forward, Port: wan, Via: server}, {Prefix: prefix("10.0.0.0/24"), Kind: fib.Blackhole}}, rigNeighbors),
		fib.NewTable([]fib.Route{{Prefix: prefix("::/0"), Kind: fib.Forward, Port: lan, Via: client}, {Prefix: prefix("10.0.0.10/32"), Kind: fib.Local}}, nil),
		{},
	}
	var h hops
	r := rand.New(rand.NewPCG(7, 7))
	for range 20_000 {
		routes := tables[r.IntN(len(tables))]
		for range r.IntN(40) {
			dst := ip([]string{"10.0.0.0", "203.0.113.0", "198.18.0.0", "2001:db8::"}[r.IntN(4)])
			dst[15], dst[14] = byte(r.Uint32()), byte(r.Uint32()&3)
			for range 2 { // looked up, then remembered
				if got, want := h.to(routes, &dst), routes.Lookup(dst); got != want {
					t.Fatalf("%v: %+v, want %+v", dst, got, want)
				}
			}
		}
	}
	if got := h.to(tables[3], &packet.Addr{}); got.Kind != fib.Unroutable {
		t.Errorf("the zero address: %+v", got)
	}
}
