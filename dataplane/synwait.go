package dataplane

import (
	"holdfast/conntrack"
	"holdfast/dataplane/cookie"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// A client that has been answered by the firewall thinks that it is connected, and may have
// nothing to say: who sends the SYN again if it is lost on its way to the server? The worker
// that sent it, once a second, waitTries times; then the client is told by a reset. A node
// that takes over knows nothing of that, and sends it when the client says something.
const (
	waitMax   = 1024 // connections of one worker; those beyond have the client's segments alone
	waitEvery = int64(1e9)
	waitTries = 10
)

// waiting is a ring of connections whose server has not answered, in the order of time.
type waiting struct {
	ring     [waitMax]waiter
	first, n int
}

// waiter is one of them.
type waiter struct {
	incarnation conntrack.Incarnation
	at          int64 // CLOCK_BOOTTIME ns: when to look
	index       uint32
	tries       uint8
}

// add enters a connection, if there is room.
func (q *waiting) add(index uint32, incarnation conntrack.Incarnation, now int64) {
	q.put(waiter{incarnation: incarnation, at: now + waitEvery, index: index})
}

func (q *waiting) put(one waiter) {
	if q.n < waitMax {
		q.ring[(q.first+q.n)%waitMax] = one
		q.n++
	}
}

// due takes the first connection whose time has come.
func (q *waiting) due(now int64) (one waiter, ok bool) {
	if q.n == 0 || q.ring[q.first].at > now {
		return one, false
	}
	one = q.ring[q.first]
	q.first, q.n = (q.first+1)%waitMax, q.n-1
	return one, true
}

// askServers sends SYNs again whose time has come, and gives up those that had enough.
func (w *Worker) askServers() {
	if !w.active {
		return
	}
	for range burstMax {
		one, ok := w.proxying.waiting.due(w.now)
		if !ok {
			return
		}
		if one.tries++; one.tries > waitTries {
			w.giveUpServer(&one)
			continue
		}
		if w.askAgain(one.index, one.incarnation) {
			one.at = w.now + waitEvery
			w.proxying.waiting.put(one)
		}
	}
}

// askAgain sends the SYN of a connection again, if it is time, and reports whether it still
// waits.
func (w *Worker) askAgain(index uint32, incarnation conntrack.Incarnation) (waits bool) {
	var again conntrack.Waiting
	waits, send := w.snapshot.Table.Again(index, incarnation, w.now, &again)
	if !send {
		return waits
	}
	way := again.Class.Way(conntrack.Original)
	w.sendTo(&way, &again.Tuple, func(dst []byte, hop *fib.Hop, out *share) int {
		return packet.AppendSegment(dst, &packet.Segment{To: hop.MAC, From: out.MAC, Tuple: again.Tuple,
			Seq: again.Seq, Flags: packet.FlagSYN, Window: again.Window, Offer: cookie.OfferOf(again.Cookie)})
	})
	return true
}

// giveUpServer ends a connection whose server is silent.
func (w *Worker) giveUpServer(one *waiter) {
	var again conntrack.Waiting
	if waits, _ := w.snapshot.Table.Again(one.index, one.incarnation, w.now, &again); !waits {
		return
	}
	last := &w.ended[0] // free here: the sweep has told of what it held
	if !w.snapshot.Table.Remove(one.index, one.incarnation, w.now, &last.State) {
		return
	}
	s := &last.State
	edges := [2]conntrack.Edge{{End: uint32(s.Dir[conntrack.Original].End)}}
	w.bereave(s, conntrack.EndExpired)
	client, way := s.Original.Reply(), s.Class.Way(conntrack.Reply)
	expects := conntrack.Edge{End: edges[conntrack.Original].End, Acked: s.ClientShift(&edges)}
	w.reset(&way, &client, &expects, &conntrack.Edge{End: expects.Acked})
}
