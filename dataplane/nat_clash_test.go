package dataplane

import (
	"slices"
	"sync"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// TestI9_ExhaustionThroughThePath: a new flow is refused with its reason, existing ones go
// on, and a port that comes free is given.
func TestI9_ExhaustionThroughThePath(t *testing.T) {
	r := newNATRig(t, `
[[nat]]
kind = "snat"
out = "wan"
from = "10.0.0.10"
target = "203.0.113.3"
target_port = "5000-5001"
`)
	send := func(sport uint16) []out {
		return r.feed(lan, from(client, server, packetIn{proto: packet.UDP, sport: sport, dport: 53}).frame(t))
	}
	r.discardOne(send(1001))
	r.discardOne(send(1002))
	send(1003)
	if why := r.dropped(lan); !slices.Equal(why, []drop.Reason{drop.NATExhausted}) {
		t.Fatalf("the third: %v", why)
	}
	r.discardOne(send(1001))
	r.w.now += 1e15
	for range 8 {
		r.w.now += sweepPeriod
		r.w.sweep()
	}
	r.discardOne(send(1003))
}

// TestI21_TranslationAfterAnUnrepliedEntry: a translation that is added while a connection
// without an answer lives takes effect when that has timed out, though its client goes on
// sending: retransmits do not refresh it.
func TestI21_TranslationAfterAnUnrepliedEntry(t *testing.T) {
	plain := natHead + "[[rules]]\nid = \"out\"\naction = \"pass\"\nin = \"lan\"\nout = \"wan\"\n"
	r := rigOf(t, plain, rigRoutes, rigNeighbors, 1000)
	syn := from(client, server, packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t)
	expect(t, r.one(r.feed(lan, syn), wan, macServer, macWan), client, 4000, server, 80)
	translated := newNATRig(t, "")
	next := *r.w.snapshot
	next.NAT, next.Ports = translated.w.snapshot.NAT, translated.w.snapshot.Ports
	r.w.snapshot = &next
	for second := range 200 {
		r.w.now += 1e9
		r.w.sweep()
		got := r.feed(lan, syn)
		if p := r.one(got, wan, macServer, macWan); p.Tuple.Src == wanAddr {
			if second < 100 { // SYN_SENT: 120 s
				t.Errorf("after %d s", second)
			}
			return
		}
	}
	t.Error("200 s later the old entry still lives")
}

// TestI19_SameServerByTwoAddresses: one client endpoint reaches one server by two
// external addresses at the same time; the answers would be one tuple, so the second
// connection gets another source port, and both work.
func TestI19_SameServerByTwoAddresses(t *testing.T) {
	r := newNATRig(t, twoAddresses)
	for _, to := range []packet.Addr{ip("203.0.113.3"), ip("203.0.113.4")} {
		syn := from(server, to, packetIn{sport: 4000, dport: 80, flags: "S", seq: 100})
		p := r.one(r.feed(wan, syn.frame(t)), lan, macInner, macLan)
		if p.Tuple.Src != server || p.Tuple.Dst != inner || p.Tuple.DstPort != 8080 || p.Tuple.SrcPort < 1024 {
			t.Fatalf("to %v: left as %v", to, p.Tuple)
		}
		if (p.Tuple.SrcPort == 4000) != (to == ip("203.0.113.3")) {
			t.Errorf("to %v: source port %d", to, p.Tuple.SrcPort)
		}
		answer := from(inner, server, packetIn{sport: 8080, dport: p.Tuple.SrcPort, flags: "SA", seq: 500, ack: 101})
		expect(t, r.one(r.feed(lan, answer.frame(t)), wan, macServer, macWan), to, 80, server, 4000)
	}
}

const twoAddresses = `
[[nat]]
kind = "dnat"
in = "wan"
to = ["203.0.113.3", "203.0.113.4"]
proto = "tcp"
to_port = 80
target = "10.0.0.80"
target_port = 8080
`

// TestI12_TwoWorkersOneReplyTuple: two workers open, at the same time, connections whose
// reply tuples would be the same. Original and reply tuples lie in different shards, so
// only the table's two locks can tell: both connections must get through, with different
// reply tuples, and every external port stays one connection's.
func TestI12_TwoWorkersOneReplyTuple(t *testing.T) {
	r := newNATRig(t, twoAddresses)
	s := newNATRig(t, twoAddresses)
	s.w.snapshot = r.w.snapshot
	const rounds = 1500
	var wg sync.WaitGroup
	failed := [2]int{}
	for i, one := range []*rig{r, s} {
		to := []packet.Addr{ip("203.0.113.3"), ip("203.0.113.4")}[i]
		var frames [][]byte
		for n := range rounds {
			frames = append(frames, from(server, to, packetIn{sport: uint16(2000 + n), dport: 80, flags: "S", seq: 100}).frame(t))
		}
		wg.Go(func() {
			for _, f := range frames {
				if got := one.feed(wan, f); len(got) != 1 {
					failed[i]++
				}
			}
		})
	}
	wg.Wait()
	if failed != [2]int{} {
		t.Errorf("not let through: %v; %v %v", failed, r.dropped(wan), s.dropped(wan))
	}
	table := r.w.snapshot.Table
	if n := table.Len(); n != 2*rounds {
		t.Errorf("%d connections, want %d", n, 2*rounds)
	}
	replies := map[packet.Tuple]bool{}
	for index := range table.High() {
		var v conntrack.View
		if table.View(index, r.w.now, &v) {
			if replies[v.Reply] {
				t.Errorf("two connections have reply tuple %v", v.Reply)
			}
			replies[v.Reply] = true
		}
	}
}
