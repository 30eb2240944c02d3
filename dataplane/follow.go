package dataplane

import (
	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fragment"
	"holdfast/dataplane/packet"
	"holdfast/sync/journal"
)

// Follower explains the packets of a trace one after the other and tracks them in the
// snapshot's table by the code of the path, so that later packets of a connection belong to
// it. Nothing is sent, and a rule's syn_proxy does not answer: the trace says what was. The
// snapshot is the follower's own. Not safe for concurrent use.
type Follower struct {
	x Explainer
}

// NewFollower returns a follower of a node with these ports.
func NewFollower(ports []*Port) *Follower {
	f := &Follower{x: *NewExplainer(ports, &SynProxy{})}
	c := &f.x.w.config
	c.Workers, c.Fragments, c.Journal = 1, fragment.New(), journal.New(0, journal.NewOutlet(nil))
	return f
}

// Passage says which way a packet of a trace goes through its port.
type Passage uint8

// The ways.
const (
	Arrives Passage = iota
	Leaves          // it answers a packet that has arrived by the port
)

// Follow explains a frame that comes in by a port, or leaves by it: an answer within a
// connection that came in by it, as a trace taken on the port shows it. now, in ns, never
// goes back.
func (f *Follower) Follow(s *Snapshot, now int64, in packet.PortID, frame []byte) (e Explanation, way Passage) {
	x, w := &f.x, &f.x.w
	w.snapshot, w.now = s, now
	w.sweep()
	if e, ok := f.answered(s, in, frame); ok {
		return e, Leaves
	}
	e = x.Explain(s, now, in, frame)
	b := &w.burst
	w.snapshot, b.in, b.frame[0] = s, w.shares[in], frame
	defer func() { w.snapshot, b.frame[0] = nil, nil }()
	switch {
	case e.Why != drop.Pass:
	case e.Stage == StageConnection && !e.Parsed.IsICMPError():
		f.track(&e)
	case e.Stage == StageDecision:
		f.begin(&e)
	}
	return e, Arrives
}

// begin begins the connection of the burst's packet.
func (f *Follower) begin(e *Explanation) {
	w := &f.x.w
	w.turned = e.Turn
	if fate, admitted := w.beginWithin(&w.burst, 0, &e.Verdict, &e.Hop); !admitted {
		e.Why = fate.why
		return
	}
	w.snapshot.Table.Find(&e.Parsed, w.now, &e.Conn)
}

// track tracks a packet that comes in by the burst's port in its connection.
func (f *Follower) track(e *Explanation) {
	w := &f.x.w
	b := &w.burst
	b.parsed[0] = e.Parsed
	w.snapshot.Table.Lookup(b.parsed[:1], b.hit[:1])
	switch w.track(b, 0) {
	case conntrack.OutcomePass:
		if w.result.Change != conntrack.ChangeNone {
			e.Why = w.settle(&b.parsed[0], &w.result)
		}
		w.snapshot.Table.Find(&e.Parsed, w.now, &e.Conn)
	case conntrack.OutcomeDrop:
		e.Why = w.result.Reason
	case conntrack.OutcomeMiss: // it gives way to a new connection
		if w.result.Change == conntrack.ChangeEnded {
			w.bereave(&w.result.State, w.result.Why)
		}
		*e = Explanation{Parsed: e.Parsed}
		if f.x.decided(e); e.Why == drop.Pass && e.Stage == StageDecision {
			f.begin(e)
		}
	}
}

// answered tracks an answer that leaves by a port as what it was when it arrived, by the
// port that its connection leaves by.
func (f *Follower) answered(s *Snapshot, port packet.PortID, frame []byte) (e Explanation, ok bool) {
	w := &f.x.w
	b := &w.burst
	if packet.Decode(frame, &e.Parsed) != drop.Pass || e.Parsed.Kind != packet.KindIP || e.Parsed.IsICMPError() {
		return e, false
	}
	question := e.Parsed
	question.Tuple = e.Parsed.Tuple.Reply()
	dir, found := s.Table.Find(&question, w.now, &e.Conn)
	if !found || dir != conntrack.Original || e.Conn.Ingress != port || int(e.Conn.Egress) >= len(w.shares) {
		return e, false
	}
	e.Parsed.Tuple = e.Conn.Reply
	e.Stage, e.Why, e.Direction = StageConnection, drop.Pass, conntrack.Reply
	b.in, b.frame[0] = w.shares[e.Conn.Egress], frame
	defer func() { b.frame[0] = nil }()
	f.track(&e)
	return e, true
}
