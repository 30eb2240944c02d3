package peer

// heldMax is how far past the next batch of a lane the machine looks: as many as the
// sender keeps. At 5,000 batches a second that is 0.8 s, time for a batch to be lost
// several times over on a link of 40 ms there and back.
const heldMax = 4096

// askedMax is how many batches of one lane may be asked for and not have come yet: what
// a joiner lacks comes in bursts of 700 KB at most, which a socket's buffer holds.
const askedMax = 512

// rangeMax is how many batches one request names: the sender sends no more for one.
const rangeMax = 256

// lane is one stream of the peer.
// Invariant: a batch with next <= number <= edge is held or missed, and has its slot.
type lane struct {
	span  uint64 // how far past next it looks: heldMax, but in small scopes
	next  uint64 // the batch to deliver next
	edge  uint64 // the newest batch that was held or missed; next-1 where nothing is
	known uint64 // the highest number known to be sent
	hello uint64 // the last batch sent when the peer said hello
	lost  bool   // the peer could not resend something
	short bool   // and what it held has not come by another way: the acknowledgement stands still
	whole uint64 // with short: the last batch before the first that was not resent

	slots []slot // by number % span; nil until something is missed
	fresh list   // missed and not asked for, in the order in which they were missed
	asked list   // asked for, in the order in which they were

	progress int64 // when something that was asked for came last
	backoff  uint8 // doublings of the wait for an answer: nothing came at all
}

// slot is what is known of one batch past those delivered. When the batch was delivered
// the slot still tells when it had been missed, until another takes its place.
type slot struct {
	seq       uint64
	body      []byte // of a held batch
	missed    int64  // when a later one had come, ns
	known     int64  // the same by the driver's clock
	asked     int64  // when it was asked for last, ns
	overtaken int64  // when an answer to a later request came, ns; 0: not yet
	older     uint16 // neighbours in the list that it is in
	newer     uint16
	state     state
	again     bool // it was asked for more than once
}

// state is where a batch stands.
type state uint8

const (
	settled state = iota // not missed, or delivered
	missed               // in lane.fresh
	asked                // in lane.asked
	held
)

// none ends a list.
const none = 1<<16 - 1

// list is a queue of slots, linked by their places in the ring.
type list struct {
	oldest, newest uint16
	count          int
}

func newLane(span, hello uint64) lane {
	return lane{span: span, next: 1, hello: hello, fresh: list{none, none, 0}, asked: list{none, none, 0}}
}

func (l *lane) slot(seq uint64) *slot { return &l.slots[seq%l.span] }

// find returns the slot of a batch, nil if it has none.
func (l *lane) find(seq uint64) *slot {
	if l.slots == nil {
		return nil
	}
	if s := l.slot(seq); s.seq == seq {
		return s
	}
	return nil
}

// push makes a slot the newest of a list.
func (l *lane) push(q *list, s *slot, st state) {
	at := uint16(s.seq % l.span)
	s.state, s.older, s.newer = st, q.newest, none
	if q.newest == none {
		q.oldest = at
	} else {
		l.slots[q.newest].newer = at
	}
	q.newest = at
	q.count++
}

// unlink takes a slot out of the list that it is in.
func (l *lane) unlink(s *slot) {
	q := &l.fresh
	switch s.state {
	case asked:
		q = &l.asked
	case settled, held:
		return
	}
	if s.older == none {
		q.oldest = s.newer
	} else {
		l.slots[s.older].newer = s.newer
	}
	if s.newer == none {
		q.newest = s.older
	} else {
		l.slots[s.newer].older = s.older
	}
	q.count--
	s.state = settled
}

// miss notes at now, known by the driver's clock, that every batch before end was sent: what
// is new of them is missed.
func (l *lane) miss(now, known int64, end uint64) {
	end = min(end, l.next+l.span)
	if l.edge+1 >= end {
		return
	}
	if l.slots == nil {
		l.slots = make([]slot, l.span)
	}
	for l.edge+1 < end {
		l.edge++
		s := l.slot(l.edge)
		*s = slot{seq: l.edge, missed: now, known: known}
		l.push(&l.fresh, s, missed)
	}
}

// answered notes at now that a batch came that had been asked for: an answer to every
// earlier request has been overtaken.
func (l *lane) answered(now int64, s *slot) {
	l.progress, l.backoff = now, 0
	for at := s.older; at != none; at = l.slots[at].older {
		if l.slots[at].overtaken != 0 {
			return // and those before it too
		}
		l.slots[at].overtaken = now
	}
}
