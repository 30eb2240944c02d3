package rules

import (
	"fmt"

	"holdfast/conntrack"
	"holdfast/rules/config"
)

// Action is what becomes of a packet. The zero value drops it.
type Action uint8

// The actions.
const (
	Block  Action = iota // dropped without an answer
	Pass                 // begins a connection
	Reject               // dropped, and the sender is told
)

// String returns the word of the configuration.
func (a Action) String() string {
	switch a {
	case Block:
		return "block"
	case Pass:
		return "pass"
	case Reject:
		return "reject"
	}
	return fmt.Sprintf("action-%d", uint8(a))
}

// Verdict is what a Set says of a packet. The zero value drops it. It has 16 bytes, which
// are written and read as one.
type Verdict struct {
	Action Action
	State
	Rule   uint32 // index of the rule that decided; Set.Len() for the default
	Number uint32 // stable number of that rule, see Rule.Number; 0 for the default
}

// State is what rules say of a connection that they admit. Each part is what the rule that
// decides says of it, else the last match rule before, else the zero value.
type State struct {
	Sync     conntrack.SyncMode
	Mode     config.StateMode // how strictly sequence numbers are judged
	PickUp   bool             // it may begin in the middle
	SynProxy config.SynProxy  // whether the firewall answers its SYN
	Timeouts uint8            // the number of its set of timeouts, see Set.Timeouts
	Tag      uint8            // what the last match rule with a tag has set, see Set.Tag; 0: none
	Log      config.Log       // what of the connection is logged
}

// Field is what of a packet a rule can look at.
type Field uint8

// The fields, in the order in which a rule is compared. FieldNone is no difference.
const (
	FieldNone Field = iota
	FieldIn
	FieldOut
	FieldProto
	FieldToPort
	FieldFromPort
	FieldTo
	FieldFrom
	FieldTagged
	FieldNotTagged
	FieldTCPFlags
	FieldTTL
	FieldDSCP
	FieldIPOptions
	FieldSection // what the place of its section asks
	FieldGone    // a condition on a packet that is not there any more, see Facts
)

// String returns the key of the configuration.
func (f Field) String() string {
	names := [...]string{"none", "in", "out", "proto", "to_port", "from_port", "to", "from",
		"tagged", "not_tagged", "tcp_flags", "ttl", "dscp", "ip_options", "section", "packet"}
	if int(f) < len(names) {
		return names[f]
	}
	return fmt.Sprintf("field-%d", uint8(f))
}
