package config

// OnChange is what a reload does to the connections of a rule that it changes or takes away.
type OnChange uint8

// The choices. The zero value is the default.
const (
	OnChangeKeep    OnChange = iota // they go on as they were admitted
	OnChangeRematch                 // they go on where the new rules would admit them
	OnChangeKill                    // they end
)

// String returns the word of the file.
func (c OnChange) String() string { return [...]string{"keep", "rematch", "kill"}[c] }

// MarshalText is String.
func (c OnChange) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// onChange reads one, of a rule or of the policy.
var onChange = choice("what happens on a change", OnChangeKeep, OnChangeRematch, OnChangeKill)

// OnChangeOf returns what holds for a rule: its own word, else the policy's.
func (p *Policy) OnChangeOf(r *Rule) OnChange {
	if r.OnChange.Written() {
		return r.OnChange.V
	}
	return p.Defaults.OnChange.V
}
