package explain

import (
	"fmt"
	"strings"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane"
	"holdfast/dataplane/packet"
	"holdfast/rules"
	"holdfast/rules/config"
)

// asked is what the rules were asked about.
type asked struct {
	tuple   packet.Tuple
	in, out packet.PortID
	parsed  *packet.Parsed
}

// why says in which condition a packet is not what a rule wants.
func (v *View) why(r *config.Rule, step *rules.Step, q *asked) string {
	switch {
	case step.Silent:
		return fmt.Sprintf("%v does not name the node itself (self), and the packet is its own", step.Differs)
	case step.Differs == rules.FieldSection && step.Place > 0 && step.Place <= len(r.Within):
		w := &r.Within[step.Place-1]
		return "section " + w.Section + ": " + v.differs(w.Asks, step.Asked, step.Tag, q)
	}
	return v.differs(r, step.Differs, step.Tag, q)
}

func (v *View) differs(r *config.Rule, f rules.Field, tag uint8, q *asked) string {
	t := &q.tuple
	not := func(is, wants string) string { return fmt.Sprintf("%v is %s, not %s", f, is, wants) }
	switch f {
	case rules.FieldIn:
		return not(v.portName(q.in), words(r.In))
	case rules.FieldOut:
		return not(v.portName(q.out), words(r.Out))
	case rules.FieldProto:
		return not(t.Proto.String(), words(r.Protos))
	case rules.FieldToPort:
		if len(r.ICMPTypes) > 0 {
			return fmt.Sprintf("icmp_type is %d, not %s", t.DstPort>>8, words(r.ICMPTypes))
		}
		return not(fmt.Sprint(t.DstPort), words(r.ToPorts))
	case rules.FieldFromPort:
		return not(fmt.Sprint(t.SrcPort), words(r.FromPorts))
	case rules.FieldTo:
		return not(t.Dst.String(), words(r.To))
	case rules.FieldFrom:
		return not(t.Src.String(), words(r.From))
	case rules.FieldTagged:
		return not(tagName(v.Snapshot.Rules.Tag(tag)), words(r.Tagged))
	case rules.FieldNotTagged:
		return not(tagName(v.Snapshot.Rules.Tag(tag)), "one without "+words(r.NotTagged))
	case rules.FieldTCPFlags:
		return not(flagsOf(q.parsed.TCPFlags), r.TCPFlags.V.String())
	case rules.FieldTTL:
		return not(fmt.Sprint(q.parsed.TTL), words(r.TTL))
	case rules.FieldDSCP:
		return "dscp is not " + words(r.DSCP)
	case rules.FieldIPOptions:
		return not(fmt.Sprint(!r.IPOptions.V), fmt.Sprint(r.IPOptions.V))
	case rules.FieldGone:
		return "it asks what only a packet says, and of the connection none is there"
	}
	return f.String()
}

func tagName(name string) string {
	if name == "" {
		return "none"
	}
	return name
}

// flagsOf writes TCP flags by pf's letters.
func flagsOf(f packet.TCPFlags) string {
	s, _, _ := strings.Cut(config.TCPFlags{Set: uint8(f)}.String(), "/")
	return s
}

// wordsMax is how many of a list's elements are written.
const wordsMax = 4

// words writes a list of the policy.
func words[T any](list []config.Value[T]) string {
	var all []string
	for i, v := range list {
		if i == wordsMax {
			all = append(all, fmt.Sprintf("or %d more", len(list)-wordsMax))
			break
		}
		all = append(all, fmt.Sprint(v.V))
	}
	return strings.Join(all, ", ")
}

// sets says what a match rule that matches sets.
func sets(r *config.Rule) string {
	var all []string
	if r.Tag.Written() {
		all = append(all, "tag "+r.Tag.V)
	}
	if r.Log.Written() {
		all = append(all, "log "+r.Log.V.String())
	}
	if r.Mode.Written() {
		all = append(all, "state mode "+r.Mode.V.String())
	}
	if r.Sync.Written() {
		all = append(all, "sync "+r.Sync.V.String())
	}
	if r.PickUp.Written() {
		all = append(all, fmt.Sprintf("pick-up %v", r.PickUp.V))
	}
	if len(r.Timers) > 0 {
		all = append(all, "timeouts")
	}
	if len(all) == 0 {
		return "matches"
	}
	return "matches, sets " + strings.Join(all, ", ")
}

// Bounds of what is listed without All: of a long ruleset the rules that matched, and of the
// others those that come nearest, which differ in the last conditions.
const (
	listedWhole = 24
	listedNear  = 12
)

// rulesOf lists the rules that were asked.
func (v *View) rulesOf(e *dataplane.Explanation, q *asked, all bool) (list []api.ExplainRule, leftOut int) {
	shown := nearest(e.Steps, all)
	for i := range e.Steps {
		if !shown[i] {
			leftOut++
			continue
		}
		step := &e.Steps[i]
		r := &v.Policy.Rules[step.Rule]
		one := api.ExplainRule{ID: r.ID.V, Action: r.Action.V.String(), Position: r.Pos.String()}
		if step.Differs == rules.FieldNone {
			if one.Says = "matches"; r.Action.V == config.Match {
				one.Says = sets(r)
			}
		} else {
			one.Differs, one.Says = step.Differs.String(), v.why(r, step, q)
		}
		list = append(list, one)
	}
	return list, leftOut
}

// nearest chooses the steps that are listed.
func nearest(steps []rules.Step, all bool) []bool {
	shown := make([]bool, len(steps))
	if all || len(steps) <= listedWhole {
		for i := range shown {
			shown[i] = true
		}
		return shown
	}
	var at [rules.FieldGone + 1][]int // by the first field that differs: the later, the nearer
	for i := range steps {
		at[steps[i].Differs] = append(at[steps[i].Differs], i)
	}
	for _, i := range at[rules.FieldNone] {
		shown[i] = true
	}
	left := listedNear
	for f := rules.FieldGone; f > rules.FieldNone && left > 0; f-- {
		near := at[f][max(0, len(at[f])-left):] // the last ones: next to the rule that decides
		for _, i := range near {
			shown[i] = true
		}
		left -= len(near)
	}
	return shown
}
