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

// decision is what the policy says of a packet without a connection, before anything is
// done about it. It is made by decide, for admit, which carries it out, and for Explainer,
// which tells it.
type decision struct {
	ruling  ruling
	why     drop.Reason // of rulingDrop
	hop     fib.Hop     // valid where routed
	verdict rules.Verdict
	routed  bool // the routes were asked
	found   proof
	judged  bool // the rules were asked
	counts  bool // and the packet counts for the one that decided
}

// ruling is what is to be done. The zero value drops.
type ruling uint8

const (
	rulingDrop    ruling = iota // without an answer
	rulingNoImage               // its destination cannot be translated
	rulingNoRoute
	rulingTTL
	rulingReject
	rulingHand   // to the kernel, without a connection
	rulingWait   // until the next hop's MAC is known
	rulingCookie // a SYN is answered in the server's name
	rulingProven // what rulingBegin is, by a cookie that came back
	rulingBegin  // a connection, if limits, ports and room allow it
)

func (d *decision) drop(why drop.Reason) { d.ruling, d.why = rulingDrop, why }

// decide decides on a packet without a connection. It changes nothing but d and w.turned.
func (w *Worker) decide(b *burst, i int, d *decision) {
	*d = decision{}
	p := &b.parsed[i]
	// Destination translation before routes and rules: they judge where it really goes (I15).
	w.turned = w.snapshot.NAT.Destination(&p.Tuple, b.in.ID)
	turn := &w.turned
	if turn.Outcome == nat.NoTarget || turn.Outcome == nat.Untranslatable {
		d.ruling = rulingNoImage
		return
	}
	d.hop, d.routed = w.route(&turn.Tuple, b.in.ID), true
	if d.hop.Kind == fib.Local {
		w.decideSelf(b, i, d)
		return
	}
	why := forwardable(p, &d.hop)
	if why != drop.Pass && why != drop.NoRoute {
		d.drop(why)
		return
	}
	// Before any answer: a source that cannot be there, our own address among them, gets none.
	switch {
	case !w.comesFrom(b.in, p.Tuple.Src):
		d.drop(drop.SourceInvalid)
	case w.unclaimed(&turn.Tuple.Dst, &d.hop):
		d.drop(drop.NATUnclaimed)
	case why == drop.NoRoute:
		d.ruling = rulingNoRoute
	case p.TTL <= 1:
		d.ruling = rulingTTL
	default:
		w.decideByRules(b, i, d)
	}
}

// decideByRules asks the rules about a packet that could go on.
func (w *Worker) decideByRules(b *burst, i int, d *decision) {
	p, turn := &b.parsed[i], &w.turned
	mayOpen := conntrack.MayOpen(p)
	d.found = w.proofOf(p, mayOpen)
	if mayOpen != drop.Pass && !d.found.valid && !(w.snapshot.Rules.PicksUp() && conntrack.MayPickUp(p)) {
		d.drop(mayOpen)
		return
	}
	facts := d.found.factsOf(b.frame[i], p)
	d.verdict, d.judged = w.snapshot.Rules.Match(&turn.Tuple, b.in.ID, d.hop.Port, &facts, w.snapshot.Tables), true
	if turn.Outcome == nat.Opened && d.verdict.Action != rules.Pass && w.snapshot.Rules.Default(&d.verdict) {
		d.verdict.Action = rules.Pass // no rule speaks of it, and its mapping lets it in (I6)
	}
	d.found.valid = d.found.valid && d.verdict.Action == rules.Pass && d.verdict.SynProxy != config.SynProxyNever
	if mayOpen != drop.Pass && !d.found.valid && (d.verdict.Action != rules.Pass || !d.verdict.PickUp || w.proxies(b, p, &d.verdict)) {
		d.drop(mayOpen) // in mid-stream, and its rule does not pick up, or asks for a cookie
		return
	}
	d.counts = true
	switch {
	case d.verdict.Action == rules.Reject:
		d.ruling = rulingReject
	case d.verdict.Action != rules.Pass:
		d.drop(drop.RuleBlock)
	case d.hop.Kind == fib.Unresolved:
		d.ruling = rulingWait
	case d.found.valid:
		d.ruling = rulingProven
	case mayOpen == drop.Pass && w.proxies(b, p, &d.verdict):
		d.ruling = rulingCookie
	default:
		d.ruling = rulingBegin
	}
}

// decideSelf decides on a packet to one of the node's own addresses, be it by destination
// translation, which the table undoes for the answers.
func (w *Worker) decideSelf(b *burst, i int, d *decision) {
	p, turn := &b.parsed[i], &w.turned
	if !w.mayAddress(b.in, &p.Tuple.Src) {
		d.drop(drop.SourceInvalid)
		return
	}
	facts := rules.FactsOf(b.frame[i], p)
	d.verdict, d.judged = w.snapshot.Rules.Match(&turn.Tuple, b.in.ID, packet.Self, &facts, w.snapshot.Tables), true
	mayOpen := conntrack.MayOpen(p)
	if mayOpen != drop.Pass && d.verdict.Action == rules.Pass && !(d.verdict.PickUp && conntrack.MayPickUp(p)) {
		d.drop(mayOpen) // in mid-stream, or an answer to nothing
		return
	}
	d.counts = true
	switch {
	case d.verdict.Action == rules.Reject:
		d.ruling = rulingReject
	case d.verdict.Action == rules.Block && w.snapshot.Rules.Default(&d.verdict):
		d.drop(drop.ToSelf)
	case d.verdict.Action == rules.Block:
		d.drop(drop.RuleBlock)
	case p.Tuple.IsEchoRequest() && turn.Outcome == nat.Untranslated:
		d.ruling = rulingHand
	default:
		d.ruling = rulingBegin
	}
}
