package config

// Defaults are what holds where no rule says otherwise.
type Defaults struct {
	Action   Value[Action]   // Block or Reject: of what no rule matches; Block
	Reject   Value[Answer]   // of rules that reject and do not say how
	OnChange Value[OnChange] // of rules that do not say it
	SynProxy Value[SynProxy] // of rules that pass, where neither they nor match rules say
	Log      Value[Log]      // of what no rule matches; not Written: as match rules say
}

// Answer is what the sender of a rejected packet is told.
type Answer uint8

// The answers. The zero value is the default. All but TCP gets an ICMP error by the first
// two alike.
const (
	AnswerReset       Answer = iota // TCP: a reset, as a closed port sends it
	AnswerUnreachable               // TCP too: an ICMP error, communication prohibited
	AnswerPort                      // an ICMP error, port unreachable
)

// String returns the word of the file.
func (a Answer) String() string { return [...]string{"reset", "unreachable", "port-unreachable"}[a] }

// MarshalText is String.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

var answer = choice("an answer", AnswerReset, AnswerUnreachable, AnswerPort)

// readDefaults reads [defaults].
func (d *decoder) readDefaults(t *table) Defaults {
	v := Defaults{Action: byDefault(Block)}
	one(t, "action", choice("a default action", Block, Reject), &v.Action)
	one(t, "reject", answer, &v.Reject)
	one(t, "on_change", onChange, &v.OnChange)
	one(t, "syn_proxy", synProxy, &v.SynProxy)
	one(t, "log", logged, &v.Log)
	t.close("")
	return v
}

// checkReject finds what is wrong with how a rule rejects.
func (r *Rule) checkReject(d *decoder) {
	switch {
	case r.Reject.Written() && r.Action.V != Reject:
		d.refuse(r.Reject.Pos, "rule "+r.ID.V+" says how to reject, and its action is "+r.Action.V.String(), `write action = "reject", or remove it`)
	case r.Reject.V == AnswerReset && r.Reject.Written() && len(r.Protos) > 0:
		for _, p := range r.Protos {
			if p.V == TCP {
				return
			}
		}
		d.refuse(r.Reject.Pos, "rule "+r.ID.V+" answers with a reset, and its proto is not tcp", `write reject = "unreachable", or remove it`)
	}
}
