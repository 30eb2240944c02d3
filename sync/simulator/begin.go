package simulator

import "fmt"

// begin carries out a step, and plans its end where it lasts.
func (w *World) begin(x Step) {
	w.say("step %v", x)
	switch {
	case x.Action <= KillOne:
		w.beginWork(x)
	case x.Action >= Secede && x.Action <= Forget:
		w.beginThird(x)
	case x.Action >= Lose && x.Action <= Cut:
		w.beginLink(x)
	default:
		w.beginNode(x)
	}
}

// beginWork is what users and operators do.
func (w *World) beginWork(x Step) {
	f := w.flows[x.Flow]
	switch x.Action {
	case Open:
		f.open()
	case Exchange:
		f.exchange(x.Amount)
	case Close:
		f.close()
	case Reset:
		f.reset()
	case KillRule:
		w.awake(func(n *node) { n.killRule(uint32(x.Amount)) })
	case KillOne:
		w.awake(func(n *node) { n.killOne(f.original) })
	}
}

// awake calls each with every node that runs.
func (w *World) awake(each func(*node)) {
	for _, n := range w.nodes {
		if n.up && w.now >= n.paused {
			each(n)
		}
	}
}

// beginLink puts a fault of a link in force until its time is over.
func (w *World) beginLink(x Step) {
	l := w.link(x.Node, x.Peer)
	if x.Action == Cut {
		l = w.way(x.Amount, x.Node, x.Peer)
		l.cut(1)
		w.at(x.Until, func() { l.cut(-1) })
		return
	}
	l.amount[x.Action] = max(l.amount[x.Action], x.Amount)
	w.at(x.Until, func() {
		l.amount[x.Action] = 0
		l.mended = w.now
		if x.Action == Burst {
			l.losing = 0
		}
	})
}

// beginNode is what happens to a node.
func (w *World) beginNode(x Step) {
	n := w.nodes[x.Node]
	switch x.Action {
	case Part:
		w.part(x.Node, 1)
		w.at(x.Until, func() { w.part(x.Node, -1) })
		return
	case Sever:
		w.sever(x.Node, x.Peer, 1)
		w.at(x.Until, func() { w.sever(x.Node, x.Peer, -1) })
		return
	case Ail:
		n.ail(x.Amount)
		w.at(x.Until, func() { n.ail(0) })
		return
	case Leap:
		n.leapt += int64(x.Amount) * ms
		n.leaps = append(n.leaps, leap{w.now, int64(x.Amount) * ms})
		w.law.leapt = w.law.leapt || n.leapt > 400*ms
		n.woke = w.now
		return
	}
	if !n.up || w.now < n.paused {
		return
	}
	switch x.Action {
	case Promote:
		// It may refuse, and says why: that is an operator's answer, no fault.
		_ = n.cluster.Promote(false)
	case Demote:
		_ = n.cluster.Demote()
	case Pause:
		n.pause(x.Until)
	case Hiccup:
		n.stall = int64(x.Amount) * ms
	case Jam:
		n.jammed = x.Until
	case Leave, Crash:
		if x.Action == Leave {
			n.cluster.Leave()
		}
		n.crash()
		w.at(x.Until, func() {
			if err := n.start(); err != nil {
				w.broken("world", "%v", fmt.Errorf("restart: %w", err))
			}
		})
	}
}

// part cuts a node off in both directions, or ends that.
func (w *World) part(id, by int) {
	for i := range w.nodes {
		if i != id {
			for path := range w.ways() {
				w.way(path, id, i).cut(by)
				w.way(path, i, id).cut(by)
			}
		}
	}
}
