package simulator

import (
	"fmt"
	"slices"

	"holdfast/conntrack"
)

// life is one life of a connection, on all nodes.
type life = conntrack.Incarnation

// view is what was seen of a node's table in this life of the node.
type view struct {
	states []conntrack.State  // by index, when it was last looked at; Incarnation 0: none
	seen   map[life]bool      // all that were ever there
	told   map[batchID][]life // what its lanes have told of for the first time
	acked  [][]uint64         // [link][lane]: as far as the peers' words were checked
	kills  []killed
}

// batchID names a batch of a lane.
type batchID struct {
	lane   int
	number uint64
}

// killed is a kill that the node has carried out.
type killed struct {
	rule   uint32
	before life
}

func newView(w *World) view {
	v := view{seen: map[life]bool{}, told: map[batchID][]life{}}
	for range w.shape.Nodes - 1 {
		v.acked = append(v.acked, make([]uint64, w.shape.Workers))
	}
	return v
}

// ended notes that a life has ended on a node that served.
func (l *law) ended(n *node, s *conntrack.State) {
	if n.lease.Held(n.local()) {
		l.over[s.Incarnation] = true
	}
}

// orphaned notes that the word of what has ended may have gone with a node: what another
// still holds may live on there, for nobody is left who knows better.
func (l *law) orphaned(w *World, gone *node) {
	for _, n := range w.nodes {
		if n == gone || !n.up {
			continue
		}
		n.look()
		for i := range n.view.states {
			delete(l.over, n.view.states[i].Incarnation)
		}
	}
}

// killed notes that a node has carried out a kill.
func (l *law) killed(n *node, rule uint32, before life) {
	n.view.kills = append(n.view.kills, killed{rule, before})
	n.dirty = true
}

// look compares the node's table with what it was.
func (n *node) look() {
	n.dirty = false
	v, w := &n.view, n.world
	var s conntrack.State
	for i := range n.table.High() {
		if int(i) == len(v.states) {
			v.states = append(v.states, conntrack.State{})
		}
		if !n.table.Export(i, n.local(), &s) {
			s = conntrack.State{}
		}
		was := &v.states[i]
		if was.Incarnation != s.Incarnation {
			if was.Incarnation != 0 {
				w.say("node %d: index %d: life %v of %v has gone", n.id+1, i, was.Incarnation, was.Original)
				w.law.ended(n, was) // also where a later life took its place
			}
			if s.Incarnation != 0 {
				n.appeared(&s)
			}
		} else if s.Incarnation != 0 {
			if what := rolledBack(was, &s); what != "" {
				w.broken("INV3", "node %d, flow %v: %s", n.id+1, s.Original, what)
			}
		}
		*was = s
	}
}

// rolledBack says what of a life has gone backwards, "" if nothing has.
func rolledBack(was, is *conntrack.State) string {
	if was.Flags&^is.Flags != 0 {
		return fmt.Sprintf("flags %v became %v", was.Flags, is.Flags)
	}
	for d := range is.Dir {
		a, b := &was.Dir[d], &is.Dir[d]
		fin := (a.Seen ^ b.Seen) & conntrack.SeenFIN // from then on the end is told exactly
		switch {
		case a.Seen&^b.Seen != 0:
			return fmt.Sprintf("%v: the set %x became %x", conntrack.Direction(d), a.Seen, b.Seen)
		case fin == 0 && b.End < a.End:
			return fmt.Sprintf("%v: the end %x became %x", conntrack.Direction(d), a.End, b.End)
		case b.MaxWin < a.MaxWin:
			return fmt.Sprintf("%v: the window %d became %d", conntrack.Direction(d), a.MaxWin, b.MaxWin)
		}
	}
	return ""
}

// appeared checks that a life may be in the node's table.
func (n *node) appeared(s *conntrack.State) {
	v, w := &n.view, n.world
	w.say("node %d: index %d: life %v of %v is there", n.id+1, s.Index, s.Incarnation, s.Original)
	v.seen[s.Incarnation] = true
	for _, k := range v.kills {
		if s.Rule == k.rule && s.Incarnation <= k.before {
			w.broken("INV7", "node %d, flow %v: life %v is here although rule=%d was killed up to %v",
				n.id+1, s.Original, s.Incarnation, k.rule, k.before)
		}
	}
}

// remember notes what a batch tells of for the first time.
func (n *node) remember(lane int, batch uint64, s *conntrack.State, change conntrack.Change) {
	if change == conntrack.ChangeUpdate || s.Sync == conntrack.SyncNone {
		return
	}
	id := batchID{lane, batch}
	n.view.told[id] = append(n.view.told[id], s.Incarnation)
}

// acked checks that what peers say they have is there: from then on it must survive the
// node that told it.
func (l *law) acked(w *World, n *node) {
	n.peers(func(i int, peer *node) {
		for lane := range w.shape.Workers {
			at := &n.view.acked[i][lane]
			confirmed := n.cluster.Confirmed(i, lane)
			// Not where it has said itself that it lacks some, nor where both have served: then
			// a life may have lost against another before it was told.
			if ready := peer.up && peer.ready(); !ready || peer.born > n.born || l.split || l.leapt {
				*at = confirmed
				continue
			}
			if peer.dirty {
				peer.look()
			}
			for ; *at < confirmed; *at++ {
				for _, told := range n.view.told[batchID{lane, *at + 1}] {
					if !peer.view.seen[told] && !l.over[told] && !peer.outrun(told) {
						w.broken("INV5", "node %d says that it has batch %d of lane %d of node %d, but life %v is not there",
							peer.id+1, *at+1, lane, n.id+1, told)
					}
				}
			}
		}
	})
}

// outrun reports whether a life could not be entered because of a kill, or of a greater one.
func (n *node) outrun(l life) bool {
	for _, k := range n.view.kills {
		if l <= k.before {
			return true
		}
	}
	for seen := range n.view.seen {
		if seen > l {
			return true
		}
	}
	return false
}

// counts checks that the node's counters agree with what is there, and returns what does
// not.
func (n *node) counts() string {
	n.look()
	present, classes := 0, 0
	for i := range n.view.states {
		if n.view.states[i].Incarnation != 0 {
			present++
		}
	}
	n.table.Classes(func(_ conntrack.Class, live int) { classes += live })
	if count := n.table.Len(); count != present || classes != present {
		return fmt.Sprintf("%d connections are there, the table counts %d and its classes %d", present, count, classes)
	}
	return ""
}

// differences returns what keeps the tables from being equal in the exported form, "" if
// nothing does. What is never replicated does not count.
func (w *World) differences() string {
	all := make([][]conntrack.State, len(w.nodes))
	for i, n := range w.nodes {
		for _, s := range n.view.states {
			if s.Incarnation == 0 || s.Sync == conntrack.SyncNone {
				continue
			}
			if w.law.over[s.Incarnation] && !w.law.split {
				return fmt.Sprintf("node %d still holds life %v of flow %v, which has ended", n.id+1, s.Incarnation, s.Original)
			}
			s.Index, s.Idle = 0, 0
			all[i] = append(all[i], s)
		}
		slices.SortFunc(all[i], func(a, b conntrack.State) int { return int(int64(a.Incarnation) - int64(b.Incarnation)) })
	}
	for i := 1; i < len(all); i++ {
		if len(all[i]) != len(all[0]) {
			return fmt.Sprintf("node 1 holds %d connections, node %d holds %d", len(all[0]), i+1, len(all[i]))
		}
		for k := range all[i] {
			if all[i][k] != all[0][k] {
				return fmt.Sprintf("node 1 has %+v, node %d has %+v", all[0][k], i+1, all[i][k])
			}
		}
	}
	return ""
}
