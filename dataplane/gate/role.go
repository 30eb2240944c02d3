package gate

// Role is what a node is for one group of ports. The zero value is Standby: a node
// that was told nothing is mute.
type Role uint8

const (
	// Standby tracks what its peer tells it and transmits nothing on data ports.
	Standby Role = iota
	// Active holds the lease and forwards.
	Active
)

// String returns the word that `holdfast status` prints.
func (r Role) String() string {
	if r == Active {
		return "active"
	}
	return "standby"
}
