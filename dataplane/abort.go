package dataplane

import (
	"sync"
	"sync/atomic"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// Manner says how the ends of a killed connection learn of it. The zero value tells them
// nothing.
type Manner uint8

// The manners, as `kill --manner` names them.
const (
	Silent      Manner = iota // their packets drop
	Reset                     // TCP: a reset to both ends, exact
	Unreachable               // administratively prohibited, to the client
)

// The pace of telling them: so that forwarding goes on while a million connections die.
const (
	abortsMax   = 16384  // connections that wait in one worker
	abortsTurn  = 32     // connections of one turn, four frames each at most
	abortsRate  = 50_000 // connections per worker and abortsEvery
	abortsEvery = int64(1e9)
)

// Abort is a killed connection whose ends are to be told: plain data, because the
// connection itself is gone.
type Abort struct {
	Manner          Manner
	Original, Reply packet.Tuple
	Edges           [2]conntrack.Edge
	Class           conntrack.Class // by which way they are reached
	ClientShift     uint32          // what the client knows the server's numbers by, see conntrack.State.ClientShift
}

// AbortOf returns what tells the ends of a connection that a kill has taken away. ok is
// false where there is nothing to tell: a reset is for TCP only.
func AbortOf(r *conntrack.Reaped, m Manner) (a Abort, ok bool) {
	if m == Silent || m == Reset && r.State.Original.Proto != packet.TCP {
		return a, false
	}
	return Abort{m, r.State.Original, r.State.Reply, r.Edges, r.State.Class, r.State.ClientShift(&r.Edges)}, true
}

// aborts is where a worker's orders wait. Any goroutine adds, the worker takes.
type aborts struct {
	waiting atomic.Int32 // so that a turn without orders costs one load
	shed    atomic.Uint64

	mu    sync.Mutex // guards what follows
	ring  []Abort    // made for the first order
	first int

	credit   int64 // connections times abortsEvery that may be told now; the worker's own, as is creditAt
	creditAt int64 // when that was counted
}

// Abort takes orders, as many as there is room for, and returns how many. Safe from any
// goroutine.
func (w *Worker) Abort(orders []Abort) (taken int) {
	q := &w.aborts
	q.mu.Lock()
	if q.ring == nil {
		q.ring = make([]Abort, abortsMax)
	}
	waiting := int(q.waiting.Load())
	taken = min(len(orders), abortsMax-waiting)
	for i := range taken {
		q.ring[(q.first+waiting+i)%abortsMax] = orders[i]
	}
	q.waiting.Add(int32(taken))
	q.mu.Unlock()
	if taken > 0 {
		w.Wake()
	}
	return taken
}

// AbortsShed counts connections whose ends this worker was to tell and could not: it was
// not active any more, or did not know the way. Safe from any goroutine.
func (w *Worker) AbortsShed() uint64 { return w.aborts.shed.Load() }

// take takes up to len(into) orders.
func (q *aborts) take(into []Abort) (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(len(into), int(q.waiting.Load()))
	for i := range n {
		into[i] = q.ring[(q.first+i)%abortsMax]
	}
	q.first = (q.first + n) % abortsMax
	q.waiting.Add(int32(-n))
	return n
}

// makeAborts carries out some orders and reports whether more wait.
func (w *Worker) makeAborts() (more bool) {
	q := &w.aborts
	if q.waiting.Load() == 0 {
		return false
	}
	q.credit = min(q.credit+min(w.now-q.creditAt, abortsEvery)*abortsRate, abortsTurn*abortsEvery)
	q.creditAt = w.now
	var orders [abortsTurn]Abort
	n := q.take(orders[:max(0, q.credit/abortsEvery)])
	q.credit -= int64(n) * abortsEvery
	for i := range n {
		if !w.active || !w.abort(&orders[i]) {
			q.shed.Add(1)
		}
	}
	return q.waiting.Load() > 0
}

// abort tells the ends of one connection and reports whether every frame could be made.
func (w *Worker) abort(a *Abort) (ok bool) {
	toClient, toServer := a.Original.Reply(), a.Reply.Reply()
	back, there := a.Class.Way(conntrack.Reply), a.Class.Way(conntrack.Original)
	if a.Manner == Unreachable {
		return w.sendTo(&back, &toClient, func(dst []byte, hop *fib.Hop, out *share) int {
			from, _ := out.address(a.Original.Src.Is4())
			if back.Exit == packet.Self {
				from = a.Original.Dst // the kernel takes nothing from an address of its own
			}
			return packet.AppendProhibition(dst, &packet.Prohibition{
				To: hop.MAC, From: out.MAC, Source: from, Tuple: a.Original, Seq: a.Edges[conntrack.Original].End,
			})
		})
	}
	own, peer := a.Edges[conntrack.Original], a.Edges[conntrack.Reply]
	own.Acked += a.ClientShift
	peer.End += a.ClientShift
	client := w.reset(&back, &toClient, &own, &peer)
	server := w.reset(&there, &toServer, &a.Edges[conntrack.Reply], &a.Edges[conntrack.Original])
	return client && server
}

// reset ends one end of a connection: by a reset with what it has acknowledged, and where
// data may be on its way to it, which it has received and not acknowledged yet, by another
// with what comes after that.
//
// After a failover the numbers of a connection that has been idle since are those that the
// peer told, rounded down: such a reset lies in the window, and the end answers it with a
// challenge ACK instead of ending (RFC 5961), which then finds no connection here.
func (w *Worker) reset(way *conntrack.Way, tuple *packet.Tuple, end, peer *conntrack.Edge) bool {
	send := func(seq uint32) bool {
		return w.sendTo(way, tuple, func(dst []byte, hop *fib.Hop, out *share) int {
			return packet.AppendAbort(dst, &packet.Abort{To: hop.MAC, From: out.MAC, Tuple: *tuple, Seq: seq, Ack: end.End})
		})
	}
	ok := send(end.Acked)
	if !peer.Ahead && peer.End != end.Acked {
		ok = send(peer.End) && ok
	}
	return ok
}

// sendTo makes a frame of our own that goes the way of a connection, from and to the ends
// of tuple, and stages it. write returns the frame's length, 0 where there can be none.
func (w *Worker) sendTo(way *conntrack.Way, tuple *packet.Tuple, write func(frame []byte, hop *fib.Hop, out *share) int) bool {
	hop := w.hopBy(way, &tuple.Src, &tuple.Dst)
	toSelf := hop.Kind == fib.Local && way.Exit == packet.Self && int(way.Entry) < len(w.shares)
	if toSelf {
		in := w.shares[way.Entry]
		hop = fib.Hop{Kind: fib.Forward, Port: in.ID, MAC: in.MAC}
	}
	if hop.Kind != fib.Forward {
		return false
	}
	var d [1]xsk.Desc
	if w.umem.Alloc(d[:]) == 0 {
		return false
	}
	out := w.shares[hop.Port]
	buf := w.umem.Bytes(d[0])
	n := write(buf[:cap(buf)], &hop, out)
	if n == 0 {
		w.umem.Free(d[:])
		return false
	}
	if toSelf {
		f := w.toKernel(out, buf[:n])
		w.umem.Free(d[:])
		return f.why == drop.Pass
	}
	d[0].Len = uint32(n)
	out.stage(d[0])
	return true
}
