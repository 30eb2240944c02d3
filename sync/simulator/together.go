package simulator

import "holdfast/sync/cluster"

// together checks the invariant that elections are for: at most one node forwards. The written
// rule admits one window where there is no witness: two nodes between which every path is
// cut, or loses what goes by it, may both serve, until they hear each other again. So two nodes
// that forward at one instant break the invariant, unless every path between them was faulty
// a moment ago, or one of them was not there to hear.
func (l *law) together(w *World) {
	for i, a := range w.nodes {
		for _, b := range w.nodes[i+1:] {
			if !a.forwards() || !b.forwards() {
				continue
			}
			l.split = true
			if w.shape.Alone == cluster.AloneWitness {
				w.broken("INV1", "nodes %d and %d both forward, although votes decide", a.id+1, b.id+1)
				return
			}
			if w.crossed(a, b) {
				l.crossings = true
				continue
			}
			if a.listens() && b.listens() && l.met(w, a, b) {
				for path := range w.ways() {
					if w.whole(path, a.id, b.id, w.hearing()) {
						w.broken("INV1", "nodes %d and %d both forward, although path %d between them is whole", a.id+1, b.id+1, path)
						return
					}
				}
			}
		}
	}
}

// crossing is how long two claims may stand beside each other that were made before either
// could be heard: two that stand by, each of which has heard last that the other yields or is
// not ready, may claim within one way of a datagram. The higher claim is obeyed when it comes.
const crossing = 2 * ms

// crossed reports whether the claims of two nodes have just crossed on the way.
func (w *World) crossed(a, b *node) bool {
	first, last := min(a.claimed, b.claimed), max(a.claimed, b.claimed)
	return last-first < crossing && w.now-last < crossing
}

// leap is one of a node's clock: at virtual ns, by ns of its clock.
type leap struct{ at, by int64 }

// leaptSince returns how far the node's clock has leapt since an instant.
func (n *node) leaptSince(at int64) (by int64) {
	for _, l := range n.leaps {
		if l.at >= at {
			by += l.by
		}
	}
	return by
}

// leaptOften reports whether the node's clock has leapt more than once since an instant: of
// several leaps each may be too small to be noticed, but not their sum.
func (n *node) leaptOften(at int64) bool {
	var leaps int
	for _, l := range n.leaps {
		if l.at >= at {
			leaps++
		}
	}
	return leaps > 1
}

// hearing is how long it takes at most until a claim is heard and obeyed by a path that is
// whole: two turns until the heartbeat, the way, and a moment of the control goroutine. A node
// whose peer may have fallen silent just before needs DeadAfter in addition.
func (w *World) hearing() int64 {
	return w.shape.Timing.DeadAfter + 3*w.shape.Timing.Heartbeat + 5*ms
}

// forwards reports whether a packet would leave the node now.
func (n *node) forwards() bool {
	return n.up && n.world.now >= n.paused && n.lease.Held(n.local())
}

// listens reports whether the node has been there for long enough to have heard what came.
func (n *node) listens() bool {
	w := n.world
	return w.now-n.woke >= w.hearing() && w.now-n.born >= w.hearing()
}

// acquaintance says which lives of two nodes a beat has passed between.
type acquaintance struct {
	from, to int   // lives
	since    int64 // virtual ns
}

func (l *law) meet(w *World, from, to int) {
	now := acquaintance{w.nodes[from].life, w.nodes[to].life, w.now}
	if a := &l.lives[from][to]; a.from != now.from || a.to != now.to {
		*a = now
	}
}

// met reports whether the present lives of two nodes have known each other for long enough:
// before that they may have no session, and a path carries nothing that they could believe.
func (l *law) met(w *World, a, b *node) bool {
	know := func(from, to *node) bool {
		k := l.lives[from.id][to.id]
		return k.from == from.life && k.to == to.life && w.now-k.since >= w.hearing()
	}
	return know(a, b) && know(b, a)
}
