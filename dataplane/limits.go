package dataplane

import (
	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/rules"
	"holdfast/rules/limit"
)

// limitReasons is what a first packet dies of that is not within its source's limit.
var limitReasons = [...]drop.Reason{
	limit.Within: drop.Pass, limit.TooMany: drop.SourceLimit, limit.TooFast: drop.SourceRate, limit.NoRoom: drop.SourcesFull,
}

// beginWithin is begin for a source that is within the limit of its rule. What counts from
// its first packet on is counted before it is in the table, and given back where it does not
// get there; a TCP connection counts when it is complete, see settle.
func (w *Worker) beginWithin(b *burst, i int, verdict *rules.Verdict, hop *fib.Hop) (f fate, admitted bool) {
	limits, p := w.snapshot.Limits, &b.parsed[i]
	if limits == nil {
		return w.begin(b, i, verdict, hop)
	}
	if p.Tuple.Proto == packet.TCP && conntrack.MayOpen(p) == drop.Pass {
		if v := limits.Ask(verdict.Number, &p.Tuple.Src, w.now); v != limit.Within {
			return dropped(limitReasons[v]), false
		}
		return w.begin(b, i, verdict, hop)
	}
	if v := limits.Admit(verdict.Number, &p.Tuple.Src, w.now); v != limit.Within {
		return dropped(limitReasons[v]), false
	}
	f, admitted = w.begin(b, i, verdict, hop)
	if !admitted || w.result.Change != conntrack.ChangeNew {
		limits.Undo(verdict.Number, &p.Tuple.Src) // another packet was first, or there is no room
	}
	return f, admitted
}

// settle keeps the counts of sources in step with a change that a packet has made: one that
// completed a handshake counts from now on. Where that is one too many, because its source
// opened several at once or its rule has an overload, the connection ends, and both ends are
// told.
func (w *Worker) settle(p *packet.Parsed, r *conntrack.Result) drop.Reason {
	limits := w.snapshot.Limits
	if limits == nil || r.Change == conntrack.ChangeNew {
		return drop.Pass
	}
	rule, src, complete := r.State.Rule, &r.State.Original.Src, r.State.Complete()
	if r.WasComplete == complete {
		return drop.Pass
	}
	if !complete { // a new life of a connection begins in its place
		limits.Leave(rule, src)
		return drop.Pass
	}
	v := limits.Enter(rule, src, w.now)
	if v == limit.Within {
		return drop.Pass
	}
	last := &w.ended[0] // free here: the sweep has told of what it held
	if w.snapshot.Table.Remove(r.Index, r.Incarnation, w.now, &last.State) {
		w.bereave(&last.State, conntrack.EndLimited)
		a := Abort{Manner: Reset, Original: last.State.Original, Reply: last.State.Reply, Class: last.State.Class}
		seq := p.Seq
		if r.Joined() { // its SYN/ACK counts as had: the client knows the number after the cookie
			seq++
			a.ClientShift = r.Splice.Seq
		}
		a.Edges[r.Direction&1] = conntrack.Edge{End: seq, Acked: p.Ack}
		a.Edges[r.Direction&1^1] = conntrack.Edge{End: p.Ack, Acked: seq}
		w.abort(&a) // where it cannot be told, an end finds out by itself
	}
	w.overload(&r.State, v)
	return limitReasons[v]
}
