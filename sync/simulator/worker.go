package simulator

import (
	"fmt"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/sync/journal"
	"holdfast/sync/wire"
)

// This file plays the worker: what dataplane does with a packet as far as the table, the
// port maps and the journal can tell (track, admit, record, bereave, flush, kick), and what
// the daemon does about kills.

// tell hands a change to the journal of a worker, and notes what that said.
func (n *node) tell(lane int, change conntrack.Change, s *conntrack.State) {
	j := n.lanes[lane]
	switch change {
	case conntrack.ChangeUpdate:
		j.Update(s)
	case conntrack.ChangeNew, conntrack.ChangeReopened:
		j.Insert(s)
	default:
		return
	}
	n.remember(lane, j.Sent()+1, s, change)
}

// forward takes a packet through the node's path by one of its workers, and reports
// whether it left the node.
func (n *node) forward(lane int, p *packet.Parsed, admit *conntrack.Proposal) bool {
	now := n.local()
	if !n.lease.Held(now) {
		return false
	}
	n.dirty = true
	keys, hits := [1]packet.Parsed{*p}, [1]conntrack.Hit{}
	n.table.Lookup(keys[:], hits[:])
	r := &n.result
	passed := false
	switch n.table.Track(p, &hits[0], now, r) {
	case conntrack.OutcomePass:
		n.tell(lane, r.Change, &r.State)
		passed = true
	case conntrack.OutcomeMiss:
		if r.Change == conntrack.ChangeEnded {
			n.bereave(lane, &r.State, r.Why)
		}
		if admit != nil {
			passed = n.admit(lane, p, admit, now)
		}
	}
	if !n.world.burst { // the turn ends
		for _, j := range n.lanes {
			j.Flush()
		}
	}
	return passed && n.lease.Held(n.local()) // the kick
}

// admit begins a connection.
func (n *node) admit(lane int, p *packet.Parsed, pr *conntrack.Proposal, now int64) bool {
	if conntrack.MayOpen(p) != drop.Pass {
		return false
	}
	binding, ok := n.pool.Take(pr.Original, pr.Reply)
	if !ok {
		return false
	}
	r := &n.result
	if n.table.Insert(pr, p, now, r) != conntrack.Inserted {
		n.pool.Release(binding)
		return false
	}
	n.tell(lane, r.Change, &r.State)
	return true
}

// bereave gives back what a connection that ended had, and tells the peers, as
// dataplane.Worker does.
func (n *node) bereave(lane int, last *conntrack.State, why conntrack.EndReason) {
	n.pool.Release(n.pool.BindingOf(last.Original, last.Reply))
	if !n.lease.Held(n.local()) {
		return
	}
	n.world.law.ended(n, last)
	if why == conntrack.EndKilled {
		return
	}
	j := n.lanes[lane]
	if last.Incarnation.Node() != uint16(n.id+1) {
		j.Insert(last)
	}
	j.Delete(last, why)
}

// work is one turn of every worker: a sign of life, and its share of the sweep.
func (n *node) work() {
	w := n.world
	if w.now < n.jammed {
		return
	}
	n.dirty = true
	now := n.local()
	grace := conntrack.GraceShadow
	if n.lease.Held(now) {
		grace = conntrack.GraceOwner
	}
	for lane, p := range n.progress {
		p.Step()
		// Whichever worker comes by ends a connection: not always the one that began it.
		next, count := n.table.Sweep(n.sweepAt, 64, now, grace, n.ended[:])
		for i := range count {
			n.bereave(lane, &n.ended[i].State, n.ended[i].Why)
		}
		n.sweepAt = next
		n.lanes[lane].Flush()
	}
	n.pool.Tick(now)
}

// killRule is `holdfast kill rule=N` on this node: a class dies here, and one message says
// the same to the peers.
func (n *node) killRule(rule uint32) {
	if !n.lease.Held(n.local()) {
		return
	}
	match := func(c *conntrack.Class) bool { return c.Rule == rule }
	k := n.table.Kill(match, 0)
	n.world.law.killed(n, rule, k.Before)
	n.cluster.Kill(&wire.Kill{Before: k.Before, Selector: fmt.Appendf(nil, "rule=%d", rule)})
	n.reap(nil)
}

// obeyKill carries out a kill that a peer tells of (cluster.Config.Kill).
func (n *node) obeyKill(k *wire.Kill, done func(count int)) bool {
	var rule uint32
	if _, err := fmt.Sscanf(string(k.Selector), "rule=%d", &rule); err != nil {
		return false
	}
	kill := n.table.Kill(func(c *conntrack.Class) bool { return c.Rule == rule }, k.Before)
	n.world.law.killed(n, rule, k.Before)
	w, life := n.world, n.life
	w.at(w.now+w.rng.Int64N(3*ms), func() {
		if !n.up || n.life != life {
			return
		}
		n.reap(nil)
		done(n.table.ReapedOf(&kill))
	})
	return true
}

// killOne is `holdfast kill` of one connection by its address: the peers are told of it by
// a delete, and then that there was a kill.
func (n *node) killOne(original packet.Tuple) {
	now := n.local()
	if !n.lease.Held(now) {
		return
	}
	before := n.table.Latest()
	choice := conntrack.Choice{Conn: func(v *conntrack.View) bool { return v.Original == original }}
	n.table.KillEach(0, capacity, now, before, &choice)
	n.reap(n.shared)
	n.cluster.Kill(&wire.Kill{Before: before, Kind: wire.KillTold})
}

// reap takes away what kills have ended; by is where the peers are told of each, or nil.
func (n *node) reap(by *journal.Shared) {
	n.dirty = true
	tell := func(dying []conntrack.Reaped) {
		if by == nil {
			return
		}
		for i := range dying {
			s := &dying[i].State
			if s.Incarnation.Node() != uint16(n.id+1) {
				by.Insert(s)
			}
			by.Delete(s, conntrack.EndKilled)
		}
		by.Flush()
	}
	for from := uint32(0); ; {
		next, count := n.table.Reap(from, 64, n.local(), n.reaped[:], tell)
		for i := range count {
			s := &n.reaped[i].State
			n.pool.Release(n.pool.BindingOf(s.Original, s.Reply))
			n.world.law.ended(n, s)
		}
		if from = next; from == 0 {
			return
		}
	}
}
