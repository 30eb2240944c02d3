package cluster

import (
	"fmt"

	"holdfast/dataplane/gate"
)

// Health is what a node's own observers (carrier, gateways, probes, workers) have found.
// The zero value is a sound node.
//
// A weight makes a node less suited, a fault unfit:
//
//   - Lowered is taken off the configured priority, down to 0. An active node that has anything
//     taken off hands over to a ready node that stands higher than what it has left, with or
//     without preempt. It does so at once the first time, and then with growing pauses
//     (damping), so that something that comes and goes does not take the role along each time.
//   - Fault names what is broken without which this node must not serve. It is not
//     eligible while a ready node without a fault lives, and an active one hands over to such
//     a node at once. Where every node that could serve has a fault, the one that is
//     first in order serves, with an alarm: a firewall with one dead port is better than none.
//
// When the trouble is over the role stays where it is, unless Timing.PreemptAfter says
// otherwise.
type Health struct {
	Lowered int32  // what all troubles together take off the priority, at least 0
	Fault   string // in words for status, such as "port wan has no carrier"; "": none
}

// faultDepth is what a fault takes off the priority, so that it is below 0 whatever was
// configured (0 to 1000). A heartbeat has no other sign of a fault: its form is the same in all
// versions, and a node that knows nothing of faults still puts such a node last.
const faultDepth = 1 << 20

// Sound reports whether the node of a beat has no fault.
func (b *Beat) Sound() bool { return b.Priority >= 0 }

// SetHealth tells what this node's observers have found. What follows from it comes with the
// next Tick.
func (e *Election) SetHealth(h Health) {
	e.health = h
	e.self.Priority = max(0, e.priority-max(0, h.Lowered))
	if h.Fault != "" {
		e.self.Priority -= faultDepth
	}
}

// Health returns what SetHealth was told last.
func (e *Election) Health() Health { return e.health }

// SetHealth tells the election what this node's observers have found: call it with the
// whole of it whenever any part changes. The peers hear of it with the next heartbeat. Safe from
// any goroutine.
func (n *Node) SetHealth(h Health) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.election.SetHealth(h)
}

// handOverIfTroubled gives the role up where this active node has troubles and a ready one
// lives that goes before it.
func (e *Election) handOverIfTroubled(now int64) {
	if e.health == (Health{}) {
		return
	}
	for i := range e.members {
		m := &e.members[i]
		if !e.alive(*m, now) || !m.beat.Ready || !m.beat.Sound() || m.beat.Priority <= e.self.Priority {
			continue
		}
		if e.health.Fault != "" {
			e.demote(now, "handed over", fmt.Sprintf("%s; node %d is ready and has no fault", e.health.Fault, m.beat.Node))
			return
		}
		if !e.damping.pass(now) {
			return
		}
		e.demote(now, "handed over", fmt.Sprintf("troubles leave priority %d of %d; node %d is ready and has %d",
			e.self.Priority, e.priority, m.beat.Node, m.beat.Priority))
		return
	}
}

// Pauses between changes of role that mere weights bring about, in ns.
const (
	dampingLeast = int64(1e9)
	dampingMost  = int64(60e9)
)

// damping keeps a trouble that comes and goes from moving the role each time: the pause
// doubles with every change, and a pause of twice the longest makes all forgotten.
// The zero value lets the first one pass.
type damping struct {
	until int64 // the next may pass
	pause int64 // after the next
}

func (d *damping) pass(now int64) bool {
	if now < d.until {
		return false
	}
	if d.pause == 0 || now-d.until > dampingMost {
		d.pause = dampingLeast
	}
	d.until = now + d.pause
	d.pause = min(2*d.pause, dampingMost)
	return true
}

// preempt asks for the role where this node has gone before the active one for as long as
// Timing.PreemptAfter, ready and without a fault all the while.
func (e *Election) preempt(now int64, active *member) {
	first := e.self.Ready && e.self.Sound() && !e.self.Yields && now >= e.holdUntil &&
		e.self.Generation >= active.beat.Generation && e.self.Priority > active.beat.Priority && e.best(now, true)
	switch {
	case e.timing.PreemptAfter == 0 || !first:
		e.ahead = 0
	case e.ahead == 0:
		e.ahead = now
	case now-e.ahead >= e.timing.PreemptAfter:
		e.ahead = 0 // and again after as long, where nothing comes of it
		e.wantUntil = now + wantsFor*e.timing.DeadAfter
	}
}

// PreemptIn returns how long it takes until this node takes the role back, in ns; 0: it
// does not.
func (e *Election) PreemptIn(now int64) int64 {
	if e.ahead == 0 || e.self.Role == gate.Active {
		return 0
	}
	return max(1, e.ahead+e.timing.PreemptAfter-now)
}
