package config

// SynProxy says whether the firewall answers SYNs itself, with cookies, before it asks the
// server (docs/syn-proxy.md).
type SynProxy uint8

// The choices. The zero value is the default.
const (
	SynProxyNever    SynProxy = iota
	SynProxyAlways            // every SYN that the rule passes
	SynProxyAdaptive          // while too many connections of the table are half-open
)

// String returns the word of the file.
func (s SynProxy) String() string { return [...]string{"never", "always", "adaptive"}[s] }

// MarshalText is String.
func (s SynProxy) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

var synProxy = choice("a choice about SYNs", SynProxyNever, SynProxyAlways, SynProxyAdaptive)

// checkSynProxy finds what is wrong with a rule that has the firewall answer SYNs.
func (r *Rule) checkSynProxy(d *decoder) {
	at := r.SynProxy.Pos
	switch {
	case !r.SynProxy.Written():
	case r.Action.V != Pass && r.Action.V != Match:
		d.refuse(at, "rule "+r.ID.V+" has syn_proxy, and "+r.Action.V.String()+" begins no connection", `give syn_proxy to the rules with action = "pass" that it is for`)
	case r.SynProxy.V != SynProxyNever && r.Mode.V == Sloppy:
		d.refuse(at, "rule "+r.ID.V+" has syn_proxy and sees one direction alone", `remove syn_proxy, or state.mode = "sloppy"`)
	case r.SynProxy.V != SynProxyNever && r.PickUp.V:
		d.refuse(at, "rule "+r.ID.V+" has syn_proxy and picks up connections in mid-stream, so no cookie would be needed", "remove syn_proxy, or state.pick-up")
	case len(r.Protos) > 0:
		for _, p := range r.Protos {
			if p.V == TCP {
				return
			}
		}
		d.refuse(at, "rule "+r.ID.V+" has syn_proxy, and its proto is not tcp", "remove it")
	}
}
