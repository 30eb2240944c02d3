package limit

import (
	"encoding/binary"
	"fmt"

	"holdfast/dataplane/packet"
)

// Bounds of a limit, such that its arithmetic fits 64 bits: see bucket.
const (
	CountMax       = 1<<16 - 1              // of a Rate
	PeriodMax      = int64(24 * 3600 * 1e9) // of a Rate, ns
	ConnectionsMax = 1<<31 - 1
)

// Number names a limit of a Plan: its position + 1. Zero is none.
type Number uint16

// Max is how many limits a Plan can have.
const Max = 1<<16 - 1

// Limit is what one source may have. The zero value limits nothing.
type Limit struct {
	Connections uint32 // at once; 0: any number
	Rate        Rate
	Mask4       uint8 // bits of an IPv4 address that tell sources apart, at most 32
	Mask6       uint8 // of an IPv6 address, at most 128
}

// Rate is how many connections may begin in a period. The zero value is any number.
type Rate struct {
	Count uint32 // at most CountMax
	Per   int64  // ns, at most PeriodMax
}

// Rule says which limit the connections of a rule count for.
type Rule struct {
	Number   uint32 // of the rule, the same on every node
	Limit    Number
	Overload Overload // what becomes of a source that goes beyond it
}

// Plan is the limits of a policy. Rules may share one.
type Plan struct {
	Limits []Limit // by Number - 1
	Rules  []Rule  // those that have one
}

// check returns what is wrong with a plan.
func (p *Plan) check() error {
	if len(p.Limits) > Max {
		return fmt.Errorf("%d limits: at most %d can be told apart", len(p.Limits), Max)
	}
	for i, l := range p.Limits {
		if l.Connections > ConnectionsMax || l.Rate.Count > CountMax || l.Rate.Per < 0 || l.Rate.Per > PeriodMax ||
			(l.Rate.Count == 0) != (l.Rate.Per == 0) || l.Mask4 > 32 || l.Mask6 > 128 {
			return fmt.Errorf("limit %d: %+v is out of bounds", i+1, l)
		}
	}
	for _, r := range p.Rules {
		if r.Limit == 0 || int(r.Limit) > len(p.Limits) {
			return fmt.Errorf("rule number %#x has limit %d of %d", r.Number, r.Limit, len(p.Limits))
		}
	}
	return nil
}

// Verdict is what a Table says of a connection. The zero value refuses.
type Verdict uint8

// The verdicts.
const (
	Unset   Verdict = iota
	Within          // it may begin
	TooMany         // its source has as many connections as it may
	TooFast         // its source has begun as many in the period as it may
	NoRoom          // its source cannot be counted
)

// String returns the verdict in words.
func (v Verdict) String() string {
	return [...]string{"unset", "within", "too many", "too fast", "no room"}[min(v, NoRoom)]
}

// compiled is a Limit as it is asked.
type compiled struct {
	connections int32 // ConnectionsMax where any number may be
	rate        Rate
	mask        [2]masks // of IPv6, of IPv4
	bits        [2]uint8 // likewise, their lengths in the family's own terms
}

// masks are the halves of an address's mask.
type masks struct{ high, low uint64 }

// maskOf returns a mask of so many leading bits of 128.
func maskOf(bits uint) masks {
	m := masks{high: ^uint64(0)}
	if bits < 64 {
		return masks{high: ^uint64(0) << (64 - bits)} // a shift by 64 gives 0
	}
	m.low = ^uint64(0) << (128 - bits)
	return m
}

func compile(l *Limit) compiled {
	c := compiled{connections: ConnectionsMax, rate: l.Rate, bits: [2]uint8{l.Mask6, l.Mask4}}
	if l.Connections > 0 {
		c.connections = int32(l.Connections)
	}
	// IPv4 lies behind 96 bits that are the same for all.
	c.mask = [2]masks{maskOf(uint(l.Mask6)), maskOf(96 + uint(l.Mask4))}
	return c
}

// key names a source of a limit.
//
//	0                                16      18
//	+--------------------------------+-------+
//	| address, masked                | limit |
//	+--------------------------------+-------+
type key [18]byte

// keyOf returns the key of an address.
func (c *compiled) keyOf(n Number, src *packet.Addr) (k key) {
	m := &c.mask[0]
	if src.Is4() {
		m = &c.mask[1]
	}
	binary.BigEndian.PutUint64(k[:], binary.BigEndian.Uint64(src[:])&m.high)
	binary.BigEndian.PutUint64(k[8:], binary.BigEndian.Uint64(src[8:])&m.low)
	binary.BigEndian.PutUint16(k[16:], uint16(n))
	return k
}
