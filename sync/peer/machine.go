package peer

import "holdfast/internal/mutant"

import "fmt"

// LanesMax bounds the lanes of one peer: 63 workers and the control lane.
const LanesMax = 64

// sequenceMax bounds batch numbers, so that sums of them cannot overflow: at a million
// batches per second it lasts for 292 years.
const sequenceMax = 1 << 53

// Phase is where the conversation with a peer stands.
type Phase uint8

const (
	// Probe: no hello yet.
	Probe Phase = iota
	// Stream: batches are taken in order.
	Stream
)

// String returns the word that `holdfast status` prints.
func (p Phase) String() string {
	if p == Stream {
		return "stream"
	}
	return "probe"
}

// Range names the batches First to Last of a lane, both included.
type Range struct {
	Lane        uint16
	First, Last uint64
}

// Deliver takes one batch of a lane, in order. It must not keep body.
type Deliver func(lane uint16, body []byte)

// Machine follows one peer. Make it with New.
type Machine struct {
	deliver Deliver
	phase   Phase
	boot    uint64
	lanes   []lane
	partial bool  // the peer's table holds more than its lanes have told
	whole   bool  // and it has come by another way once, in this life of the peer
	retry   int64 // ns between two requests for the same gap

	// Counters of what came, for status.
	Delivered, Duplicate, Early, Shed uint64
}

// New returns a machine in Probe. retry is the time between two requests for the same
// gap, in nanoseconds: about a round trip.
func New(deliver Deliver, retry int64) *Machine {
	return &Machine{deliver: deliver, retry: retry}
}

// Hello begins, or begins anew, the streams of a peer's life: boot names the life,
// last the number of the last batch that each lane has sent. A hello of the life that
// is followed already only updates what is known to be sent.
func (m *Machine) Hello(boot uint64, last []uint64) error {
	if len(last) == 0 || len(last) > LanesMax {
		return fmt.Errorf("peer announces %d lanes, want 1 to %d", len(last), LanesMax)
	}
	if m.phase != Stream || m.boot != boot || len(m.lanes) != len(last) {
		m.phase, m.boot, m.partial, m.whole = Stream, boot, false, false
		m.lanes = make([]lane, len(last))
		for i := range m.lanes {
			m.lanes[i] = lane{next: 1, hello: last[i]}
		}
	}
	m.Sent(last)
	return nil
}

// Partial tells that the peer's table holds connections that its lanes have never told
// of: those of a life before, its own or another node's. A peer says so with every hello;
// what has been Repaired since stays so.
func (m *Machine) Partial() { m.partial = !m.whole }

// Lacks reports whether the lanes alone cannot give this node what the peer's table holds.
func (m *Machine) Lacks() bool {
	lacks := m.partial
	for i := range m.lanes {
		lacks = lacks || m.lanes[i].lost
	}
	return lacks
}

// Repaired tells that what the lanes could not give has come by another way.
func (m *Machine) Repaired() {
	m.partial, m.whole = false, true
	for i := range m.lanes {
		m.lanes[i].lost = false
	}
}

// Next returns the number of the batch of a lane that is delivered next, or right now.
func (m *Machine) Next(laneID uint16) uint64 { return m.lanes[laneID].next }

// Phase returns where the conversation stands.
func (m *Machine) Phase() Phase { return m.phase }

// Boot returns the life of the peer that is followed; valid in Stream.
func (m *Machine) Boot() uint64 { return m.boot }

// Sent learns from a beat what each lane has sent, so that a lost last batch is missed too.
func (m *Machine) Sent(last []uint64) {
	for i := range min(len(last), len(m.lanes)) {
		m.lanes[i].known = max(m.lanes[i].known, min(last[i], sequenceMax))
	}
}

// Batch takes in batch seq of a lane and delivers whatever is in order now.
func (m *Machine) Batch(laneID uint16, seq uint64, body []byte) error {
	if m.phase != Stream {
		return fmt.Errorf("lane %d: batch before hello", laneID)
	}
	if int(laneID) >= len(m.lanes) || seq == 0 || seq > sequenceMax {
		return fmt.Errorf("lane %d batch %d: no such lane or number", laneID, seq)
	}
	l := &m.lanes[laneID]
	l.known = max(l.known, seq)
	switch {
	case seq < l.next:
		m.Duplicate++
		return nil
	case seq > l.next && !mutant.GapSkipped:
		if l.hold(seq, body) {
			m.Early++
		} else {
			m.Shed++ // too far ahead: asked for again when its turn is near
		}
		return nil
	}
	m.hand(laneID, l, body)
	m.handHeld(laneID, l)
	return nil
}

func (m *Machine) hand(laneID uint16, l *lane, body []byte) {
	m.deliver(laneID, body)
	m.Delivered++
	l.next++
}

// handHeld delivers the held batches whose turn has come.
func (m *Machine) handHeld(laneID uint16, l *lane) {
	for body, ok := l.take(); ok; body, ok = l.take() {
		m.hand(laneID, l, body)
	}
}

// Lost tells that the peer has no batch of the lane before first any more: the table
// of this node may lack connections, and says so by not being Complete.
func (m *Machine) Lost(laneID uint16, first uint64) {
	if m.phase != Stream || int(laneID) >= len(m.lanes) || first > sequenceMax {
		return
	}
	l := &m.lanes[laneID]
	if first <= l.next {
		return // an old answer: the gap was filled meanwhile
	}
	l.lost = !mutant.LossHidden
	l.next = first
	m.handHeld(laneID, l)
	l.drop()
}

// Nacks appends to out what is missing and due to be asked for at now (ns).
func (m *Machine) Nacks(now int64, out []Range) []Range {
	for i := range m.lanes {
		l := &m.lanes[i]
		if l.next > l.known {
			l.asked = 0
			continue
		}
		if l.asked != 0 && l.next <= l.askedTo && l.next != l.askedFor {
			// What was asked for is coming in: asking for the rest at every batch of it would
			// bring it many times.
			l.asked, l.askedFor = now, l.next
		}
		if l.asked != 0 && (now-l.asked < m.retry || mutant.GapAskedForOnce) && l.next <= l.askedTo {
			continue
		}
		if l.asked == 0 && now != 0 && l.next == l.known && l.firstMiss != l.next {
			// The newest batch alone is missing: it may simply be on its way.
			l.firstMiss = l.next
			l.asked, l.askedFor, l.askedTo = now, l.next, l.next
			continue
		}
		l.asked, l.askedFor, l.askedTo = now, l.next, l.gapEnd()
		out = append(out, Range{Lane: uint16(i), First: l.next, Last: l.askedTo})
	}
	return out
}

// Acks writes into out the number of the last batch delivered of each lane, and
// returns how many lanes there are.
func (m *Machine) Acks(out []uint64) int {
	n := min(len(out), len(m.lanes))
	for i := range n {
		if out[i] = m.lanes[i].next - 1; mutant.AckBeforeApply {
			out[i] = m.lanes[i].known
		}
	}
	return n
}

// Complete reports whether every batch of the peer's life up to its hello has been
// delivered and none was lost since; otherwise why says what is missing.
func (m *Machine) Complete() (ok bool, why string) {
	if m.phase != Stream {
		return false, "no hello yet"
	}
	if m.partial {
		return false, "the peer's table holds more than its lanes have told"
	}
	for i := range m.lanes {
		l := &m.lanes[i]
		if l.lost {
			return false, fmt.Sprintf("lane %d: the peer no longer had all batches when this node joined", i)
		}
		if l.next <= l.hello {
			return false, fmt.Sprintf("lane %d: %d batches behind", i, l.hello+1-l.next)
		}
	}
	return true, ""
}

// Behind returns how many batches are known to be sent and not yet delivered.
func (m *Machine) Behind() (n uint64) {
	for i := range m.lanes {
		if l := &m.lanes[i]; l.known >= l.next {
			n += l.known + 1 - l.next
		}
	}
	return n
}
