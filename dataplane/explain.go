package dataplane

import (
	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules"
	"holdfast/rules/limit"
)

// Explainer says what the path would do with a packet and why, by the code that does it, and
// changes nothing: nothing is tracked, held, counted, asked for or sent. What the table, the
// port maps and the limits say holds for the moment. Not safe for concurrent use.
type Explainer struct {
	w Worker // without sockets, memory and neighbours to ask
}

// NewExplainer returns an explainer of a node with these ports, whose workers share a proxy.
func NewExplainer(ports []*Port, proxy *SynProxy) *Explainer {
	x := &Explainer{}
	x.w.config.SynProxy = proxy
	x.w.addPorts(ports)
	return x
}

// Stage says how far a packet gets. The zero value is illegal.
type Stage uint8

// The stages.
const (
	StageUnset      Stage = iota
	StageDecode           // dropped before anybody asks whose it is
	StageFragment         // a piece: judged when its datagram is whole
	StageKernel           // handed to the kernel: ARP, ND, or an echo request to the node itself
	StageConnection       // of a connection, or an error about a packet of one
	StageDecision         // decided on as the first packet of a connection
)

// Explanation is what an Explainer says of one packet. Parts of a later stage than Stage
// are zero.
type Explanation struct {
	Stage  Stage
	Why    drop.Reason // drop.Pass: it goes on
	Parsed packet.Parsed

	Conn      conntrack.View // of StageConnection
	Direction conntrack.Direction

	Turn   nat.Turn    // of StageDecision
	Before nat.Applied // the translation that applies before routing
	Route  int         // the row of the policy's [[routes]] that it goes by, from 1; 0: none
	Back   fib.Hop     // where the routes say that its source is

	Routed   bool // Hop is valid; of StageConnection too
	Hop      fib.Hop
	Judged   bool // Verdict and Steps are valid
	Verdict  rules.Verdict
	Steps    []rules.Step // of StageConnection: what the rules would say of it now
	Asked    bool         // Limit is valid
	Limit    limit.Verdict
	Proposal conntrack.Proposal // valid where Why is drop.Pass
	Cookie   bool               // of syn_proxy: the SYN is answered in the server's name
	Proven   bool               // and the packet brings the answer's cookie back
	Behind   nat.Applied        // the translation that applies behind the rules
	Source   nat.Outcome        // of the second stage of translation; zero: it was not asked
	Reply    packet.Tuple       // of the packets that would answer
	Clash    bool               // another connection is answered by that tuple: another port would be drawn
}

// Out returns the port that a packet leaves by, as rules name it.
func (e *Explanation) Out() packet.PortID {
	if e.Hop.Kind == fib.Local {
		return packet.Self
	}
	return e.Hop.Port
}

// Explain explains a frame that comes in by a port, whose destination MAC counts as right.
// The frame is not changed.
func (x *Explainer) Explain(s *Snapshot, now int64, in packet.PortID, frame []byte) (e Explanation) {
	w := &x.w
	w.snapshot, w.now = s, now
	b := &w.burst
	b.in, b.n, b.frame[0] = w.shares[in], 1, frame
	defer func() { b.frame[0], w.snapshot = nil, nil }()
	p := &b.parsed[0]
	e.Stage, e.Why = StageDecode, packet.Decode(frame, p)
	if e.Why == drop.Pass && packet.DstMAC(frame).IsGroup() {
		e.Why = addressed(frame, p, b.in.MAC)
	}
	e.Parsed = *p
	switch {
	case e.Why == drop.Fragment:
		e.Stage = StageFragment
	case e.Why != drop.Pass:
	case p.Kind != packet.KindIP && p.IsICMPError():
		e.Why = drop.ICMPErrorType
	case p.Kind != packet.KindIP:
		e.Stage = StageKernel
	case x.connected(&e):
	case p.IsICMPError():
		x.related(&e)
	default:
		x.decided(&e)
	}
	return e
}

// connected explains a packet of a connection. Whether it lies in its window is not asked.
func (x *Explainer) connected(e *Explanation) bool {
	w, p := &x.w, &x.w.burst.parsed[0]
	dir, ok := w.snapshot.Table.Find(p, w.now, &e.Conn)
	if !ok {
		return false
	}
	e.Stage, e.Why, e.Direction = StageConnection, drop.Pass, dir
	way := e.Conn.Class.Way(dir)
	entry, exit := way.Entry, way.Exit
	ends := [...]*packet.Tuple{conntrack.Original: &e.Conn.Reply, conntrack.Reply: &e.Conn.Original}
	answer := ends[dir&1] // the tuple that answers this packet as it leaves
	e.Hop, e.Routed = w.hopBy(&way, &answer.Dst, &answer.Src), true
	switch {
	case p.TTL <= 1 && exit != packet.Self:
		e.Why = drop.TTLExceeded
	case entry != w.burst.in.ID && entry != packet.Self && !w.comesFrom(w.burst.in, p.Tuple.Src):
		e.Why = drop.SourceInvalid
	case e.Hop.Kind == fib.Local && exit != packet.Self:
		e.Why = drop.SameTuple
	case e.Hop.Kind != fib.Forward && e.Hop.Kind != fib.Unresolved && e.Hop.Kind != fib.Local:
		e.Why = drop.NoRoute
	}
	x.rejudge(e)
	return true
}

// rejudge asks what the rules would say of a connection now.
func (x *Explainer) rejudge(e *Explanation) {
	s, c := x.w.snapshot, &e.Conn
	tuple := conntrack.Judged(&c.Original, &c.Reply)
	e.Verdict, e.Steps = s.Rules.Explain(&tuple, c.Ingress, c.Egress, nil, s.Tables)
	e.Judged = true
}

// related explains an ICMP error.
func (x *Explainer) related(e *Explanation) {
	w, p := &x.w, &x.w.burst.parsed[0]
	e.Stage = StageConnection
	var quote packet.Quote
	var related conntrack.Related
	if e.Why = packet.DecodeQuote(w.burst.frame[0], p, &quote); e.Why != drop.Pass {
		return
	}
	if !w.mayAddress(w.burst.in, &p.Tuple.Src) {
		e.Why = drop.SourceInvalid
		return
	}
	if e.Why = w.snapshot.Table.Related(p, &quote, &related); e.Why != drop.Pass {
		return
	}
	if !w.snapshot.Table.View(related.Index, w.now, &e.Conn) {
		e.Why = drop.ICMPErrorUnmatched
		return
	}
	way := related.Way()
	e.Direction = way.Direction
	e.Hop, e.Routed = w.hopBy(&way, &p.Tuple.Src, &related.Sent.Src), true
	if e.Hop.Kind != fib.Forward && e.Hop.Kind != fib.Unresolved && e.Hop.Kind != fib.Local {
		e.Why = drop.NoRoute
	}
}

// decided explains the first packet of a connection.
func (x *Explainer) decided(e *Explanation) {
	w, b := &x.w, &x.w.burst
	p, d := &b.parsed[0], &w.decision
	w.decide(b, 0, d)
	e.Stage, e.Turn = StageDecision, w.turned
	e.Routed, e.Hop, e.Back = d.routed, d.hop, w.hopTo(p.Tuple.Src)
	if way := w.hopTo(w.turned.Tuple.Dst); d.routed && steerable(&way, &w.turned.Tuple.Dst) {
		e.Route = w.snapshot.Steering.Row(&w.turned.Tuple, b.in.ID) + 1
	}
	e.Before, _ = w.snapshot.NAT.Applies(&w.turned, packet.NoPort)
	if e.Judged = d.judged; d.judged {
		facts := d.found.factsOf(b.frame[0], p)
		_, e.Steps = w.snapshot.Rules.Explain(&w.turned.Tuple, b.in.ID, e.Out(), &facts, w.snapshot.Tables)
		e.Verdict = d.verdict
	}
	switch d.ruling {
	case rulingDrop:
		e.Why = d.why
	case rulingNoImage:
		e.Why = translationReasons[w.turned.Outcome]
	case rulingNoRoute:
		e.Why = drop.NoRoute
	case rulingTTL:
		e.Why = drop.TTLExceeded
	case rulingReject:
		e.Why = drop.RuleReject
	case rulingHand:
		e.Stage, e.Why = StageKernel, drop.Pass
	case rulingCookie:
		e.Why, e.Cookie = drop.Pass, true
	case rulingWait, rulingBegin:
		x.begun(e)
	case rulingProven:
		// It stands for the SYN that it was turned into: what a SYN may begin, it may.
		e.Proven = true
		x.begun(e)
	}
}

// begun says what would become of a connection that the rules let begin.
func (x *Explainer) begun(e *Explanation) {
	w, src := &x.w, &e.Parsed.Tuple.Src
	e.Why = drop.Pass
	if limits := w.snapshot.Limits; limits != nil {
		e.Limit, e.Asked = limits.Ask(e.Verdict.Number, src, w.now), true
		if e.Limit != limit.Within {
			e.Why = limitReasons[e.Limit]
			return
		}
	}
	_, e.Behind = w.snapshot.NAT.Applies(&e.Turn, e.Hop.Port)
	e.Reply, e.Source = w.snapshot.NAT.Foresee(&e.Turn, e.Hop.Port)
	if e.Source != nat.Untranslated && e.Source != nat.Translated {
		e.Why = translationReasons[e.Source]
		return
	}
	e.Proposal = w.propose(&w.burst, 0, &e.Verdict, &e.Hop)
	e.Proposal.Reply = e.Reply
	if e.Why = e.Proposal.Refuses(&e.Parsed); e.Proven {
		e.Why = drop.Pass
	}
	if e.Why != drop.Pass {
		return
	}
	var other conntrack.View
	_, e.Clash = w.snapshot.Table.Find(&packet.Parsed{Kind: packet.KindIP, Version: e.Parsed.Version, Tuple: e.Reply}, w.now, &other)
}
