package config

import "slices"

// Rules are compared field by field and not by their canonical form, as other objects are: a
// policy may have 100,000, and a reload waits for the answer. What canonical leaves out counts
// here, as in Hash: that a value is written, though it is the default. `mode = "strict"`
// overrides what a match rule says, and `ip_options = false` asks for packets without.

// equal compares what is written, apart from where.
func equal[T comparable](a, b Value[T]) bool { return a.V == b.V && a.Written() == b.Written() }

func equals[T comparable](a, b []Value[T]) bool { return slices.EqualFunc(a, b, equal) }

// asksAs reports whether two rules ask the same of a packet.
func (r *Rule) asksAs(o *Rule) bool {
	if len(r.Within) != len(o.Within) {
		return false
	}
	for i, w := range r.Within {
		if x := o.Within[i]; w.Section != x.Section || w.Asks != x.Asks && !w.Asks.asksAs(x.Asks) {
			return false
		}
	}
	return equals(r.In, o.In) && equals(r.Out, o.Out) && equals(r.From, o.From) && equals(r.To, o.To) &&
		equals(r.Protos, o.Protos) && equals(r.FromPorts, o.FromPorts) && equals(r.ToPorts, o.ToPorts) && equals(r.ICMPTypes, o.ICMPTypes) &&
		equal(r.TCPFlags, o.TCPFlags) && equals(r.TTL, o.TTL) && equals(r.DSCP, o.DSCP) && equal(r.IPOptions, o.IPOptions) &&
		equals(r.Tagged, o.Tagged) && equals(r.NotTagged, o.NotTagged)
}

// meansAs reports whether two rules of one id mean the same, apart from what wordsAs tells.
func (r *Rule) meansAs(o *Rule) bool {
	return equal(r.ID, o.ID) && equal(r.Action, o.Action) && equal(r.Gateway, o.Gateway) &&
		equal(r.Mode, o.Mode) && equal(r.Sync, o.Sync) && equal(r.PickUp, o.PickUp) && equal(r.SynProxy, o.SynProxy) && equal(r.Tag, o.Tag) && equal(r.Reject, o.Reject) &&
		equal(r.Limit, o.Limit) && equal(r.Overload, o.Overload) && equal(r.Flush, o.Flush) && r.OwnLimit.limitsAs(o.OwnLimit) && slices.EqualFunc(r.Timers, o.Timers, Timer.same) && r.asksAs(o)
}

// wordsAs reports whether what does not change what two rules admit is the same, apart from
// OnChange, of which Policy.OnChangeOf has the last word.
func (r *Rule) wordsAs(o *Rule) bool { return equals(r.Labels, o.Labels) && equal(r.Log, o.Log) }

// limitsAs reports whether two limits, of which each may be none, are the same.
func (l *Limit) limitsAs(o *Limit) bool {
	if l == nil || o == nil {
		return l == o
	}
	return l.Name.V == o.Name.V && l.Connections.V == o.Connections.V && l.Rate.V == o.Rate.V && l.Mask4.V == o.Mask4.V && l.Mask6.V == o.Mask6.V
}

func (t Timer) same(o Timer) bool {
	return t.Name == o.Name && t.Scope == o.Scope && t.Idle.V == o.Idle.V
}

// limit returns the limit of a name, nil where there is none.
func (p *Policy) limit(name string) *Limit {
	for i := range p.Limits { // sorted, but few
		if p.Limits[i].Name.V == name {
			return &p.Limits[i]
		}
	}
	return nil
}
