package nat

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"holdfast/dataplane/packet"
)

// TestREL38_PortShadow: inside hosts ask for external ports by all the means they have, the
// numbers of services first, again and again while others let go of theirs: none ever gets
// a port that is forwarded or that the node answers on (I14, CVE-2021-3773).
func TestREL38_PortShadow(t *testing.T) {
	site := testSite()
	site.Services = []Service{{packet.TCP, through(22, 22)}, {packet.UDP, through(500, 500)}}
	pool := newPool(testSecret)
	policy, err := Compile([]Translation{web(), webRange(), masquerade("10.0.0.0/8")}, site, pool)
	if err != nil {
		t.Fatal(err)
	}
	closed := map[packet.Proto]map[uint16]bool{packet.TCP: {22: true, 80: true}, packet.UDP: {500: true}}
	wanted := []uint16{22, 80, 500}
	for port := uint16(8000); port < 8010; port++ {
		closed[packet.TCP][port] = true
		wanted = append(wanted, port)
	}
	r := rand.New(rand.NewPCG(38, 1))
	var held [2000]Binding
	given, total := 0, 2*steps()
	if total >= 2_000_000 {
		total = 10_000_000 // a soak
	}
	for range total {
		original := packet.Tuple{
			Src: packet.AddrFrom(netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(4)), byte(r.IntN(250))})), Dst: addr("192.0.2.7"),
			SrcPort: uint16(r.IntN(1 << 16)), DstPort: uint16(r.IntN(1 << 16)), Proto: packet.TCP,
		}
		if r.IntN(2) == 0 {
			original.SrcPort = wanted[r.IntN(len(wanted))]
		}
		if r.IntN(3) == 0 {
			original.Proto = packet.UDP
		}
		reply, b, outcome := propose(policy, original, wan, r.IntN(4))
		if outcome != Translated {
			continue
		}
		given++
		if closed[original.Proto][reply.DstPort] {
			t.Fatalf("%v got port %d", original, reply.DstPort)
		}
		slot := &held[r.IntN(len(held))]
		pool.Release(*slot)
		*slot = b
	}
	if given < total*8/10 {
		t.Errorf("only %d of %d got a port", given, total)
	}
}
