package smallscope

import (
	"fmt"

	"holdfast/sync/cluster"
)

// Roles is a scope of the election: who may serve. Its machines are cluster.Election and
// gate.Lease; seat.go drives them in the order in which cluster.Node does. Time passes in
// units. In one of them a node has one part: it hears what has come, and takes one turn. What
// it sends is heard in the next unit at the earliest, so the parts of one unit know nothing of
// each other, and their order makes no difference: only one is searched. A beat that a later
// one has overtaken counts for nothing in a node, so here it is gone.
//
//	unit   7                    | 8                    | 9
//	node 1 hear, hear, turn --+ | crash                | restart
//	node 2 hear, turn         +-> hear, turn           | stand still
type Roles struct {
	Nodes  int
	Timing cluster.Timing // in units
	Alone  cluster.Alone
	Units  int64 // of time, at most

	Late    int64 // units that a beat may be on its way
	Losses  int   // beats that are lost or overtaken
	Stalls  int   // units that a node stands still
	Pauses  int   // of a node in the middle of a heartbeat
	Crashes int   // with loss of memory, or orderly ends
	Cuts    int   // of one direction of a link, or mendings of it
	Orders  int   // promote and demote
	Forced  int   // promote --force
	Faults  int   // that come to a node, or go
}

// unit is how long a unit of time is, in ns: everything that the election divides stays whole.
const unit = 8

// The steps of an election, each of the node whose part it is. The first ones end its part.
const (
	actTurn  uint8 = iota
	actPause       // a turn, but for its end: the lease is extended by actWake
	actWake
	actStand // still, or stay down
	actRestart

	actHear
	actCrash
	actLeave
	actReady
	actPromote
	actDemote
	actForce
	actFault
	actCut
)

// mail is a beat on its way.
type mail struct {
	beat cluster.Beat
	sent int64
}

// mailMax is how many beats of one node to another are on their way at most.
const mailMax = 2

// roles is a run of Roles.
type roles struct {
	scope Roles
	left  Roles // what may still go wrong
	now   int64
	part  int  // whose part it is
	begun bool // it has heard something
	seats []*seat
	mail  [][][]mail // [from][to], the oldest first
	cut   [][]bool
	err   error
	how   *plan
}

// Scope returns it for Search.
func (r Roles) Scope(name string, depth int) Scope {
	what := fmt.Sprintf("election of %d nodes: %d units of time, beats of up to %d units, %d lost, %d units stood still, %d pauses in a beat, %d crashes, %d cuts, %d orders, %d forced, %d faults",
		r.Nodes, r.Units, r.Late, r.Losses, r.Stalls, r.Pauses, r.Crashes, r.Cuts, r.Orders, r.Forced, r.Faults)
	r.Timing = cluster.Timing{
		Heartbeat: r.Timing.Heartbeat * unit, Lease: r.Timing.Lease * unit,
		DeadAfter: r.Timing.DeadAfter * unit, AloneAfter: r.Timing.AloneAfter * unit, PreemptAfter: r.Timing.PreemptAfter * unit,
	}
	how := newPlan(manners{
		"Election": {
			"timing": idle, "alone": idle, "priority": idle, "history": idle, "stalls": idle, "pending": idle,
			"started": absolute, "ticked": absolute, "noActive": absolute, "holdUntil": absolute, "wantUntil": absolute, "ahead": absolute,
		},
		"damping": {"until": absolute},
		"member":  {"heard": absolute},
	})
	return Scope{Name: name, What: what, Depth: depth, New: func() World { return newRoles(r, how) }}
}

func newRoles(r Roles, how *plan) *roles {
	w := &roles{scope: r, left: r, now: 1000 * unit, how: how}
	for i := range r.Nodes {
		w.seats = append(w.seats, &seat{world: w, id: i})
		w.mail = append(w.mail, make([][]mail, r.Nodes))
		w.cut = append(w.cut, make([]bool, r.Nodes))
	}
	for _, s := range w.seats {
		s.start(true)
	}
	return w
}

// Close is part of World.
func (w *roles) Close() {}

// Steps is part of World.
func (w *roles) Steps(dst []Step) []Step {
	if w.left.Units == 0 {
		return dst
	}
	dst = w.seats[w.part].steps(dst)
	if w.part > 0 || w.begun {
		return dst
	}
	for from := range w.cut {
		for to, cut := range w.cut[from] {
			if from != to && (w.left.Cuts > 0 || cut) {
				dst = append(dst, Step{actCut, uint8(from), uint8(to)})
			}
		}
	}
	return dst
}

// Take is part of World.
func (w *roles) Take(s Step) error {
	w.err = nil
	switch s.Act {
	case actHear:
		from := int(s.A)
		m := w.mail[from][w.part][s.B]
		w.left.Losses -= int(s.B)
		w.mail[from][w.part] = w.mail[from][w.part][s.B+1:]
		w.begun = true
		w.seats[w.part].hear(from, m.beat)
	case actCut:
		w.toggle(int(s.A), int(s.B))
	default:
		w.seats[w.part].take(s.Act)
		if s.Act <= actRestart {
			w.next()
		}
	}
	for _, s := range w.seats {
		s.watch()
	}
	return w.err
}

func (w *roles) toggle(from, to int) {
	w.cut[from][to] = !w.cut[from][to]
	if w.cut[from][to] {
		w.left.Cuts--
	}
}

// due returns how many of the beats that a node has not heard must be heard in this unit, or
// be lost. What lies in the socket of one that stands still is not lost.
func (w *roles) due(to int) (n int) {
	for from := range w.mail {
		for _, m := range w.mail[from][to] {
			if w.now-m.sent >= w.scope.Late*unit {
				n++
			}
		}
	}
	return n
}

// lose loses them.
func (w *roles) lose(to int) {
	for from := range w.mail {
		waiting := w.mail[from][to]
		for len(waiting) > 0 && w.now-waiting[0].sent >= w.scope.Late*unit {
			waiting = waiting[1:]
			w.left.Losses--
		}
		w.mail[from][to] = waiting
	}
}

// next goes on with the part of the next node, and with the next unit after the last.
func (w *roles) next() {
	w.begun = false
	if w.part++; w.part < len(w.seats) {
		return
	}
	w.part = 0
	w.left.Units--
	w.now += unit
}

// send puts a beat on its way to every other node. Nobody listens where none runs, and the
// kernel there says so.
func (w *roles) send(from int, b cluster.Beat) {
	for to, s := range w.seats {
		switch {
		case to == from || w.cut[from][to]:
		case !s.up:
			w.seats[from].refused[to]++
		default:
			waiting := w.mail[from][to]
			if len(waiting) == mailMax {
				waiting = append(waiting[:0], waiting[1:]...)
			}
			w.mail[from][to] = append(waiting, mail{b, w.now})
		}
	}
}

// law notes that one does not hold.
func (w *roles) law(name, format string, args ...any) {
	if w.err == nil {
		w.err = broken(name, format, args...)
	}
}

// Fingerprint is part of World.
func (w *roles) Fingerprint() uint64 {
	p := print{now: w.now, old: w.scope.Timing.AloneAfter + w.scope.Timing.PreemptAfter + w.scope.Timing.DeadAfter}
	l := &w.left
	for _, n := range []int{int(l.Units), l.Losses, l.Stalls, l.Pauses, l.Crashes, l.Cuts, l.Orders, l.Forced, l.Faults} {
		p.number(n)
	}
	p.number(w.part)
	p.flag(w.begun)
	for i, s := range w.seats {
		s.print(&p, w.how)
		for to := range w.seats {
			p.flag(w.cut[i][to])
			p.number(len(w.mail[i][to]))
			for k := range w.mail[i][to] {
				m := &w.mail[i][to][k]
				p.of(w.how, &m.beat)
				p.time(m.sent)
			}
		}
	}
	return p.sum
}

// Settle is part of World: in the end exactly one node serves, and every other knows it. What
// is broken in a node stays so.
func (w *roles) Settle() error {
	for i, s := range w.seats {
		clear(w.cut[i])
		if s.resuming {
			s.take(actWake)
		}
		if !s.up {
			s.start(false)
		}
	}
	// Until nothing changes any more but the time, and at the longest until an operator's wish
	// has ended, who yields has waited, and whoever is alone has too. A beat is due in every
	// unit, or in every second one.
	t := &w.scope.Timing
	var last [2]uint64
	for until := w.now + 16*t.DeadAfter + t.AloneAfter + t.PreemptAfter; w.now < until; {
		if w.round(); w.err != nil {
			return w.err
		}
		w.left.Units = 0
		now := w.Fingerprint()
		if now == last[0] {
			break
		}
		last = [2]uint64{last[1], now}
	}
	serving := w.serving()
	if len(serving) != 1 {
		return broken("LIV1", "nodes %v serve", serving)
	}
	for _, s := range w.seats {
		if n, known := s.election.Active(w.now); !known || int(n) != serving[0] {
			return broken("LIV1", "node %d serves, and node %d takes node %d for it", serving[0], s.id+1, n)
		}
	}
	return nil
}

// round is a unit of time without faults, or the rest of one.
func (w *roles) round() {
	for first := true; w.part > 0 || first; first = false {
		s := w.seats[w.part]
		s.ready = true
		for from := range w.mail {
			waiting := w.mail[from][w.part]
			for len(waiting) > 0 && waiting[0].sent < w.now {
				s.hear(from, waiting[0].beat)
				waiting = waiting[1:]
			}
			w.mail[from][w.part] = waiting
		}
		s.take(actTurn)
		w.next()
		for _, s := range w.seats {
			s.watch()
		}
	}
}

// serving returns the numbers of the nodes that may transmit now.
func (w *roles) serving() (nodes []int) {
	for _, s := range w.seats {
		if s.serves() {
			nodes = append(nodes, s.id+1)
		}
	}
	return nodes
}

// Say is part of World.
func (w *roles) Say(s Step) string {
	node := w.part + 1
	switch s.Act {
	case actHear:
		b := w.mail[s.A][w.part][s.B].beat
		return fmt.Sprintf("unit %d: node %d hears node %d: %v in term %d, ready %v, wants %v, yields %v",
			w.now/unit, node, s.A+1, b.Role, b.Term, b.Ready, b.Wants, b.Yields)
	case actCut:
		return fmt.Sprintf("unit %d: the link from node %d to node %d is cut: %v", w.now/unit, s.A+1, s.B+1, !w.cut[s.A][s.B])
	}
	return fmt.Sprintf("unit %d: node %d %s%s", w.now/unit, node, [...]string{
		actTurn: "takes its turn", actPause: "takes its turn, and stands still before it extends its lease", actWake: "goes on, and extends its lease",
		actStand: "does nothing", actCrash: "crashes", actLeave: "ends in order", actRestart: "starts with nothing in memory", actReady: "is ready now",
		actPromote: "is asked to take the role", actDemote: "is asked to hand the role over", actForce: "is forced to take the role", actFault: "gets a fault, or is rid of it",
	}[s.Act], w.seats[w.part].state())
}
