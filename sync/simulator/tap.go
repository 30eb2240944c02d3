package simulator

import "holdfast/sync/seal"

// batchSent is a batch that a node has sealed, opened.
type batchSent struct {
	at       int64  // virtual ns
	from, to int    // nodes, from 1
	lives    [2]int // which life of the two it was, from 1
	lane     seal.Lane
	batch    []byte
}

// tap opens what the nodes of a world send, with the keys that they log.
type tap struct {
	opens map[uint32]*seal.Recorded // by session
	hear  func(batchSent)
}

// note takes a key (seal.Config.Log).
func (t *tap) note(k seal.SessionKey) { t.opens[k.Session] = seal.NewRecorded(k) }

// take opens a datagram as it is sent, before anything happens to it.
func (t *tap) take(l *link, datagram []byte) {
	w := l.world
	h, why := seal.ParseHeader(datagram)
	if why != seal.Accepted || h.Kind != seal.KindSealed || t.opens[h.Session] == nil {
		return
	}
	batch, why := t.opens[h.Session].Open(nil, datagram)
	if why != seal.Accepted {
		w.broken("SEAL", "node %d sends what its own key does not open: %v", l.from+1, why)
		return
	}
	if len(batch) > 0 {
		t.hear(batchSent{at: w.now, from: l.from + 1, to: l.to + 1, lives: [2]int{w.nodes[l.from].life, w.nodes[l.to].life}, lane: h.Lane, batch: batch})
	}
}
