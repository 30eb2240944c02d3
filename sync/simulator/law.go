package simulator

import (
	"fmt"
	"strings"

	"holdfast/dataplane/gate"
	"holdfast/sync/cluster"
)

// law is what must hold of all nodes together: who may serve. What must hold of each table
// is in tables.go, of the datagrams in records.go, at the end in calm.go.
type law struct {
	delivered [][]int64 // [from][to]: when a claim was last taken in, virtual ns
	over      map[life]bool
	lives     [][]acquaintance // [from][to]

	promotions int
	passed     int
	leapt      bool // a clock has leapt over the time that a connection lives
	split      bool // two nodes have held a lease at once
	crossings  bool // two claims have crossed on the way
	compared   bool
}

// right is what was seen of a node's right to speak.
type right struct {
	lapsed bool // not held since the last promotion
}

func (l *law) begin(w *World) {
	l.over = map[life]bool{}
	for range w.shape.Nodes {
		row := make([]int64, w.shape.Nodes)
		for i := range row {
			row[i] = -second
		}
		l.delivered = append(l.delivered, row)
		l.lives = append(l.lives, make([]acquaintance, w.shape.Nodes))
	}
}

// beat notes that a node has taken in a beat of another. One that claims the role counts
// until one that gives it up: that it was claimed again since cannot be known.
func (l *law) beat(w *World, from, to int, b cluster.Beat) {
	l.meet(w, from, to)
	l.delivered[from][to] = -second
	if b.Role == gate.Active {
		l.delivered[from][to] = w.now
	}
}

// hold checks what must hold after every event.
func (l *law) hold(w *World) {
	for _, n := range w.nodes {
		if !n.up {
			continue
		}
		if n.dirty {
			n.look()
		}
		if !n.lease.Held(n.local()) {
			n.right.lapsed = true
			continue
		}
		if n.right.lapsed {
			w.broken("INV1", "node %d holds a lease that had lapsed, without a promotion", n.id+1)
		}
		if w.now >= n.paused && n.role == gate.Active {
			l.yields(w, n)
		}
	}
	l.together(w)
}

// yields checks that a node that serves has heard of no higher claim.
func (l *law) yields(w *World, n *node) {
	own := n.cluster.Claim()
	n.peers(func(i int, peer *node) {
		b, at := n.cluster.Heard(i)
		if at == 0 || b.Role != gate.Active || n.obeys > 0 {
			return
		}
		if b.Term > own.Term || b.Term == own.Term && b.Node < own.Node {
			w.broken("INV1", "node %d serves in term %d although it has heard node %d claim term %d",
				n.id+1, own.Term, peer.id+1, b.Term)
		}
	})
}

// promoted checks that a node had reason to take the role: whoever still serves has not
// been heard for as long as it takes to count as dead, and no ready node went before.
func (l *law) promoted(w *World, n *node) {
	l.promotions++
	n.right.lapsed = false
	timing := w.shape.Timing
	silence := timing.DeadAfter - timing.DeadAfter/500 // clocks drift apart
	lease := timing.Lease - timing.Lease/500
	ready, _ := n.cluster.Ready()
	n.peers(func(i int, peer *node) {
		heard := w.now - l.delivered[peer.id][n.id]
		// By the clock that it goes by, which may have leapt. A leap shortens the silence by what
		// is not noticed, and never below a lease: the rule of sync/README.md.
		shown := heard + n.leaptSince(l.delivered[peer.id][n.id])
		patient := shown >= silence && (heard >= lease || n.leaptOften(l.delivered[peer.id][n.id]))
		// Who stood still has missed beats through its own fault, and gives two more the
		// chance to come, and a lease to end.
		if awake := w.now - n.woke; awake < 2*timing.DeadAfter {
			patient = patient || min(heard, awake) >= max(lease, 2*timing.Heartbeat-timing.Heartbeat/100)
		}
		if peer.up && peer.lease.Held(peer.local()) && !patient {
			w.broken("INV1", "node %d takes the role while node %d serves and was heard %.3f ms ago",
				n.id+1, peer.id+1, float64(heard)/1e6)
		}
		b, at := n.cluster.Heard(i)
		if silent := n.local() - at; !ready && at != 0 && b.Ready && peer.up && silent < timing.DeadAfter/2 {
			w.broken("INV9", "node %d takes the role unready, although node %d is ready and was heard %.3f ms ago",
				n.id+1, peer.id+1, float64(silent)/1e6)
		}
	})
}

// alive checks what must come about once the faults have stopped. It returns nil when all
// of it has.
func (l *law) alive(w *World) *Broken {
	verdict := func(invariant, format string, args ...any) *Broken {
		return &Broken{Invariant: invariant, What: fmt.Sprintf(format, args...)}
	}
	var serving []int
	for _, n := range w.nodes {
		if !n.up {
			return verdict("LIV1", "node %d is down", n.id+1)
		}
		if n.lease.Held(n.local()) {
			serving = append(serving, n.id+1)
		}
		ready, why := n.cluster.Ready()
		if !ready {
			return verdict("LIV2", "node %d is not ready: %s", n.id+1, why)
		}
		for _, p := range n.cluster.Status(n.local()).Peers {
			if p.Session != "established" || p.Behind != 0 || p.Unconfirmed != 0 {
				return verdict("LIV3", "node %d and %s: session %s, %d batches behind, %d unconfirmed",
					n.id+1, p.Name, p.Session, p.Behind, p.Unconfirmed)
			}
		}
	}
	if len(serving) != 1 {
		return verdict("LIV1", "nodes %v serve: %s", serving, w.claims())
	}
	for _, n := range w.nodes {
		if err := n.counts(); err != "" {
			w.broken("INV13", "node %d: %s", n.id+1, err)
		}
	}
	if l.leapt {
		return nil // a clock that leapt has ended connections that others keep
	}
	if what := w.differences(); what != "" {
		return verdict("LIV2", "%s", what)
	}
	l.compared = true
	return nil
}

// claims says what every node says of itself.
func (w *World) claims() string {
	var all []string
	for _, n := range w.nodes {
		var b cluster.Beat = n.cluster.Claim()
		all = append(all, fmt.Sprintf("node %d is %v in term %d, ready %v", n.id+1, b.Role, b.Term, b.Ready))
	}
	return strings.Join(all, ", ")
}
