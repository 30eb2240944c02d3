package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Limit bounds what one source has. It has connections, a rate, or both.
type Limit struct {
	Pos         Position      `json:"-"`
	Name        Value[string] // not Written: a rule's own
	Connections Value[uint32] // at once; 0: any number
	Rate        Value[Rate]
	Mask4       Value[uint8] // bits of an IPv4 address that tell sources apart
	Mask6       Value[uint8]
}

// Rate is how many connections may begin in a time. The zero value is any number.
type Rate struct {
	Count uint32
	Per   time.Duration
}

// Bounds of limits, and their defaults: one address of IPv4, one subscriber's network of IPv6.
const (
	limitConnectionsMax = math.MaxInt32
	limitsMax           = math.MaxUint16 // with those that rules have for themselves
	rateCountMax        = math.MaxUint16
	ratePerMin          = time.Millisecond
	ratePerMax          = 24 * time.Hour

	DefaultMask4 = 32
	DefaultMask6 = 64
)

// rate reads "50/10s".
func rate(n *node) (Rate, *fault) {
	const example = `"50/10s": at most 50 new connections in 10 seconds`
	if bad := wants(n, unstable.String, "a rate", example); bad != nil {
		return Rate{}, bad
	}
	return rateOf(n, "connections", example)
}

// rateOf reads a rate of what it is told.
func rateOf(n *node, things, example string) (Rate, *fault) {
	left, right, cut := strings.Cut(n.text, "/")
	count, err := strconv.ParseUint(left, 10, 32)
	per, errPer := time.ParseDuration(right)
	switch {
	case !cut || err != nil || errPer != nil:
		return Rate{}, &fault{what: n.literal() + " is not a rate", mend: "write a number of " + things + " and a time, such as " + example}
	case count < 1 || count > rateCountMax:
		return Rate{}, &fault{what: fmt.Sprintf("%d %s are out of range for a rate", count, things), mend: fmt.Sprintf("write 1 to %d", rateCountMax)}
	case per < ratePerMin || per > ratePerMax:
		return Rate{}, &fault{what: fmt.Sprintf("%v is out of range for a rate", per), mend: fmt.Sprintf("write %v to %v", ratePerMin, ratePerMax)}
	}
	return Rate{Count: uint32(count), Per: per}, nil
}

// readLimit reads [limits.web], or the limit that a rule has for itself.
func readLimit(t *table, l *Limit) {
	l.Pos = t.pos
	l.Mask4, l.Mask6 = byDefault[uint8](DefaultMask4), byDefault[uint8](DefaultMask6)
	faults := len(t.d.errs)
	one(t, "connections", integer[uint32]("a number of connections", 1, limitConnectionsMax), &l.Connections)
	one(t, "rate", rate, &l.Rate)
	one(t, "mask4", integer[uint8]("a prefix length of IPv4", 0, 32), &l.Mask4)
	one(t, "mask6", integer[uint8]("a prefix length of IPv6", 0, 128), &l.Mask6)
	t.close("")
	if len(t.d.errs) == faults && !t.told && !l.Connections.Written() && !l.Rate.Written() {
		t.refuse(l.Pos, t.place()+" limits nothing", `add connections = 100, or rate = "50/10s"`)
	}
}

// readLimit reads a rule's limit: the name of one, or one of its own.
func (r *Rule) readLimit(t *table) {
	n := t.n.get("limit")
	if n == nil || n.kind == unstable.String {
		one(t, "limit", limitName, &r.Limit)
		return
	}
	if n.kind != unstable.Table {
		t.value("limit")
		t.refuse(n.pos, n.literal()+" is not a limit", `write the name of one, or { connections = 100, rate = "50/10s" }`)
		return
	}
	r.OwnLimit = &Limit{}
	readLimit(t.sub("limit"), r.OwnLimit)
}

// limitAt returns where a rule's limit stands, zero where it has none.
func (r *Rule) limitAt() Position {
	if r.OwnLimit != nil {
		return r.OwnLimit.Pos
	}
	return r.Limit.Pos
}

// referLimits: a rule's limit is there, and the rule is one whose connections can count.
func (p *Policy) referLimits(d *decoder) {
	names := make([]string, len(p.Limits))
	for i, l := range p.Limits {
		names[i] = l.Name.V
	}
	count := len(p.Limits)
	for i := range p.Rules {
		r := &p.Rules[i]
		p.referOverload(d, r)
		at := r.limitAt()
		if at.IsZero() {
			continue
		}
		if r.Limit.Written() {
			known(d, "limit", r.Limit, names)
		} else if count++; count == limitsMax+1 {
			d.refuse(at, fmt.Sprintf("more than %d limits", limitsMax), "share limits by name: [limits.web] and limit = \"web\"")
		}
		if r.Action.Written() && r.Action.V != Pass {
			d.refuse(at, fmt.Sprintf("rule %s has a limit, and %s begins no connection", r.ID.V, r.Action.V), `give the limit to the rules with action = "pass" that it is for`)
		}
	}
}
