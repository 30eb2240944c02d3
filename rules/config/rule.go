package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Rule is one row of the filter. Every list that is empty holds for everything.
type Rule struct {
	Pos       Position `json:"-"` // of its [[rules]]
	ID        Value[string]
	Action    Value[Action]
	In, Out   []Value[string]  // logical ports
	From, To  []Value[Address] // the original source, the final destination
	Protos    []Value[Protocol]
	FromPorts []Value[PortRange] // with a protocol that has ports
	ToPorts   []Value[PortRange]
	ICMPTypes []Value[uint8] // with icmp or icmpv6
	Gateway   Value[string]
	Labels    []Value[string] // with placeholders such as {port}
	Mode      Value[StateMode]
	Sync      Value[SyncMode]
	PickUp    Value[bool]   // a connection may begin in the middle; false by default
	Timers    []Timer       // over the policy's timeouts; sorted, see Timer.compare
	Limit     Value[string] // on each source; the name of one of Policy.Limits
	OwnLimit  *Limit        // or one of its own; nil: none
	Overload  Value[string] // the table that takes in who goes beyond it
	Flush     Value[Flush]  // which connections of such a source end
	Tag       Value[string] // of the packet from here on; match rules only
	Log       Value[Log]
	OnChange  Value[OnChange]
	SynProxy  Value[SynProxy] // not Written: as Defaults say
	Reject    Value[Answer]   // not Written: as Defaults say
	Within    []Within        // the sections that it stands in, the outermost first
	Conditions
}

// DefaultID is the name of what holds where no rule matches: block. No rule has it.
const DefaultID = "default"

// Action is what a rule says. The zero value is illegal.
type Action uint8

// The actions.
const (
	Pass   Action = iota + 1
	Block         // drop without an answer
	Reject        // drop and tell the sender
	Match         // decide nothing; what it says of state holds for the rule that decides
)

// String returns the word of the file.
func (a Action) String() string { return [...]string{"unset", "pass", "block", "reject", "match"}[a] }

// MarshalText is String.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// StateMode is how strictly a connection's sequence numbers are judged.
type StateMode uint8

// The modes. The zero value is the default.
const (
	Strict  StateMode = iota // the window test
	Liberal                  // only resets are judged by their number
	Sloppy                   // states only, for paths that see one direction
)

// String returns the word of the file.
func (m StateMode) String() string { return [...]string{"strict", "liberal", "sloppy"}[m] }

// MarshalText is String.
func (m StateMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// SyncMode is how durable a connection is across a failover.
type SyncMode uint8

// The modes. The zero value is the default.
const (
	SyncAsync SyncMode = iota // replicated while the packet goes on
	SyncDefer                 // the first packet waits for a peer's acknowledgement
	SyncNone                  // not replicated
)

// String returns the word of the file.
func (m SyncMode) String() string { return [...]string{"async", "defer", "none"}[m] }

// MarshalText is String.
func (m SyncMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// The parsers of what many rules have, made once.
var (
	ruleName    = named("rule", nameMax)
	tagName     = named("tag", nameMax)
	portName    = named("port", portNameMax)
	gatewayName = named("gateway", nameMax)
	limitName   = named("limit", nameMax)
	action      = choice("an action", Pass, Block, Reject, Match)
	stateMode   = choice("a state mode", Strict, Liberal, Sloppy)
	syncMode    = choice("a sync mode", SyncAsync, SyncDefer, SyncNone)
)

// readRule reads a rule to where it stands: it is large, and there may be 100,000.
func (d *decoder) readRule(t *table, r *Rule) {
	r.Pos = t.pos
	faults := len(d.errs)
	t.value("section") // a key too, of rules that readPlace reads
	need(t, "id", ruleName, `"web-out"`, &r.ID)
	need(t, "action", action, `"pass"`, &r.Action)
	r.readAsks(t)
	one(t, "reject", answer, &r.Reject)
	one(t, "tag", tagName, &r.Tag)
	one(t, "log", logged, &r.Log)
	one(t, "syn_proxy", synProxy, &r.SynProxy)
	refuseUnbuilt(t)
	one(t, "gateway", gatewayName, &r.Gateway)
	many(t, "label", label, &r.Labels)
	r.readLimit(t)
	r.readOverload(t)
	one(t, "on_change", onChange, &r.OnChange)
	r.readState(t)
	t.close("")
	if len(d.errs) == faults {
		r.check(d)
	}
}

// readState reads what a rule says of its connections' state, which most do not.
func (r *Rule) readState(t *table) {
	if t.n.get("state") == nil {
		t.value("state")
		return
	}
	state := t.sub("state")
	one(state, "mode", stateMode, &r.Mode)
	one(state, "sync", syncMode, &r.Sync)
	one(state, "pick-up", boolean, &r.PickUp)
	r.Timers = t.d.readTimers(state.sub("timeouts"))
	state.close("")
}

// readAsks reads what a rule asks of a packet.
func (r *Rule) readAsks(t *table) {
	many(t, "in", portName, &r.In)
	many(t, "out", portName, &r.Out)
	many(t, "from", addressElement, &r.From)
	many(t, "to", addressElement, &r.To)
	many(t, "proto", protocol, &r.Protos)
	many(t, "from_port", portRange, &r.FromPorts)
	many(t, "to_port", portRange, &r.ToPorts)
	r.readICMPTypes(t)
	readConditions(t, &r.Conditions)
}

// readICMPTypes reads the types, whose names depend on the protocol.
func (r *Rule) readICMPTypes(t *table) {
	n := t.n.get("icmp_type")
	if n == nil {
		t.value("icmp_type")
		return
	}
	if len(r.Protos) != 1 || r.Protos[0].V != ICMP && r.Protos[0].V != ICMPv6 {
		t.value("icmp_type")
		t.refuse(n.pos, "icmp_type needs one protocol that has types", `write proto = "icmp" or proto = "icmpv6"`)
		return
	}
	many(t, "icmp_type", icmpType(r.Protos[0].V), &r.ICMPTypes)
}

// check finds what is wrong with a rule whose values are right one by one.
func (r *Rule) check(d *decoder) {
	if r.ID.V == DefaultID {
		d.refuse(r.ID.Pos, `"default" names what holds where no rule matches`, "give the rule another id")
	}
	r.checkAsks(d)
	if r.Tag.Written() && r.Action.V != Match {
		d.refuse(r.Tag.Pos, fmt.Sprintf("rule %s sets a tag and decides: no rule behind it is asked", r.ID.V), `set tags in rules with action = "match"`)
	}
	r.checkReject(d)
}

// checkAsks finds what is wrong with what it asks.
func (r *Rule) checkAsks(d *decoder) {
	for _, ports := range [][]Value[PortRange]{r.FromPorts, r.ToPorts} {
		if len(ports) > 0 {
			wantPorts(d, "rule "+r.ID.V, r.Protos, ports, "write two rules, one without ports")
			break // what is wrong is told once
		}
	}
	r.checkConditions(d)
	r.checkSynProxy(d)
}

// wantPorts refuses ports where a protocol that has them is not named, or one that has none.
func wantPorts(d *decoder, who string, protos []Value[Protocol], ports []Value[PortRange], split string) {
	if len(ports) == 0 {
		return
	}
	if len(protos) == 0 {
		d.refuse(ports[0].Pos, who+" has ports and no protocol", `add proto = "tcp" or proto = ["tcp", "udp"]`)
	}
	for _, p := range protos {
		if !p.V.HasPorts() {
			d.refuse(p.Pos, fmt.Sprintf("%s has ports, and %s has none", who, p.V), split)
		}
	}
}

// Placeholders are what a label may hold between braces.
var Placeholders = []string{"in", "out", "src", "dst", "port", "proto", "id"}

// labelHole finds what stands between braces, or a brace that stands alone.
var labelHole = regexp.MustCompile(`\{([^{}]*)\}|[{}]`)

// label reads a label and checks its placeholders.
func label(n *node) (string, *fault) {
	s, bad := text("a label", nameMax, `"web"`)(n)
	if bad != nil {
		return "", bad
	}
	if strings.ContainsFunc(s, unicode.IsSpace) {
		return "", &fault{what: n.literal() + " has a space", mend: "write a label without, so that selectors can name it"}
	}
	for _, hole := range labelHole.FindAllStringSubmatch(s, -1) {
		if hole[0] == "{" || hole[0] == "}" {
			return "", &fault{what: n.literal() + " has a brace without its other", mend: `write placeholders as "{port}"`}
		}
		if !slices.Contains(Placeholders, hole[1]) {
			return "", &fault{what: fmt.Sprintf("unknown placeholder {%s} in a label", hole[1]), mend: suggest(hole[1], Placeholders, "placeholders")}
		}
	}
	return s, nil
}
