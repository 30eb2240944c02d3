package limit

import (
	"net/netip"

	"holdfast/dataplane/packet"
)

// Overload says what becomes of a source that goes beyond the limit of a rule, and has proved
// by a handshake that it is where it says. The zero value: nothing.
type Overload struct {
	Table string // of addresses, that takes it in; "": none
	Flush Flush
}

// Flush says which connections of such a source end, beside the one that was too many.
type Flush uint8

// The extents of a flush.
const (
	FlushNone Flush = iota
	FlushRule       // those of the rule whose limit it is
	FlushAll        // all
)

// Overload returns what becomes of a source that has gone beyond the limit of a rule, and the
// source as the limit tells sources apart: the addresses that count as one.
func (t *Table) Overload(rule uint32, src *packet.Addr) (Overload, netip.Prefix) {
	r, c := t.limitOf(rule)
	if c == nil || r.Overload.Table == "" {
		return Overload{}, netip.Prefix{}
	}
	bits := c.bits[0]
	if src.Is4() {
		bits = c.bits[1]
	}
	source, err := src.Netip().Prefix(int(bits))
	if err != nil {
		return Overload{}, netip.Prefix{} // never: New has checked the masks
	}
	return r.Overload, source
}
