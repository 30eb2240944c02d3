package simulator

import (
	"github.com/cespare/xxhash/v2"

	"holdfast/sync/seal"
)

// recordKey is what a nonce may be used under once: the session as the receiver names it,
// of one life of the sender, and the lane.
type recordKey struct {
	from, life, to int
	session        uint32
	lane           seal.Lane
}

// sealing is the last datagram that was sealed under a key.
type sealing struct {
	counter uint64
	sum     uint64 // of its bytes
}

// sent looks at what a node sends: no counter of a lane is ever sealed under twice. They
// only rise, so it is enough to know the last. What proves a session goes by every sync link as
// it is: the same bytes are no second sealing.
func (w *World) sent(l *link, datagram []byte) {
	w.note('s', l.from, datagram)
	h, why := seal.ParseHeader(datagram)
	if why != seal.Accepted {
		w.broken("NONCE", "node %d sends what is no datagram: %v", l.from+1, why)
		return
	}
	if h.Kind != seal.KindSealed {
		return
	}
	key := recordKey{l.from, w.nodes[l.from].life, l.to, h.Session, h.Lane}
	sum := xxhash.Sum64(datagram)
	if last, used := w.counters[key]; used && h.Counter <= last.counter && (l.path == 0 || sum != last.sum) {
		w.broken("NONCE", "node %d seals for %d under counter %d of lane %d again, the last was %d",
			l.from+1, l.to+1, h.Counter, h.Lane, last.counter)
	}
	w.counters[key] = sealing{h.Counter, sum}
}

// believed looks at what a node believes: no sealed datagram that was altered, none twice,
// none that was sent to a life before.
func (w *World) believed(n *node, p *parcel, outcome seal.Outcome) {
	if outcome == seal.Rejected || !p.sealed {
		return
	}
	switch {
	case p.altered:
		w.broken("SEAL", "node %d believes a datagram that was altered on the way", n.id+1)
	case w.opened[p.number]:
		w.broken("SEAL", "node %d believes a datagram twice", n.id+1)
	case p.life != n.life:
		w.broken("SEAL", "node %d believes a datagram that was sent to its life %d", n.id+1, p.life)
	}
	w.opened[p.number] = true
}
