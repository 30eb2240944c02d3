package nat

import (
	"net/netip"

	"github.com/gaissmai/bart"

	"holdfast/dataplane/packet"
)

// condition is what a translation wants of a connection, in the order in which it is
// compared: what is cheap and tells most apart stands first.
type condition struct {
	in                 portSet64 // empty: any
	families           [2]bool   // by family: what it can be translated to
	protos             [4]uint64 // empty: any
	any                bool      // of the protocols
	spans              bool      // some of the two below are there
	toPorts, fromPorts []PortSpan
	from, to           addressSet
}

// portSet64 is a set of logical ports, one bit each; empty holds all of them.
type portSet64 uint64

func portsOf(ids []packet.PortID) (s portSet64) {
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

// holds reports whether the set is empty or has id. NoPort shifts the bit out, so packets
// that come from nowhere match only the empty set.
func (s portSet64) holds(id packet.PortID) bool { return s == 0 || s>>id&1 != 0 }

// addressSet is a set of addresses: those in some prefixes, or all, but for the excluded.
// The zero value holds all. Immutable once set.
type addressSet struct {
	in, not *bart.Lite // nil: all, and none
}

func (s *addressSet) set(in, not []netip.Prefix) { s.in, s.not = liteOf(in), liteOf(not) }

func liteOf(all []netip.Prefix) *bart.Lite {
	if len(all) == 0 {
		return nil
	}
	l := &bart.Lite{}
	for _, p := range all {
		l.Insert(p)
	}
	return l
}

func (s *addressSet) holds(a *packet.Addr) bool {
	if s.in == nil && s.not == nil {
		return true
	}
	addr := a.Netip()
	return (s.in == nil || s.in.Lookup(addr)) && (s.not == nil || !s.not.Lookup(addr))
}

// holds reports whether a connection with this tuple that came in by a port is meant.
func (c *condition) holds(t *packet.Tuple, in packet.PortID) bool {
	switch {
	case !c.in.holds(in), !c.families[family(&t.Src)]:
		return false
	case !c.any && c.protos[t.Proto>>6]>>(t.Proto&63)&1 == 0:
		return false
	case c.spans && !(holdsPort(c.toPorts, t.DstPort) && holdsPort(c.fromPorts, t.SrcPort)):
		return false
	}
	return c.from.holds(&t.Src) && c.to.holds(&t.Dst)
}

func holdsPort(spans []PortSpan, port uint16) bool {
	for _, s := range spans {
		if s.holds(port) {
			return true
		}
	}
	return len(spans) == 0
}

// family is 0 for IPv6 and 1 for IPv4.
func family(a *packet.Addr) int {
	if a.Is4() {
		return 1
	}
	return 0
}
