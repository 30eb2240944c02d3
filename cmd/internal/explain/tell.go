package explain

import (
	"fmt"
	"strings"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/dataplane"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules"
	"holdfast/rules/config"
	"holdfast/rules/limit"
)

// View is a node as it is explained: its policy, and what that and the node came to.
type View struct {
	Policy   *config.Policy
	Snapshot *dataplane.Snapshot
	Ports    []*dataplane.Port
	Proxy    *dataplane.SynProxy        // nil: one that nobody floods
	Rule     func(number uint32) string // names rules that are gone; nil: none are
	File     bool                       // there is no node: neighbours are not known
}

// Close gives back what Load took. A running node's View is not closed.
func (v *View) Close() error { return v.Snapshot.Table.Close() }

// Explain answers a request at an instant, in ns. Errors wrap api.ErrUsage.
func (v *View) Explain(r *api.ExplainRequest, now int64) (api.Explanation, error) {
	in, err := v.port(r.In)
	if err != nil {
		return api.Explanation{}, err
	}
	frame, err := frameOf(r, v.Ports[in].MAC)
	if err != nil {
		return api.Explanation{}, err
	}
	proxy := v.Proxy
	if proxy == nil {
		proxy = &dataplane.SynProxy{}
	}
	e := dataplane.NewExplainer(v.Ports, proxy).Explain(v.Snapshot, now, in, frame)
	return v.tell(in, &e, r.All), nil
}

// port finds a port by its name.
func (v *View) port(name string) (packet.PortID, error) {
	var names []string
	for _, p := range v.Ports {
		if p.Name == name {
			return p.ID, nil
		}
		names = append(names, p.Name)
	}
	return 0, fmt.Errorf("%w: explain: no port %q: the policy has %s", api.ErrUsage, name, strings.Join(names, ", "))
}

func (v *View) portName(id packet.PortID) string {
	switch {
	case id == packet.Self:
		return "self"
	case int(id) < len(v.Ports):
		return v.Ports[id].Name
	}
	return "none"
}

// tell puts an explanation into words.
func (v *View) tell(in packet.PortID, e *dataplane.Explanation, all bool) api.Explanation {
	x := api.Explanation{In: v.portName(in), Packet: packetWords(&e.Parsed), Steps: []api.ExplainStep{}}
	add := func(s api.ExplainStep) { x.Steps = append(x.Steps, s) }
	switch e.Stage {
	case dataplane.StageDecode:
		add(api.ExplainStep{Step: "decode", Says: "the packet is not good, or not for this node: " + e.Why.String()})
	case dataplane.StageFragment:
		add(api.ExplainStep{Step: "decode", Says: "a fragment: what becomes of it is decided when its datagram is whole"})
	case dataplane.StageKernel:
		add(api.ExplainStep{Step: "connection", Says: "none is needed: the node's kernel gets it"})
	case dataplane.StageConnection:
		if e.Conn.Incarnation != 0 {
			add(v.connectionStep(e))
			x.Rule, x.Position = v.ruleOf(e.Conn.Rule)
		}
	case dataplane.StageDecision:
		add(api.ExplainStep{Step: "connection", Says: "none: it is judged as a first packet"})
		add(v.destinationStep(e))
	}
	if e.Routed {
		add(v.routeStep(e))
	}
	if e.Why == drop.SourceInvalid {
		add(v.sourceStep(in, e))
	}
	if e.Judged {
		add(v.rulesStep(in, e, all))
		if e.Stage != dataplane.StageConnection {
			x.Rule, x.Position = v.ruleOf(e.Verdict.Number)
		}
	}
	if e.Asked {
		add(v.limitStep(e))
	}
	if e.Source != 0 {
		add(v.translationStep(e))
	}
	v.conclude(&x, e)
	return x
}

// packetWords writes a packet on one line.
func packetWords(p *packet.Parsed) string {
	if p.Kind != packet.KindIP {
		return "no IP packet that could be read"
	}
	s := p.Tuple.String()
	if p.Tuple.Proto == packet.TCP {
		s += " " + flagsOf(p.TCPFlags)
	}
	return s
}

func (v *View) ruleOf(number uint32) (id, position string) {
	if r, ok := v.Snapshot.Rules.ByNumber(number); ok {
		return r.ID, r.Pos.String()
	}
	if v.Rule != nil {
		return v.Rule(number), "gone"
	}
	return "", ""
}

func (v *View) connectionStep(e *dataplane.Explanation) api.ExplainStep {
	id, _ := v.ruleOf(e.Conn.Rule)
	state := "unreplied"
	switch {
	case e.Conn.Original.Proto == packet.TCP:
		state = e.Conn.TCP.String()
	case e.Conn.Flags&conntrack.Replied != 0:
		state = "replied"
	}
	direction := [...]string{conntrack.Original: "original", conntrack.Reply: "reply"}[e.Direction&1]
	return api.ExplainStep{Step: "connection", Before: e.Conn.Original.String(), After: e.Conn.Reply.Reply().String(),
		Says: fmt.Sprintf("%v, %s, %s direction, of rule %s: the rules are not asked", e.Conn.Incarnation, state, direction, id)}
}

// appliedWords says which translation applies.
func (v *View) appliedWords(a nat.Applied) (says, position string) {
	if a.Entry == 0 {
		return "none applies", ""
	}
	return a.Kind.String(), rules.Translations(v.Policy)[a.Entry-1].Name
}

func (v *View) destinationStep(e *dataplane.Explanation) api.ExplainStep {
	s := api.ExplainStep{Step: "dnat"}
	s.Says, s.Position = v.appliedWords(e.Before)
	switch e.Turn.Outcome {
	case nat.Opened:
		s.Says = "the mapping of an inside endpoint lets it in"
	case nat.NoTarget, nat.Untranslatable:
		s.Says += ": " + e.Turn.Outcome.String()
	case nat.Untranslated:
		if e.Before.Entry != 0 {
			s.Says += ": it stays as it is"
		}
	}
	if e.Turn.Tuple != e.Turn.Original {
		s.Before, s.After = e.Turn.Original.String(), e.Turn.Tuple.String()
	}
	return s
}

func (v *View) routeStep(e *dataplane.Explanation) api.ExplainStep {
	s := api.ExplainStep{Step: "route"}
	switch h := &e.Hop; h.Kind {
	case fib.Local:
		s.Says = "to the node itself"
	case fib.Forward, fib.Unresolved:
		s.Says = fmt.Sprintf("by %s, next hop %v", v.portName(h.Port), h.Via)
		if all := v.Snapshot.Gateways.All(); h.Gateway != 0 && int(h.Gateway) <= len(all) {
			s.Says += ", gateway " + all[h.Gateway-1].Name
		}
		if h.Kind == fib.Forward {
			s.Says += " at " + h.MAC.String()
		} else if !v.File {
			s.Says += ", whose MAC is asked for: the packet waits"
		}
	default:
		s.Says = h.Kind.String()
	}
	if e.Route > 0 {
		s.Position = v.Policy.Routes[e.Route-1].Pos.String()
	}
	return s
}

func (v *View) sourceStep(in packet.PortID, e *dataplane.Explanation) api.ExplainStep {
	way := v.Policy.Ports[in].Antispoof
	s := api.ExplainStep{Step: "source", Says: fmt.Sprintf("%v may not come in by %s (antispoof %s): the routes say %s %s",
		e.Parsed.Tuple.Src, v.portName(in), way.V, e.Back.Kind, v.portName(e.Back.Port))}
	if way.Written() {
		s.Position = way.Pos.String()
	}
	return s
}

func (v *View) rulesStep(in packet.PortID, e *dataplane.Explanation, all bool) api.ExplainStep {
	q := asked{e.Turn.Tuple, in, e.Out(), &e.Parsed}
	s := api.ExplainStep{Step: "rules"}
	if e.Stage == dataplane.StageConnection {
		s.Step = "rules-now"
		q.tuple, q.in, q.out = conntrack.Judged(&e.Conn.Original, &e.Conn.Reply), e.Conn.Ingress, e.Conn.Egress
	}
	s.Rules, s.LeftOut = v.rulesOf(e, &q, all)
	id, position := v.ruleOf(e.Verdict.Number)
	s.Says, s.Position = fmt.Sprintf("%v by rule %s", e.Verdict.Action, id), position
	if v.Snapshot.Rules.Default(&e.Verdict) {
		s.Says, s.Position = fmt.Sprintf("%v: no rule decides", e.Verdict.Action), ""
	}
	return s
}

func (v *View) limitStep(e *dataplane.Explanation) api.ExplainStep {
	s := api.ExplainStep{Step: "limit", Says: fmt.Sprintf("%v is within it", e.Parsed.Tuple.Src)}
	if int(e.Verdict.Rule) < len(v.Policy.Rules) {
		switch r := &v.Policy.Rules[e.Verdict.Rule]; {
		case r.Limit.Written():
			s.Says, s.Position = "limit "+r.Limit.V+": "+s.Says, r.Limit.Pos.String()
		case r.OwnLimit != nil:
			s.Position = r.OwnLimit.Pos.String()
		default:
			s.Says = "the rule has none"
		}
	}
	if e.Limit != limit.Within {
		s.Says = fmt.Sprintf("%v is beyond it: %v", e.Parsed.Tuple.Src, e.Why)
	}
	return s
}

func (v *View) translationStep(e *dataplane.Explanation) api.ExplainStep {
	s := api.ExplainStep{Step: "snat"}
	s.Says, s.Position = v.appliedWords(e.Behind)
	switch e.Source {
	case nat.Untranslated:
		if e.Behind.Entry != 0 {
			s.Says += ": it stays as it is"
		}
	case nat.Translated:
		s.Before, s.After = e.Turn.Tuple.String(), e.Reply.Reply().String()
		if e.Clash {
			s.Says += ", or the next port that is free"
		}
	default:
		s.Says += ": " + e.Source.String()
	}
	return s
}

// conclude says what becomes of the packet.
func (v *View) conclude(x *api.Explanation, e *dataplane.Explanation) {
	says := ""
	switch {
	case e.Why == drop.RuleReject:
		x.Verdict, x.Reason = "reject", e.Why.String()
		says = fmt.Sprintf("reject, the sender is told (%v)", v.Snapshot.Rules.Answer(&e.Verdict))
	case e.Stage == dataplane.StageFragment:
		x.Verdict, says = "pass", "collected with the other pieces"
	case e.Why != drop.Pass:
		x.Verdict, x.Reason = "drop", e.Why.String()
		says = "drop"
	case e.Stage == dataplane.StageKernel || e.Hop.Kind == fib.Local:
		x.Verdict, says = "pass", "to the node itself"
	case e.Cookie:
		x.Verdict, says = "pass", "answered in the server's name (syn_proxy); the connection begins when the client comes back"
	default:
		x.Verdict, says = "pass", "leaves by "+v.portName(e.Hop.Port)
	}
	if x.Reason != "" {
		says += fmt.Sprintf("; counted as %s at %s, receive", x.Reason, x.In)
	}
	x.Steps = append(x.Steps, api.ExplainStep{Step: "verdict", Says: says})
}
