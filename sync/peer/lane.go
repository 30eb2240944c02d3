package peer

// heldMax is how many batches of one lane are held that came before their turn. At
// 1,400 bytes each that bounds a lane at 360 KB.
const heldMax = 256

// lane is one stream of the peer.
// Invariant: a held batch has next < seq < next+heldMax and lies in held[seq%heldMax].
type lane struct {
	next  uint64 // the batch to deliver next
	known uint64 // the highest number known to be sent
	hello uint64 // the last batch sent when the peer said hello
	lost  bool   // the peer could not resend something

	asked     int64  // when the gap before next was last asked for; 0: no gap
	askedFor  uint64 // the value of next at that time, or when it last moved since
	askedTo   uint64 // the last batch that was asked for
	firstMiss uint64 // the newest batch, given one retry interval to arrive by itself

	held []held // nil until something comes early
}

type held struct {
	seq  uint64 // 0: empty
	body []byte // its capacity is kept for re-use
}

// hold keeps a batch that came early, and reports whether there was room for it.
func (l *lane) hold(seq uint64, body []byte) bool {
	if seq-l.next >= heldMax {
		return false
	}
	if l.held == nil {
		l.held = make([]held, heldMax)
	}
	h := &l.held[seq%heldMax]
	h.seq = seq
	h.body = append(h.body[:0], body...)
	return true
}

// take returns the held batch whose turn it is.
func (l *lane) take() (body []byte, ok bool) {
	if l.held == nil {
		return nil, false
	}
	h := &l.held[l.next%heldMax]
	if h.seq != l.next {
		return nil, false
	}
	h.seq = 0
	return h.body, true
}

// drop forgets held batches that the lane has passed.
func (l *lane) drop() {
	for i := range l.held {
		if l.held[i].seq < l.next {
			l.held[i].seq = 0
		}
	}
}

// gapEnd returns the last missing batch of the gap that begins at next.
func (l *lane) gapEnd() uint64 {
	end := l.next
	for end < l.known && end-l.next < heldMax-1 {
		if l.held != nil && l.held[(end+1)%heldMax].seq == end+1 {
			return end
		}
		end++
	}
	return end
}
