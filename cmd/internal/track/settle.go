package track

// settle keeps what bounces from counting: a state must have stayed for a while. It is a pure
// machine; times are ns. The zero value is up and changes at once.
type settle struct {
	downAfter, upAfter int64

	known bool // something was told
	wasUp bool // it has been up
	down  bool // what counts
	next  bool // what was told last: down
	since int64
}

// tell takes in a state at now. Until it has been up every state counts at once: a link that
// comes up as the node starts is not one that bounces.
func (s *settle) tell(down bool, now int64) {
	s.known = true
	if !s.wasUp {
		s.down, s.next, s.wasUp = down, down, !down
		return
	}
	if s.next != down {
		s.next, s.since = down, now
	}
}

// due returns when the state that was told last counts, if it is told no other; 0: it does.
func (s *settle) due() int64 {
	if s.next == s.down {
		return 0
	}
	if s.next {
		return s.since + s.downAfter
	}
	return s.since + s.upAfter
}

// tick lets time pass, and reports whether another state counts now.
func (s *settle) tick(now int64) (changed bool) {
	if s.next == s.down || now < s.due() {
		return false
	}
	s.down = s.next
	return true
}

// held is how long a target that was dead when this node gave its role up is held to be dead.
// Pure; times are ns.
type held struct {
	hold  int64 // the least
	last  int64 // what it was held last; 0: none yet, or all is forgotten
	alive int64 // since when it has answered; 0: it does not
	until int64 // it is held; 0: it is not
}

// heldMost is how many times the least a target may be held.
const heldMost = 32

// answers takes in that the target is alive.
func (h *held) answers(now int64) {
	if h.alive == 0 {
		h.alive = now
	}
	if now-h.alive >= h.last {
		h.last = 0
	}
}

// fails takes in that the target is dead.
func (h *held) fails() { h.alive = 0 }

// begin begins a hold: the target was dead as this node gave its role up.
func (h *held) begin(now int64) {
	h.last = min(max(h.hold, 2*h.last), heldMost*h.hold)
	h.until = now + h.last
}

// end ends a hold that is over.
func (h *held) end(now int64) (ended bool) {
	if h.until == 0 || now < h.until {
		return false
	}
	h.until = 0
	return true
}
