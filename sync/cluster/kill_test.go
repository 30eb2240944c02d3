package cluster

import (
	"testing"
	"time"

	"holdfast/conntrack"
	"holdfast/sync/wire"
)

// carryOut is how the tests' nodes carry out kills: "port=wan" ends all that leave by port
// 1, in two steps as a daemon does, and anything else is not understood.
func (n *testNode) carryOut(k *wire.Kill, done func(int)) bool {
	if string(k.Selector) != "port=wan" {
		return false
	}
	kill := n.table.Kill(func(c *conntrack.Class) bool { return c.Egress == 1 }, k.Before)
	go func() {
		reaped := make([]conntrack.Reaped, 64)
		for from, more := uint32(0), true; more; more = from != 0 {
			from, _ = n.table.Reap(from, 100, 1, reaped, nil)
		}
		done(n.table.ReapedOf(&kill))
	}()
	return true
}

// TestQ1_KillReachesEveryNode: one message ends a class on the peer, which answers how
// many it was; another selector is refused and said to be; a kill told by Deletes is
// answered with those; and a peer that has gone is not waited for.
func TestQ1_KillReachesEveryNode(t *testing.T) {
	a, b, _, _ := startPair(t)
	const count = 500
	for i := range count {
		a.lane.Insert(connection(i, 1))
	}
	a.lane.Flush()
	eventually(t, "every connection is at b", func() bool { return b.table.Len() == count })

	// As many as began up to it die.
	before := connection(count/2-1, 1).Incarnation
	one := func(what string, answers []KillAnswer) KillAnswer {
		t.Helper()
		if len(answers) != 1 || answers[0].Peer != "b" {
			t.Fatalf("%s: %+v", what, answers)
		}
		return answers[0]
	}
	got := one("by selector", a.node.Kill(&wire.Kill{Before: before, Selector: []byte("port=wan")}).Wait(10*time.Second))
	if got != (KillAnswer{Peer: "b", Answered: true, Killed: count / 2}) || b.table.Len() != count/2 {
		t.Errorf("%+v, %d left", got, b.table.Len())
	}
	got = one("not understood", a.node.Kill(&wire.Kill{Before: before + 1<<16, Selector: []byte("frob=1")}).Wait(10*time.Second))
	if !got.Refused || b.status().Peers[0].Rejected["not-applicable"] != 1 {
		t.Errorf("%+v %v", got, b.status().Peers[0].Rejected)
	}
	shared := a.node.config.Shared
	for i := count / 2; i < count/2+7; i++ {
		shared.Delete(connection(i, 1), conntrack.EndKilled)
	}
	got = one("told by deletes", a.node.Kill(&wire.Kill{Before: before + 2<<16, Kind: wire.KillTold}).Wait(10*time.Second))
	if got != (KillAnswer{Peer: "b", Answered: true, Killed: 7}) || b.table.Len() != count/2-7 {
		t.Errorf("%+v, %d left", got, b.table.Len())
	}
	if lag := a.node.Lag(); lag > a.node.config.Shared.Journal().Sent() {
		t.Errorf("lag %d", lag)
	}
	b.end()
	start := time.Now()
	got = one("nobody there", a.node.Kill(&wire.Kill{Before: before + 3<<16, Selector: []byte("port=wan")}).Wait(50*time.Millisecond))
	if got.Answered || time.Since(start) > 5*time.Second {
		t.Errorf("%+v after %v", got, time.Since(start))
	}
}

// TestKillAnswersAreMatched: an answer to another kill, or a second one, counts for nothing.
func TestKillAnswersAreMatched(t *testing.T) {
	a, _, _, _ := startPair(t)
	r := a.node.remotes[0]
	a.node.killed(r, &wire.Killed{Before: 77, Count: 5}) // nobody asked
	asked := a.node.Kill(&wire.Kill{Before: 1 << 40, Selector: []byte("port=nowhere")})
	a.node.killed(r, &wire.Killed{Before: 77, Count: 5})
	answers := asked.Wait(10 * time.Second)
	a.node.killed(r, &wire.Killed{Before: 1 << 40, Count: 5}) // too late
	if len(answers) != 1 || !answers[0].Refused || answers[0].Killed != 0 {
		t.Errorf("%+v", answers)
	}
}
