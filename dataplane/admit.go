package dataplane

import (
	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules"
	"holdfast/rules/config"
)

// proposalsMax bounds how many translations are proposed for one first packet whose reply
// tuple clashes with a connection's.
const proposalsMax = 8

// admit decides on a packet without a connection: for the node itself, or the first of
// a new connection, or dropped. When it has admitted a connection, w.result is what
// tracking the packet in it gave, and the path goes on.
func (w *Worker) admit(b *burst, i int) (f fate, admitted bool) {
	d := &w.decision
	w.decide(b, i, d)
	if d.counts {
		w.countRule(d.verdict.Rule, &w.turned.Tuple)
		w.logVerdict(b, i, &d.verdict, exitOf(&d.hop))
	}
	switch d.ruling {
	case rulingBegin:
		return w.beginWithin(b, i, &d.verdict, &d.hop)
	case rulingProven:
		return w.beginProven(b, i, &d.verdict, &d.hop, &d.found)
	case rulingCookie:
		return w.answerSYN(b, i, &d.hop), false
	case rulingWait:
		// Nothing is tracked, translated or replicated before the next hop is known.
		w.config.Resolver.Resolve(d.hop.Port, d.hop.Via)
		return w.park(b, i, &d.hop.Via), false
	case rulingHand:
		return w.toKernel(b.in, b.frame[i]), false
	case rulingReject:
		return w.reject(b, i, w.snapshot.Rules.Answer(&d.verdict)), false
	case rulingNoImage:
		return w.refuseTranslation(b, i, w.turned.Outcome), false
	case rulingNoRoute:
		return w.refuseRoute(b, i, d.hop.Kind), false
	case rulingTTL:
		return w.refuseTTL(b, i), false
	}
	return dropped(d.why), false
}

// forwardable says whether a packet may cross the firewall at all.
func forwardable(p *packet.Parsed, hop *fib.Hop) drop.Reason {
	switch {
	case p.DstMulticast(), hop.Kind == fib.Broadcast:
		return drop.Multicast
	case p.LinkLocal():
		return drop.LinkLocal
	case hop.Kind != fib.Forward && hop.Kind != fib.Unresolved:
		return drop.NoRoute
	}
	return drop.Pass
}

// begin enters a new connection, w.turned, into the table: a translation of its source is
// proposed, the table proves the reply tuple free, and a clash means release and propose
// the next. A full table gives up a connection that is worth less.
func (w *Worker) begin(b *burst, i int, verdict *rules.Verdict, hop *fib.Hop) (f fate, admitted bool) {
	p := &b.parsed[i]
	r := &w.result
	proposal := w.propose(b, i, verdict, hop)
	// A binding whose reply tuple clashed is given back only after the next was drawn, so
	// that it is not drawn again.
	var clashed nat.Binding
	defer func() { w.snapshot.Ports.Release(clashed) }()
	for attempt := range proposalsMax {
		reply, binding, outcome := w.snapshot.NAT.Source(&w.turned, hop.Port, attempt)
		w.snapshot.Ports.Release(clashed)
		clashed = binding
		if outcome != nat.Untranslated && outcome != nat.Translated {
			return w.refuseTranslation(b, i, outcome), false
		}
		proposal.Reply = reply
		switch w.insert(&proposal, p) {
		case conntrack.Inserted:
			clashed = nat.Binding{}
			return fate{}, true
		case conntrack.Exists:
			// Another packet of the burst, or another worker, was first.
			w.snapshot.Table.Lookup(b.parsed[i:i+1], b.hit[i:i+1])
			switch w.track(b, i) {
			case conntrack.OutcomePass:
				return fate{}, true
			case conntrack.OutcomeDrop:
				return dropped(r.Reason), false
			}
			if r.Change == conntrack.ChangeEnded {
				w.bereave(&r.State, r.Why) // a dead one was in the way
			}
		case conntrack.Clash:
		default: // full, or no packet to begin with
			return dropped(r.Reason), false
		}
	}
	return dropped(drop.TupleClash), false
}

// propose returns the connection that a verdict lets begin, but for its reply tuple.
func (w *Worker) propose(b *burst, i int, verdict *rules.Verdict, hop *fib.Hop) conntrack.Proposal {
	proposal := conntrack.Proposal{
		Original: b.parsed[i].Tuple,
		Class: conntrack.Class{
			Rule: verdict.Number, Ingress: b.in.ID, Egress: hop.Port, Gateway: w.gatewayOf(b, i, hop), Sync: verdict.Sync,
			Mode: conntrack.Mode(verdict.Mode), PickUp: verdict.PickUp, Timeouts: verdict.Timeouts,
			Logged: verdict.Log == config.LogAll,
		},
	}
	proposal.Proxy = w.proxyOf()
	b.ofSelf(&proposal.Class)
	return proposal
}

// Bounds of the search for room, for one first packet. What is established lies together
// in the table, mostly, and the search passes over it in some steps: without a second one
// a first packet in seventy would be lost (TestB15_SYNFlood).
const (
	evictTries = 2 // evictions; another worker may take the place that one has made
	evictSteps = 8 // searches for a victim
)

// insert is Table.Insert that makes room in a full table, for the same proposal.
func (w *Worker) insert(pr *conntrack.Proposal, p *packet.Parsed) conntrack.InsertOutcome {
	out := w.snapshot.Table.Insert(pr, p, w.now, &w.result)
	for tries := 0; out == conntrack.Full && tries < evictTries && w.evict(); tries++ {
		out = w.snapshot.Table.Insert(pr, p, w.now, &w.result)
	}
	return out
}

// evict makes room in a full table and reports whether it did.
func (w *Worker) evict() bool {
	victim := &w.ended[0] // free here: the sweep has told of what it held
	for range evictSteps {
		if w.snapshot.Table.Evict(w.now, victim) {
			w.bereave(&victim.State, victim.Why)
			return true
		}
	}
	return false
}

// countRule counts a first packet with the rule that decided on it, and with the entries of
// tables by which that did.
func (w *Worker) countRule(index uint32, t *packet.Tuple) {
	w.snapshot.Rules.Count(index, t, w.snapshot.Tables, w.now)
	if w.config.ID >= len(w.snapshot.Hits) {
		return // nobody counts
	}
	if hits := w.snapshot.Hits[w.config.ID]; int(index) < len(hits) {
		hits[index].Store(hits[index].Load() + 1)
	}
}
