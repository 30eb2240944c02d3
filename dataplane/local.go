package dataplane

import (
	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules"
)

// Packets for the node itself take the path like all others: they are judged by the rules,
// with packet.Self as the port that they leave by, and begin connections in the one table.
// Only their last step differs: they go to the kernel, through the TAP of the port that
// they came in by, so that its rp_filter finds them where it expects them.
//
//	wire -> decode -> lookup -> (miss: admit, toSelf) -> track -> deliver -> TAP -> kernel
//
// Echo requests need no connection: the kernel answers each, and its answer goes out as it
// is. So a flood of them with forged sources takes no room in the table (L8).

// toKernel hands a copy of a frame to the kernel's face of the port it came in by.
func (w *Worker) toKernel(s *share, frame []byte) fate {
	n, err := s.Kernel.Write(frame)
	switch {
	case err != nil:
		return dropped(drop.TapUnanswered)
	case n == 0:
		return dropped(drop.TapFull)
	}
	return fate{why: drop.Pass}
}

// toSelf decides on a packet without a connection to one of the node's own addresses, be it
// by destination translation (w.turned), which the table undoes for the answers.
func (w *Worker) toSelf(b *burst, i int, hop *fib.Hop) (f fate, admitted bool) {
	p, turn := &b.parsed[i], &w.turned
	if !w.mayAddress(b.in, &p.Tuple.Src) {
		return dropped(drop.SourceInvalid), false
	}
	facts := rules.FactsOf(b.frame[i], p)
	verdict := w.snapshot.Rules.Match(&turn.Tuple, b.in.ID, packet.Self, &facts, w.snapshot.Tables)
	mayOpen := conntrack.MayOpen(p)
	if mayOpen != drop.Pass && verdict.Action == rules.Pass && !(verdict.PickUp && conntrack.MayPickUp(p)) {
		return dropped(mayOpen), false // in mid-stream, or an answer to nothing
	}
	w.countRule(verdict.Rule, &turn.Tuple)
	switch {
	case verdict.Action == rules.Reject:
		return w.reject(b, i, verdict.Answer), false
	case verdict.Action == rules.Block && w.snapshot.Rules.Default(&verdict):
		return dropped(drop.ToSelf), false
	case verdict.Action == rules.Block:
		return dropped(drop.RuleBlock), false
	case p.Tuple.IsEchoRequest() && turn.Outcome == nat.Untranslated:
		return w.toKernel(b.in, b.frame[i]), false
	}
	return w.beginWithin(b, i, &verdict, hop)
}

// mayAddress reports whether a source may speak to the node through a port. One that is
// valid on the port's link alone is there, and the routes do not speak of it.
func (w *Worker) mayAddress(in *share, src *packet.Addr) bool {
	if src.IsLinkLocal() && !src.Is4() {
		return w.hopTo(*src).Kind != fib.Local
	}
	return w.comesFrom(in, *src)
}

// goesOn reports whether a packet, which seems to have a connection, would go on from here
// to another host. What ends here may have come as far as its TTL allowed (L1).
func (w *Worker) goesOn(b *burst, i int) bool {
	exit, ok := w.snapshot.Table.ExitOf(&b.parsed[i], &b.hit[i])
	return ok && exit != packet.Self // without a connection admit decides
}

// deliver hands a packet of a connection with the node itself to the kernel.
func (w *Worker) deliver(b *burst, i int) fate {
	r := &w.result
	if r.Translated {
		r.Rewrite.Apply(b.frame[i], &b.parsed[i])
	}
	f := w.toKernel(b.in, b.frame[i])
	if f.why != drop.Pass {
		w.snapshot.Table.Uncount(&b.parsed[i], r)
	}
	return f
}
