package peer

import (
	"fmt"

	"holdfast/internal/mutant"
)

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
	span    uint64 // of its lanes
	phase   Phase
	boot    uint64
	lanes   []lane
	partial bool // the peer's table holds more than its lanes have told
	whole   bool // and it has come by another way once, in this life of the peer
	time    attention
	clock   int64 // the driver's, ns
	known   int64 // by which the batch at hand was known to be sent
	late    lateness
	trip    roundTrip
	free    [][]byte // bodies of held batches, for re-use
	made    int      // bodies there are

	// Counters of what came, for status. Duplicate counts what was sent again and not needed.
	Delivered, Duplicate, Early, Shed uint64
	Asked                             uint64 // batches asked for
	Gone                              uint64 // batches that the peer no longer had
}

// bodiesMax is how many batches that came before their turn are held of all lanes
// together: 11.5 MB at 1,400 bytes each. The slots that say where each stands take
// 256 KiB for every lane that something was ever missing of.
const bodiesMax = 8192

// New returns a machine in Probe. retry is how long an answer to a request is waited
// for, in nanoseconds, before the round trip was measured.
func New(deliver Deliver, retry int64) *Machine { return NewHolding(heldMax, deliver, retry) }

// NewHolding is New with lanes that look so many batches past the next one, heldMax at most.
func NewHolding(batches uint64, deliver Deliver, retry int64) *Machine {
	return &Machine{deliver: deliver, span: batches, trip: roundTrip{first: retry}}
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
		m.free, m.made = nil, 0
		for i := range m.lanes {
			m.lanes[i] = newLane(m.span, last[i])
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
	m.Settled()
}

// Settled tells that this node holds what the one that forwards does, or forwards itself: so
// what the lanes could not give, if it was of account, has come by another way, and the
// acknowledgements go on. That the peer's own table has come is more: see Repaired.
func (m *Machine) Settled() {
	for i := range m.lanes {
		m.lanes[i].short = false
	}
}

// Known returns since when the batch that is delivered right now is known to have been sent, by
// the driver's clock, in ns: what it tells was so by then.
func (m *Machine) Known() int64 { return m.known }

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

// Batch takes in batch seq of a lane, which came at now (ns), and delivers whatever is in
// order now.
func (m *Machine) Batch(now int64, laneID uint16, seq uint64, how Sending, body []byte) error {
	if m.phase != Stream {
		return fmt.Errorf("lane %d: batch before hello", laneID)
	}
	if int(laneID) >= len(m.lanes) || seq == 0 || seq > sequenceMax {
		return fmt.Errorf("lane %d batch %d: no such lane or number", laneID, seq)
	}
	m.clock = now
	now = m.time.at(now)
	l := &m.lanes[laneID]
	l.known = max(l.known, seq)
	l.miss(now, m.clock, seq)
	m.learn(now, l, seq, how)
	if mutant.GapSkipped && seq > l.next {
		l.skip(m, seq)
	}
	switch {
	case seq < l.next:
		m.Duplicate++
	case seq > l.next:
		m.hold(now, l, seq, body)
	default:
		m.known = m.clock
		if s := l.find(seq); s != nil {
			m.known = s.known
			l.unlink(s)
		}
		l.edge = max(l.edge, seq)
		m.hand(laneID, l, body)
		m.handHeld(laneID, l)
	}
	return nil
}

// hold keeps a batch that came before its turn.
func (m *Machine) hold(now int64, l *lane, seq uint64, body []byte) {
	if seq-l.next >= l.span {
		m.Shed++ // too far ahead: asked for when its turn is near
		return
	}
	l.miss(now, m.clock, seq+1)
	s := l.slot(seq)
	if s.state == held {
		m.Duplicate++
		return
	}
	kept := m.body()
	if kept == nil {
		m.Shed++ // it stays missed, or asked for
		return
	}
	l.unlink(s)
	s.state, s.body = held, append(kept, body...)
	m.Early++
}

// body returns room for a batch, nil where too many are held.
func (m *Machine) body() []byte {
	if n := len(m.free); n > 0 {
		b := m.free[n-1]
		m.free = m.free[:n-1]
		return b
	}
	if m.made == bodiesMax {
		return nil
	}
	m.made++
	return make([]byte, 0, 1536)
}

// release gives the room of a batch back.
func (m *Machine) release(s *slot) {
	m.free = append(m.free, s.body[:0])
	s.state, s.body = settled, nil
}

func (m *Machine) hand(laneID uint16, l *lane, body []byte) {
	m.deliver(laneID, body)
	m.Delivered++
	l.next++
}

// handHeld delivers the held batches whose turn has come.
func (m *Machine) handHeld(laneID uint16, l *lane) {
	for {
		s := l.find(l.next)
		if s == nil || s.state != held {
			return
		}
		m.known = s.known
		m.hand(laneID, l, s.body)
		m.release(s)
	}
}

// Lost tells that the peer has no batch of the lane before first any more: the table
// of this node may lack connections, and says so by not being Complete. It reports whether
// that was news: the lane goes on behind the gap.
func (m *Machine) Lost(laneID uint16, first uint64) (skipped bool) {
	if m.phase != Stream || int(laneID) >= len(m.lanes) || first > sequenceMax {
		return false
	}
	l := &m.lanes[laneID]
	if first <= l.next {
		return false // an old answer: the gap was filled meanwhile
	}
	l.lost = !mutant.LossHidden
	if !l.short {
		l.short, l.whole = true, l.next-1
	}
	m.Gone += first - l.next
	l.skip(m, first)
	m.handHeld(laneID, l)
	return true
}

// skip gives up every batch before first.
func (l *lane) skip(m *Machine, first uint64) {
	for seq := l.next; seq < first && seq <= l.edge; seq++ {
		s := l.slot(seq)
		l.unlink(s)
		if s.state == held {
			m.release(s)
		}
	}
	l.next, l.edge = first, max(l.edge, first-1)
}

// Acks writes into out the number of the last batch of each lane that this node has, with
// all before it, and returns how many lanes there are. What the peer could not resend it has
// when that has come by another way (Settled); until then the lane's number stands still.
// Not that of the last lane, of transfers: the sender's credit follows it, and the transfer
// itself is what is waited for.
func (m *Machine) Acks(out []uint64) int {
	n := min(len(out), len(m.lanes))
	for i := range n {
		l := &m.lanes[i]
		out[i] = l.next - 1
		if l.short && i < len(m.lanes)-1 {
			out[i] = l.whole
		}
		if mutant.AckBeforeApply {
			out[i] = l.known
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
