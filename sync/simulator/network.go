package simulator

import (
	"math/rand/v2"

	"golang.org/x/sys/unix"

	"holdfast/sync/cluster"
	"holdfast/sync/seal"
)

// link is the network from one node to another.
type link struct {
	world    *World
	from, to int
	path     int // of several between the two, 0 is the first
	rng      *rand.Rand
	mended   int64 // when a fault last ended, virtual ns

	amount  [actions]int // of the faults that are in force, by Action
	cuts    int          // how many faults cut it now
	refused bool         // the next write is answered with what the kernel has heard
	losing  int          // datagrams of a burst that are still to be lost
	idleAt  int64        // when a narrow link has carried what was sent

	captured [recordings]*parcel // of this link, for ever
	captures int
}

// recordings is how many old datagrams a link can bring back.
const recordings = 16

// latency is a datagram's way without faults: 50 to 100 us.
const latency = 50_000

// parcel is a datagram on its way.
type parcel struct {
	number  uint64 // of the datagram, however often it arrives
	bytes   []byte
	altered bool // a fault has changed it
	sealed  bool // it was sealed when it was sent
	life    int  // of the receiver, when it was sent
}

// Write takes what the node sends (journal.Way).
func (l *link) Write(datagram []byte) error {
	w := l.world
	sender := w.nodes[l.from]
	w.sent(l, datagram)
	if w.tap != nil {
		w.tap.take(l, datagram)
	}
	sender.hiccup()
	if l.refused {
		l.refused = false
		return unix.ECONNREFUSED
	}
	w.datagrams++
	p := &parcel{number: w.datagrams, bytes: append([]byte(nil), datagram...), life: w.nodes[l.to].life}
	h, _ := seal.ParseHeader(datagram)
	p.sealed = h.Kind == seal.KindSealed
	at := w.now + sender.late
	if p.sealed && l.captures < 1<<10 {
		// Old ones stay: recordings of earlier lives are the more interesting.
		if i := l.captures; i < recordings || l.rng.IntN(i) < recordings {
			l.captured[min(i, l.rng.IntN(recordings))] = p
		}
		l.captures++
	}
	if l.chance(Replay) {
		if old := l.captured[l.rng.IntN(recordings)]; old != nil {
			l.carry(old, at)
		}
	}
	l.carry(p, at)
	if l.chance(Duplicate) {
		l.carry(p, at)
	}
	return nil
}

// chance reports whether a fault in force strikes.
func (l *link) chance(a Action) bool { return l.amount[a] > 0 && l.rng.IntN(1000) < l.amount[a] }

// lost reports whether the network loses a datagram.
func (l *link) lost() bool {
	if l.losing > 0 {
		l.losing--
		return true
	}
	if l.chance(Burst) {
		l.losing = l.rng.IntN(100)
		return true
	}
	return l.cuts > 0 || l.chance(Lose)
}

// carry brings a datagram over the network, or not.
func (l *link) carry(p *parcel, at int64) {
	if l.lost() {
		return
	}
	p = l.alter(p)
	at += latency + l.rng.Int64N(latency)
	if kbits := int64(l.amount[Narrow]); kbits > 0 {
		begin := max(at, l.idleAt)
		if begin-at > second {
			return
		}
		l.idleAt = begin + int64(len(p.bytes))*8*second/(kbits*1000)
		at = l.idleAt
	}
	if d := int64(l.amount[Delay]) * ms; d > 0 {
		at += d/2 + l.rng.Int64N(d)
	}
	if l.chance(Reorder) {
		at += l.rng.Int64N(50 * ms)
	}
	l.world.at(at, func() { l.arrive(p) })
}

// alter turns a bit of a datagram over, or cuts it, where a fault says so.
func (l *link) alter(p *parcel) *parcel {
	flip, cut := l.chance(Flip), l.chance(Truncate)
	if !flip && !cut {
		return p
	}
	q := &parcel{number: p.number, bytes: append([]byte(nil), p.bytes...), sealed: p.sealed, life: p.life}
	if cut {
		q.bytes, q.altered = q.bytes[:l.rng.IntN(len(q.bytes))], true
	}
	if flip && len(q.bytes) > 0 {
		q.bytes[l.rng.IntN(len(q.bytes))] ^= 1 << l.rng.IntN(8)
		q.altered = true
	}
	return q
}

// arrive hands a datagram to the node at the far end, or tells that nobody listens there.
func (l *link) arrive(p *parcel) {
	w := l.world
	to := w.nodes[l.to]
	switch {
	case to.puppet != nil:
		to.puppet(p.bytes)
	case !to.up:
		back := w.way(l.path, l.to, l.from)
		if back.lost() || w.kind(l.path) == cluster.PathPort {
			return
		}
		w.at(w.now+latency, func() {
			if sender := w.nodes[l.from]; sender.up {
				sender.refuse(l)
			}
		})
	case w.now < to.paused:
		if len(to.inbox) < inboxMax {
			to.inbox = append(to.inbox, mail{l, p})
		}
	default:
		to.receive(l, p)
	}
}
