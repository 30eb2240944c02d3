package wire

// Versions are those of this language that a node speaks, both ends included. Hello and
// Heartbeat keep their form in all versions: nodes that have none in common still settle
// who forwards.
type Versions struct{ Min, Max uint8 }

// Spoken are the versions that this build speaks.
var Spoken = Versions{Min: Version, Max: Version}

// Common returns the highest version that both speak, and whether there is one.
func (v Versions) Common(other Versions) (version uint8, ok bool) {
	version = min(v.Max, other.Max)
	return version, version >= v.Min && version >= other.Min && version != 0
}
