package fragment

// ecnSet is the set of ECN values of a datagram's pieces: the bit 1<<value for each, the
// value being the lower two bits of the type of service (RFC 3168 section 5).
type ecnSet uint8

const (
	notECT = 1 << iota
	ect1
	ect0
	congested
)

// merge returns the value of the whole (RFC 3168 section 5.3): congestion that one piece
// met is the datagram's, if every piece can tell of it. ok is false where one cannot:
// the datagram must go, as it would have been dropped instead of marked.
func (s ecnSet) merge(first uint8) (value uint8, ok bool) {
	switch {
	case s&congested == 0:
		return first, true
	case s&notECT != 0:
		return 0, false
	}
	return 3, true
}
