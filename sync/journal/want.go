package journal

import "holdfast/internal/mutant"

import "holdfast/sync/wire"

// Bounds of what is asked for. A request or its answer may be lost, so it is repeated: after
// 20, 40, ... 640 ms, which bridges two seconds of a bad link. Then the next update of the
// connection asks again.
const (
	requestsMax  = 64 // connections wanted at once; for more the next update asks again
	requestTries = 8
	requestRetry = int64(20e6) // ns
)

// want is a connection that a peer has told something of, and that is not known here. The
// insert that tells of it whole may be the answer, or an older one that comes by another
// lane: so the update is kept, and joined with whatever comes.
type want struct {
	last  wire.Update
	more  bool // there was another update before the last: only an answer knows it
	tries int
	due   int64 // when it is to be asked for next, ns
}

// request notes that the whole state of the connection that an update named is wanted.
func (a *Applier) request(now int64) {
	if a.limbo.isOver(naming{a.update.Index, a.update.Incarnation}, now) {
		return
	}
	if w := a.wantOf(a.update.Index, a.update.Incarnation); w != nil {
		w.last, w.more = a.update, true
	} else if len(a.wanted) < requestsMax {
		a.wanted = append(a.wanted, want{last: a.update, due: now})
	}
}

// wantOf returns what is wanted of a connection as its sender names it, or nil.
func (a *Applier) wantOf(index, life uint32) *want {
	for i := range a.wanted {
		if w := &a.wanted[i]; w.last.Index == index && w.last.Incarnation == life {
			return w
		}
	}
	return nil
}

// told joins what was known of a connection before its insert came with it.
func (a *Applier) told(index, life uint32, now int64) {
	w := a.wantOf(index, life)
	if w == nil {
		return
	}
	again := w.more
	w.more = false
	a.update = w.last
	if !again {
		a.settled(index, life)
	}
	a.merge(now)
}

// settled notes that nothing is wanted of a connection any more.
func (a *Applier) settled(index, life uint32) {
	if w := a.wantOf(index, life); w != nil {
		*w = a.wanted[len(a.wanted)-1]
		a.wanted = a.wanted[:len(a.wanted)-1]
	}
}

// Requests hands the wanted connections that are to be asked for at now (ns) to send.
func (a *Applier) Requests(now int64, send func(*wire.UpdateRequest)) {
	kept := a.wanted[:0]
	for _, w := range a.wanted {
		if now >= w.due {
			send(&wire.UpdateRequest{Index: w.last.Index, Incarnation: w.last.Incarnation})
			w.due = now + requestRetry<<w.tries
			w.tries++
		}
		if w.tries < requestTries && !mutant.RequestNotRepeated {
			kept = append(kept, w)
		}
	}
	a.wanted = kept
}
