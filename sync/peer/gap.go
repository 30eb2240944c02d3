package peer

import "holdfast/internal/mutant"

// This file asks for what is missing: for each missed batch by itself, when it can no
// longer be taken for late, and again when the answer cannot be.
//
//	a later batch comes      wait: the longest lateness seen         retry: round trip
//	      |--------------------------------|-- request ------------------|-- request
//	   missed (fresh)                    asked             or, sooner, when the answer to a
//	                                                       later request has come and the
//	                                                       answer has had twice the wait since

// Sending says how a batch came.
type Sending uint8

const (
	First Sending = iota // as it was sent first
	Again                // on request
)

// Nacks appends to out what is missing and due to be asked for at now (ns). It is to be called
// after every datagram and at least every stepMax.
func (m *Machine) Nacks(now int64, out []Range) []Range {
	m.clock = now
	now = m.time.at(now)
	wait := m.late.wait(now)
	for i := range m.lanes {
		l := &m.lanes[i]
		if l.next > l.known {
			continue
		}
		l.miss(now, m.clock, l.known+1)
		out = m.askAgain(now, wait, i, out)
		for l.fresh.count > 0 && l.asked.count < askedMax {
			s := &l.slots[l.fresh.oldest]
			if now-s.missed < wait {
				break
			}
			out = m.ask(now, i, s, out)
		}
	}
	return out
}

// askAgain asks again for what has not come of a lane in time. Whoever was overtaken was
// asked for before everybody who was not, so the oldest request is the first to be due.
func (m *Machine) askAgain(now, wait int64, laneID int, out []Range) []Range {
	l := &m.lanes[laneID]
	if mutant.GapAskedForOnce {
		return out
	}
	retry := min(m.trip.retry()<<l.backoff, silenceMax)
	silent := false
	for l.asked.count > 0 {
		s := &l.slots[l.asked.oldest]
		switch {
		case s.overtaken != 0:
			// The request may have been late, and the answer.
			if now-s.overtaken < 2*wait {
				return out
			}
		case now-max(s.asked, l.progress) < retry:
			return out // what is asked for at once comes in by and by
		case !silent && l.backoff < backoffUp:
			silent = true
			l.backoff++
		}
		s.again = true
		out = m.ask(now, laneID, s, out)
	}
	return out
}

// ask moves a slot behind all that were asked for, and appends its batch to out.
func (m *Machine) ask(now int64, laneID int, s *slot, out []Range) []Range {
	l := &m.lanes[laneID]
	l.unlink(s)
	s.asked, s.overtaken = now, 0
	l.push(&l.asked, s, asked)
	m.Asked++
	if n := len(out); n > 0 {
		last := &out[n-1]
		if int(last.Lane) == laneID && last.Last+1 == s.seq && s.seq-last.First < rangeMax {
			last.Last = s.seq
			return out
		}
	}
	return append(out, Range{Lane: uint16(laneID), First: s.seq, Last: s.seq})
}

// learn takes from a batch that has come at now what it says of the link.
func (m *Machine) learn(now int64, l *lane, seq uint64, how Sending) {
	s := l.find(seq)
	switch {
	case s == nil:
	case how == First:
		m.late.saw(now, now-s.missed)
	case s.state == asked:
		if !s.again {
			m.trip.saw(now - s.asked)
		}
		l.answered(now, s)
	}
}

// Wait returns how long a missed batch is waited for before it is asked for, in ns.
func (m *Machine) Wait() int64 { return m.late.wait(m.time.passed) }

// Retry returns how long an answer is waited for, in ns.
func (m *Machine) Retry() int64 { return m.trip.retry() }
