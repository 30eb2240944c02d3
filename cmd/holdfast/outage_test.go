package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What becomes of two real daemons, of connections through them, and of who speaks on the
// segments, in each situation that sync/README.md lists.

// rounds is how often a test does what it does: once, or more often in the long form.
func rounds() int {
	if long() {
		return 20
	}
	return 1
}

// takesOver waits until a node is active and the other one, where it lives, stands by.
func takesOver(t *testing.T, heir, other *daemon) {
	t.Helper()
	eventually(t, heir.place.Name()+" serves", func() bool {
		return heir.group().Role == "active" && (other == nil || other.group().Role == "standby")
	})
}

// readyAgain waits until both nodes are ready and agree who serves.
func readyAgain(t *testing.T, active, standby *daemon) {
	t.Helper()
	eventually(t, standby.place.Name()+" is ready to take over", func() bool {
		x, y := active.group(), standby.group()
		return x.Role == "active" && y.Role == "standby" && y.Ready && y.Active == active.place.Name()
	})
}

// TestP4_Killed: SIGKILL of the active node, over and over.
func TestP4_Killed(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	e := s.listen(t)
	a, b := s.startPair(t)
	k := s.talks(t, 8)
	s.stream(t, 1)
	order := "a"
	nodes := [2]*daemon{a, b}
	for i := range rounds() {
		active, heir := i%2, 1-i%2
		k.goesOn(t, 50)
		nodes[active].stop(t, unix.SIGKILL)
		takesOver(t, nodes[heir], nil)
		k.goesOn(t, 50)
		if i == 0 {
			b.screen(t, "peer-killed")
		}
		nodes[active] = start(t, s.places[active])
		readyAgain(t, nodes[heir], nodes[active])
		order += string("ab"[heir])
	}
	nodes[rounds()%2].screen(t, "active")
	nodes[1-rounds()%2].screen(t, "standby")
	k.survive(t)
	e.spoke(t, order, nodes[:]...)
}

// TestP4_StoppedAndContinued: the active node is stopped while 10,000 frames a second arrive. The other
// one takes over; continued, it lets out not one frame before it is promoted anew.
func TestP4_StoppedAndContinued(t *testing.T) {
	s := newSite(t, 0)
	e := s.listen(t)
	a, b := s.startPair(t)
	k := s.talks(t, 4)
	stop := s.stream(t, 10)
	order := "a"
	for i := range rounds() {
		e.more(t, 0, 2000)
		if err := a.Kill(unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		takesOver(t, b, nil)
		e.more(t, 1, 2000)
		k.goesOn(t, 20)
		if i == 0 {
			b.screen(t, "peer-stopped")
		}
		before := e.count(t, 0)
		if err := a.Kill(unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		readyAgain(t, b, a)
		e.more(t, 1, 10_000)
		k.goesOn(t, 20)
		if said := e.count(t, 0) - before; said > 2*residue {
			t.Errorf("continued, fw-a let out %d frames", said)
		} else if said > 0 {
			t.Logf("%d frames of kicks that were under way", said)
		}
		a.tell(t, "promote").said(t)
		order += "ba"
		e.more(t, 0, 1000)
		readyAgain(t, a, b)
		k.goesOn(t, 20)
	}
	stop()
	k.survive(t)
	e.spoke(t, order, a, b)
}

// TestP4_DataLinkCutOnOneSide: one cable of the active node is pulled; both segments move.
func TestP4_DataLinkCutOnOneSide(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	e := s.listen(t)
	a, b := s.startPair(t)
	k := s.talks(t, 8)
	s.stream(t, 1)
	nodes, order := [2]*daemon{a, b}, "a"
	for i := range rounds() {
		active, heir := i%2, 1-i%2
		k.goesOn(t, 50)
		cable := []string{"lan-", "wan-"}[i/2%2] + string("01"[active])
		if err := s.switches.Down(cable); err != nil {
			t.Fatal(err)
		}
		takesOver(t, nodes[heir], nodes[active])
		k.goesOn(t, 50)
		if i == 0 {
			a.screen(t, "cable-pulled")
			b.screen(t, "peer-cable-pulled")
		}
		if err := s.switches.Up(cable); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the node has no fault any more", func() bool { return nodes[active].group().Fault == "" })
		readyAgain(t, nodes[heir], nodes[active])
		order += string("ab"[heir])
	}
	k.survive(t)
	e.spoke(t, order, nodes[:]...)
}

// TestP7_SplitAndHealed: the only way between the nodes is cut. With alone = "serve" both may speak,
// from dead_after on until they hear each other again: that is the window. Then one falls silent,
// connections go on, and the other becomes ready by itself.
func TestP7_SplitAndHealed(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	e := s.listen(t)
	a, b := s.startPair(t)
	k := s.talks(t, 8)
	k.goesOn(t, 50)
	cut := time.Now()
	if err := s.places[0].Down("sync"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both miss each other", func() bool { return a.misses() && b.misses() })
	k.goesOn(t, 50)
	a.screen(t, "sync-cut-active")
	b.screen(t, "sync-cut-other")
	fresh := s.dial(t, server.String()+":8080") // a connection of the time in between
	comesBack(t, fresh)
	if err := s.places[0].Up("sync"); err != nil {
		t.Fatal(err)
	}
	var active *daemon
	eventually(t, "one serves and the other is ready", func() bool {
		x, y := a.group(), b.group()
		if active = a; y.Role == "active" {
			active = b
		}
		return (x.Role == "active") != (y.Role == "active") && x.Ready && y.Ready && x.Active == y.Active
	})
	healed := time.Now()
	k.goesOn(t, 50)
	comesBack(t, fresh)
	k.survive(t)
	for _, port := range []string{"lan", "wan"} {
		if from, to := e.twice(t, port); !from.IsZero() && (from.Before(cut) || to.After(healed)) {
			t.Errorf("on %s both spoke from %v to %v after the cut, which was healed %v after it", port, from.Sub(cut), to.Sub(cut), healed.Sub(cut))
		}
	}
	unique(t, active)
}

// unique checks that no two connections of a node have one reply: a port that was given away twice.
func unique(t *testing.T, d *daemon) {
	t.Helper()
	seen := map[string]bool{}
	for _, line := range strings.Split(d.tell(t, "conns", "--format", "conntrack").said(t), "\n") {
		_, reply, ok := strings.Cut(line, "src=203.0.113.10 ")
		if reply, _, _ = strings.Cut(reply, "["); ok && seen[strings.Fields(line)[0]+reply] {
			t.Errorf("two connections have the reply %s", reply)
		}
		seen[strings.Fields(line + " .")[0]+reply] = true
	}
}

// TestP8_SyncLinkCutWaiting: with alone = "wait" a node that hears nobody does not serve by itself,
// so two never speak at once; when the link is back the connections go on.
func TestP8_SyncLinkCutWaiting(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	for _, p := range s.places {
		p.files.replace("policy.toml", `alone_after = "2s"`, `alone = "wait"`)
	}
	e := s.listen(t)
	a, b := s.startPair(t)
	k := s.talks(t, 8)
	k.goesOn(t, 50)
	if err := s.places[0].Down("sync"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both miss each other", func() bool { return a.misses() && b.misses() })
	a.screen(t, "sync-cut-waiting")
	if err := s.places[0].Up("sync"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one serves and the other is ready", func() bool {
		x, y := a.group(), b.group()
		return (x.Role == "active") != (y.Role == "active") && x.Ready && y.Ready && x.Active == y.Active
	})
	k.goesOn(t, 50)
	k.survive(t)
	if a.group().Role == "active" {
		e.spoke(t, "a", a, b)
	} else {
		e.spoke(t, "ab", a, b)
	}
}

// TestP9_RulesDiffer: the node that takes over has other rules. It keeps the connections that it was told of,
// and both say that their policies differ.
func TestP9_RulesDiffer(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	s.places[1].files.write("policy.toml", changed(s.places[1].files), 0o644)
	e := s.listen(t)
	a, b := start(t, s.places[0]), start(t, s.places[1])
	eventually(t, "fw-a serves and fw-b is ready", func() bool {
		x, y := a.group(), b.group()
		return x.Role == "active" && y.Ready && y.Active == "fw-a"
	})
	k := s.talks(t, 8)
	k.goesOn(t, 50)
	a.screen(t, "other-policy")
	a.stop(t, unix.SIGKILL)
	takesOver(t, b, nil)
	k.goesOn(t, 50)
	k.survive(t)
	e.spoke(t, "ab", a, b)
}

// keeping gives both nodes a file that keeps their connections over a restart.
func (s *site) keeping() {
	for _, p := range s.places {
		text, err := os.ReadFile(p.files.node)
		p.files.check(err)
		p.files.write("node.toml", strings.Replace(string(text), "[devices]", "state_file = \"state\"\n\n[devices]", 1), 0o644)
	}
}

// TestP10_BothRestartedAtOnce: both daemons end at once and are started at once.
func TestP10_BothRestartedAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	s.keeping()
	e := s.listen(t)
	a, b := s.startPair(t)
	k := s.talks(t, 8)
	for range rounds() {
		k.goesOn(t, 50)
		for _, d := range []*daemon{a, b} {
			if err := d.Kill(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
		<-a.Done()
		<-b.Done()
		a, b = start(t, s.places[0]), start(t, s.places[1])
		eventually(t, "one serves and the other is ready", func() bool {
			x, y := a.group(), b.group()
			return (x.Role == "active") != (y.Role == "active") && x.Ready && y.Ready && x.Active == y.Active
		})
	}
	k.goesOn(t, 50)
	k.survive(t)
	for _, port := range []string{"lan", "wan"} {
		for i, r := range e.inOrder(t, port) {
			if r.frames > residue && i > 3*rounds()+1 {
				t.Errorf("on %s the role went to and fro:\n%s", port, e.tell(e.reigns(t, port)))
			}
		}
	}
}

// inOrder returns the reigns of a segment without rests of kicks.
func (e *speakers) inOrder(t *testing.T, port string) []reign {
	all, _ := withoutRests(e.reigns(t, port))
	return all
}

// TestP10_RollingRestart: one node after the other is ended and started again under traffic, as for
// an upgrade.
func TestP10_RollingRestart(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	e := s.listen(t)
	a, b := s.startPair(t)
	k := s.talks(t, 8)
	s.stream(t, 1)
	nodes, order := [2]*daemon{a, b}, "a"
	for range rounds() {
		for i := range nodes {
			k.goesOn(t, 50)
			nodes[i].stop(t, unix.SIGTERM)
			takesOver(t, nodes[1-i], nil)
			k.goesOn(t, 50)
			nodes[i] = start(t, s.places[i])
			readyAgain(t, nodes[1-i], nodes[i])
			order += string("ab"[1-i])
		}
	}
	k.survive(t)
	e.spoke(t, order, nodes[:]...)
}
