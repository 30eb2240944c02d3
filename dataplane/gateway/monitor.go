package gateway

import (
	"fmt"
	"math/bits"
)

// Health is what is believed of something that is asked again and again.
type Health uint8

// The healths. The zero value is what nobody has asked yet; it counts as up, since a line that
// may be good must not be given up for lack of a first answer.
const (
	Unknown Health = iota
	Alive
	Dead
)

// String returns the word of listings.
func (h Health) String() string { return [...]string{"unknown", "up", "down"}[h] }

// Patience says from what a Monitor believes something to be down or up.
type Patience struct {
	Lost     int // misses in a row, at least 1
	Answered int // answers in a row, at least 1
}

// Monitor judges something by attempts that were answered or missed. It is a pure machine:
// attempts come in from whoever makes them, with the time that they took.
//
//	+---------+  answer             +-------+  Lost misses in a row     +------+
//	| Unknown | ------------------> | Alive | ------------------------> | Dead |
//	+---------+                     +-------+ <------------------------ +------+
//	     |  Lost misses in a row          Answered answers in a row        ^
//	     +-----------------------------------------------------------------+
//
// So a line that loses one in three stays what it was, and one that comes and goes is down
// until it has stayed. The zero value judges by one attempt. Not safe for concurrent use.
type Monitor struct {
	Patience Patience

	health Health
	misses int // in a row
	hits   int // in a row
	recent uint64
	seen   int   // of recent, at most window
	rtt    int64 // smoothed, ns
}

// window is how many attempts the loss is reckoned over.
const window = 64

// Health returns what is believed now.
func (m *Monitor) Health() Health { return m.health }

// Answer takes in an attempt that was answered after rtt ns, and reports whether that
// changed what is believed.
func (m *Monitor) Answer(rtt int64) (changed bool) {
	m.count(0)
	// As TCP smooths it (RFC 6298 section 2.3, alpha 1/8).
	if m.rtt == 0 {
		m.rtt = rtt
	}
	m.rtt += (rtt - m.rtt) / 8
	m.misses = 0
	m.hits++
	if m.health == Alive || m.health == Dead && m.hits < m.Patience.Answered {
		return false
	}
	m.health = Alive
	return true
}

// Miss takes in an attempt that was not answered, and reports whether that changed what is
// believed.
func (m *Monitor) Miss() (changed bool) {
	m.count(1)
	m.hits = 0
	m.misses++
	if m.health == Dead || m.misses < m.Patience.Lost {
		return false
	}
	m.health = Dead
	return true
}

func (m *Monitor) count(miss uint64) {
	m.recent = m.recent<<1 | miss
	m.seen = min(m.seen+1, window)
}

// Forget begins anew: what was believed is not known any more.
func (m *Monitor) Forget() { *m = Monitor{Patience: m.Patience} }

// Loss returns the part of the last 64 attempts that was missed, 0 to 1.
func (m *Monitor) Loss() float64 {
	if m.seen == 0 {
		return 0
	}
	return float64(bits.OnesCount64(m.recent)) / float64(m.seen)
}

// Latency returns how long answers take, smoothed, in ns; 0: none came yet.
func (m *Monitor) Latency() int64 { return m.rtt }

// Why says in words what the belief rests on.
func (m *Monitor) Why() string {
	switch {
	case m.seen == 0:
		return "not asked yet"
	case m.misses > 0:
		return fmt.Sprintf("no answer to the last %d", m.misses)
	case m.health == Dead:
		return fmt.Sprintf("answered %d of %d in a row", m.hits, m.Patience.Answered)
	}
	return fmt.Sprintf("answers in %.1f ms", float64(m.rtt)/1e6)
}
