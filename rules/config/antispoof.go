package config

// Antispoof is how a port judges the sources of first packets and ICMP errors that come in
// by it (RFC 3704).
type Antispoof uint8

// The ways. The zero value is the default.
const (
	AntispoofStrict Antispoof = iota // the routes lead back to the source by this port
	AntispoofLoose                   // the routes lead back by some port
	AntispoofOff                     // any source but the node's own addresses
)

// String returns the word of the file.
func (a Antispoof) String() string { return [...]string{"strict", "loose", "off"}[a] }

// MarshalText is String.
func (a Antispoof) MarshalText() ([]byte, error) { return []byte(a.String()), nil }
