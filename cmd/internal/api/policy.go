package api

// Rules is `holdfast rules --json`: the rules in force in their order, and the default.
type Rules struct {
	File       string `json:"file"`
	Hash       string `json:"hash"`
	Generation uint64 `json:"generation"`
	Rules      []Rule `json:"rules"`
}

// Rule is a rule that is in force, or one that has gone and still has connections.
type Rule struct {
	ID          string   `json:"id"`
	Action      string   `json:"action"`
	Position    string   `json:"position"` // file:line:column
	Labels      []string `json:"labels"`
	Packets     uint64   `json:"packets"`     // first packets on which it decided, since the start
	Connections int      `json:"connections"` // that it admitted and that live
	Logged      uint64   `json:"logged"`      // packets told of in the log, since the start
	Suppressed  uint64   `json:"suppressed"`  // packets that were too many for that
	Gone        bool     `json:"gone,omitempty"`
}

// PlanRequest asks what a reload of a policy would change.
type PlanRequest struct {
	File string `json:"file"` // whole path; "": the policy that the node file names
}

// ReloadRequest asks to put a policy in force, on all nodes.
type ReloadRequest struct {
	File     string  `json:"file"`      // as of PlanRequest
	Confirm  float64 `json:"confirm"`   // seconds after which the policy before comes back unless confirmed; 0: never
	ThisNode bool    `json:"this_node"` // the other nodes keep theirs
}

// ConfirmRequest has nothing to say.
type ConfirmRequest struct{}

// Plan is `holdfast plan --json` and `holdfast reload --json`.
type Plan struct {
	File       string   `json:"file"`
	Hash       string   `json:"hash"`
	Errors     []string `json:"errors"` // everything that is wrong: then nothing changes
	Notices    []string `json:"notices"`
	Rules      int      `json:"rules"`
	Changes    []Change `json:"changes"`
	Ends       []Ends   `json:"ends"`                 // live connections that the change would end
	Generation uint64   `json:"generation,omitempty"` // reload: that is in force now
	Ended      int      `json:"ended"`                // reload: connections that have ended
	Warnings   []string `json:"warnings"`             // reload: nodes that have not taken part
}

// Change is one difference between the policy in force and the other.
type Change struct {
	What     string `json:"what"` // added, removed, changed, reworded, moved
	Kind     string `json:"kind"` // rule, nat, route, table, limit, defaults, timeouts
	Name     string `json:"name"`
	Position string `json:"position"`
}

// Ends counts connections of one rule; "" is no rule.
type Ends struct {
	Rule        string `json:"rule"`
	Connections int    `json:"connections"`
}
