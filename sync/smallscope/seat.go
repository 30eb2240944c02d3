package smallscope

import (
	"fmt"

	"holdfast/dataplane/gate"
	"holdfast/sync/cluster"
)

// seat is where an election sits: a node that does nothing but serve or stand by. Its
// methods take the machines' steps as cluster.Node does (Turn, Obey, beat, Leave).
type seat struct {
	world *roles
	id    int

	up       bool
	election *cluster.Election
	lease    gate.Lease
	beatDue  int64
	ready    bool     // its table is whole
	refused  []uint64 // by node: what the kernel there has said since the last turn
	resuming bool     // it stands still in the middle of a heartbeat,
	reading  int64    // which began with this reading of the clock

	// What the laws need to know of this life.
	turnAt int64          // when it took its turn last
	woke   int64          // when it came back from standing still; 0: never
	held   bool           // its lease ran when it was looked at last
	given  bool           // the lease was granted since, or extended from a reading at which it ran
	forced bool           // the next promotion is an operator's
	term   uint64         // the highest that it has heard of
	said   []cluster.Beat // by node: the last beat
	at     []int64        // and when it came; 0: never
}

// start begins a life.
func (s *seat) start(ready bool) {
	w := s.world
	var peers []uint16
	for i := range w.scope.Nodes {
		if i != s.id {
			peers = append(peers, uint16(i+1))
		}
	}
	*s = seat{
		world: w, id: s.id, up: true, ready: ready,
		election: cluster.NewElection(uint16(s.id+1), int32(100-10*s.id), peers, w.scope.Timing, w.scope.Alone),
		refused:  make([]uint64, w.scope.Nodes), said: make([]cluster.Beat, w.scope.Nodes), at: make([]int64, w.scope.Nodes),
	}
	for i, other := range w.seats {
		if i != s.id && other.up { // what it said in the life before opens no more
			w.mail[s.id][i] = w.mail[s.id][i][:0]
			w.mail[i][s.id] = w.mail[i][s.id][:0]
		}
	}
}

// serves reports whether the node may transmit.
func (s *seat) serves() bool { return s.up && s.lease.Held(s.world.now) }

// steps appends what the node can do.
func (s *seat) steps(dst []Step) []Step {
	w, left := s.world, &s.world.left
	add := func(may bool, act uint8) {
		if may {
			dst = append(dst, Step{Act: act})
		}
	}
	if !s.up {
		add(true, actStand)
		add(true, actRestart)
		return dst
	}
	if !w.begun {
		add(left.Crashes > 0, actCrash)
		add(left.Crashes > 0 && !s.resuming, actLeave)
	}
	add(left.Stalls > 0, actStand)
	if s.resuming {
		add(true, actWake)
		return dst
	}
	due := w.due(s.id)
	add(due <= left.Losses, actTurn)
	add(due <= left.Losses && left.Pauses > 0 && s.serves(), actPause)
	for from := range w.mail {
		for k, m := range w.mail[from][s.id] {
			if m.sent < w.now && k <= left.Losses {
				dst = append(dst, Step{actHear, uint8(from), uint8(k)})
			}
		}
	}
	if w.begun {
		return dst
	}
	active := s.election.Role() == gate.Active
	add(!s.ready, actReady)
	add(left.Orders > 0 && !active && s.ready, actPromote)
	add(left.Orders > 0 && active, actDemote)
	add(left.Forced > 0 && !active, actForce)
	add(left.Faults > 0, actFault)
	return dst
}

// take takes one of them.
func (s *seat) take(act uint8) {
	w := s.world
	switch act {
	case actTurn, actPause:
		if act == actPause {
			w.left.Pauses--
		}
		w.lose(s.id)
		s.turn(act == actPause)
	case actWake:
		s.resuming = false
		s.extend()
	case actStand:
		if s.up {
			w.left.Stalls--
		}
	case actCrash:
		w.left.Crashes--
		s.end()
	case actLeave: // cluster.Node.Leave
		w.left.Crashes--
		s.lease.Revoke()
		s.election.Lapsed(w.now, "this daemon ends")
		b := s.election.Beat()
		b.Ready = false
		w.send(s.id, b)
		s.end()
	case actRestart:
		s.start(false)
	case actReady:
		s.ready = true
	case actPromote:
		w.left.Orders--
		_ = s.election.AskPromote(w.now, false) // refused where it is not ready, as its answer says
	case actDemote:
		w.left.Orders--
		_ = s.election.AskDemote(w.now) // refused where nobody is ready
		s.decide()
	case actForce:
		w.left.Forced--
		s.forced = s.election.AskPromote(w.now, true) == nil
		s.decide()
	case actFault:
		w.left.Faults--
		var h cluster.Health
		if s.election.Health() == h {
			h.Fault = "a port has no carrier"
		}
		s.election.SetHealth(h)
	}
}

// end ends a life. Its sockets are closed.
func (s *seat) end() {
	s.up = false
	s.lease.Revoke()
	for _, other := range s.world.seats {
		other.at[s.id] = 0 // what another life claims is another claim
	}
}

// turn is cluster.Node.Turn: tick, decide, beat.
func (s *seat) turn(pause bool) {
	w := s.world
	t := &w.scope.Timing
	if s.turnAt != 0 && w.now-s.turnAt > t.DeadAfter/2 {
		s.woke = w.now
	}
	s.turnAt = w.now
	s.election.SetReady(s.ready || s.lease.Held(w.now))
	for i, n := range s.refused {
		s.election.Refused(uint16(i+1), n)
	}
	clear(s.refused)
	s.election.Tick(w.now)
	if s.decide() {
		s.beatDue = 0
	}
	if w.now < s.beatDue {
		return
	}
	s.beatDue = w.now + t.Heartbeat - t.Heartbeat/4
	s.reading = w.now
	w.send(s.id, s.election.Beat())
	if pause {
		s.resuming = true
		return
	}
	s.extend()
}

// extend is the second half of cluster.Node.beat: the lease runs from the reading that was
// taken before the beat was sent.
func (s *seat) extend() {
	w := s.world
	if s.election.Role() != gate.Active {
		return
	}
	before := s.lease.Until()
	if s.lease.Extend(s.reading, s.reading+w.scope.Timing.Lease) {
		s.given = s.given || s.reading < before
		return
	}
	s.election.Lapsed(w.now, "not extended in time")
	s.decide()
}

// decide is cluster.Node.decide.
func (s *seat) decide() bool {
	w := s.world
	switch s.election.Decide() {
	case cluster.Promote:
		s.promoted()
		s.lease.Grant(w.now + w.scope.Timing.Lease)
		s.given = true
	case cluster.Demote:
		s.lease.Revoke()
	default:
		return false
	}
	return true
}

// hear takes in a beat (cluster.Node.Obey).
func (s *seat) hear(from int, b cluster.Beat) {
	w := s.world
	own := s.election.Beat()
	s.said[from], s.at[from] = b, w.now
	s.term = max(s.term, b.Term)
	s.election.Step(b, w.now)
	s.decide()
	higher := b.Term > own.Term || b.Term == own.Term && b.Node < own.Node
	if b.Role == gate.Active && own.Role == gate.Active && higher && s.serves() {
		w.law("INV1", "node %d serves in term %d although it has heard node %d claim term %d", s.id+1, own.Term, b.Node, b.Term)
	}
}

// promoted checks that the node has reason to take the role.
func (s *seat) promoted() {
	w := s.world
	t := &w.scope.Timing
	own := s.election.Beat()
	if own.Term <= s.term {
		w.law("TERM", "node %d takes the role in term %d, and has heard of term %d", s.id+1, own.Term, s.term)
	}
	if s.forced {
		s.forced = false
		return
	}
	for i, other := range w.seats {
		if i == s.id || s.at[i] == 0 || !other.up {
			continue
		}
		silent := w.now - s.at[i]
		claimed := s.said[i].Role == gate.Active && other.serves()
		if claimed && silent < t.DeadAfter {
			w.law("INV1", "node %d takes the role while node %d serves and was heard %d units ago", s.id+1, i+1, silent/unit)
		}
		if claimed && s.woke != 0 && w.now-s.woke < 2*t.Heartbeat {
			w.law("INV1", "node %d takes the role while node %d serves, %d units after it has stood still itself", s.id+1, i+1, (w.now-s.woke)/unit)
		}
		b := &s.said[i]
		if own.Priority < 0 && b.Priority >= 0 && b.Ready && !b.Yields && silent < t.DeadAfter {
			w.law("HEALTH", "node %d has a fault and takes the role, although node %d has none and was heard %d units ago", s.id+1, i+1, silent/unit)
		}
		if !s.ready && b.Ready && !b.Yields && silent < t.DeadAfter {
			w.law("INV9", "node %d takes the role unready, although node %d is ready and was heard %d units ago", s.id+1, i+1, silent/unit)
		}
	}
}

// watch checks the right to transmit after every step.
func (s *seat) watch() {
	w := s.world
	held := s.serves()
	if held && !s.held && !s.given {
		w.law("INV1", "node %d holds a lease that had lapsed, without a promotion", s.id+1)
	}
	s.held, s.given = held, false
}

// print adds the node to a fingerprint.
func (s *seat) print(p *print, how *plan) {
	p.flag(s.up)
	if !s.up {
		return
	}
	p.of(how, s.election)
	p.time(s.lease.Until())
	p.time(s.beatDue)
	p.time(s.woke)
	p.time(s.turnAt)
	for _, b := range []bool{s.ready, s.resuming, s.held} {
		p.flag(b)
	}
	if s.resuming {
		p.time(s.reading)
	}
	p.word(s.term)
	for i, n := range s.refused {
		p.word(n)
		p.time(s.at[i])
		if s.at[i] != 0 {
			p.of(how, &s.said[i])
		}
	}
}

// state says in words where the node stands.
func (s *seat) state() string {
	if !s.up {
		return ""
	}
	b := s.election.Beat()
	return fmt.Sprintf(" (%v, term %d, ready %v, sound %v)", b.Role, b.Term, s.ready, b.Sound())
}
