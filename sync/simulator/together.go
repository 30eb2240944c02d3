package simulator

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
			if a.listens() && b.listens() && l.met(a, b) {
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

// met reports whether the present lives of two nodes have heard each other: before that
// they may have no session, and a path carries nothing that they could believe.
func (l *law) met(a, b *node) bool {
	return l.lives[a.id][b.id] == [2]int{a.life, b.life} && l.lives[b.id][a.id] == [2]int{b.life, a.life}
}
