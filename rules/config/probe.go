package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// ProbeKind is how something is asked whether it is there.
type ProbeKind uint8

// The kinds. The zero value asks nothing.
const (
	ProbeNone     ProbeKind = iota
	ProbeICMP               // an echo request (RFC 792, RFC 4443)
	ProbeNeighbor           // ARP (RFC 826) or a neighbour solicitation (RFC 4861)
	ProbeTCP                // a connection is made, and closed
)

// String returns the word of the file.
func (k ProbeKind) String() string { return [...]string{"none", "icmp", "neighbor", "tcp"}[k] }

// MarshalText is String.
func (k ProbeKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Patience says how often something is asked, and from what it is believed to be dead or
// alive: Lost misses in a row, Answered answers in a row.
type Patience struct {
	Interval Value[time.Duration] // between two attempts
	Timeout  Value[time.Duration] // until an attempt counts as a miss
	Lost     Value[int]
	Answered Value[int]
}

// Probe is how something is asked, and how patiently.
type Probe struct {
	Kind   Value[ProbeKind]
	Target Value[netip.AddrPort] // port 0 but for TCP; not Written: the gateway itself
	Patience
}

// Defaults and bounds of a Patience. A second of interval and three misses find a dead target
// within four seconds; a lossy line answers one of three.
const (
	DefaultInterval = time.Second
	DefaultTimeout  = 500 * time.Millisecond
	DefaultLost     = 3
	DefaultAnswered = 3

	intervalMin = 10 * time.Millisecond
	intervalMax = time.Hour
	lostMax     = 100
)

// readPatience reads the keys of a Patience.
func readPatience(t *table) Patience {
	p := Patience{
		Interval: byDefault(DefaultInterval), Timeout: byDefault(DefaultTimeout),
		Lost: byDefault(DefaultLost), Answered: byDefault(DefaultAnswered),
	}
	one(t, "interval", duration(intervalMin, intervalMax), &p.Interval)
	one(t, "timeout", duration(time.Millisecond, intervalMax), &p.Timeout)
	one(t, "lost", integer("a number of misses", 1, lostMax), &p.Lost)
	one(t, "answered", integer("a number of answers", 1, lostMax), &p.Answered)
	if p.Timeout.V > p.Interval.V && (p.Timeout.Written() || p.Interval.Written()) {
		if !p.Timeout.Written() {
			p.Timeout.V = p.Interval.V
		} else {
			t.refuse(p.Timeout.Pos, fmt.Sprintf("timeout (%s) is longer than interval (%s): attempts would overlap", said(p.Timeout), said(p.Interval)),
				"make timeout at most interval")
		}
	}
	return p
}

// readGatewayProbe reads how a gateway is asked: its keys stand in the gateway's own table.
func readGatewayProbe(t *table, gateway Value[netip.Addr]) Probe {
	var p Probe
	one(t, "probe", choice("a kind of probe", ProbeNone, ProbeICMP, ProbeNeighbor, ProbeTCP), &p.Kind)
	one(t, "target", probeTarget, &p.Target)
	p.Patience = readPatience(t)
	p.check(t, needless)
	if p.Target.Written() && gateway.Written() && p.Target.V.Addr().Is4() != gateway.V.Is4() {
		t.refuse(p.Target.Pos, fmt.Sprintf("target %s is of another family than the gateway", p.Target.V.Addr()), "write an address of the gateway's family")
	}
	if p.Target.Written() && p.Kind.V == ProbeNeighbor {
		t.refuse(p.Target.Pos, `a target with probe = "neighbor": it is the gateway itself that is asked`, `remove target, or write probe = "icmp"`)
	}
	return p
}

// targetNeed says whether there must be a target.
type targetNeed uint8

const (
	needless targetNeed = iota // there is something to ask without one
	needful
)

// check finds what does not agree between kind and target.
func (p *Probe) check(t *table, need targetNeed) {
	hasPort := p.Target.V.Port() != 0
	switch {
	case t.n.get("target") != nil && !p.Target.Written():
		// Told already.
	case p.Kind.V == ProbeTCP && !p.Target.Written():
		t.missing("target", `"203.0.113.1:443"`)
	case need == needful && !p.Target.Written():
		t.missing("target", `"203.0.113.1"`)
	case p.Kind.V == ProbeTCP && !hasPort:
		t.refuse(p.Target.Pos, fmt.Sprintf("target %s has no port to connect to", p.Target.V.Addr()), fmt.Sprintf("write one, such as %q", netip.AddrPortFrom(p.Target.V.Addr(), 443)))
	case p.Kind.V != ProbeTCP && hasPort:
		t.refuse(p.Target.Pos, fmt.Sprintf("target %s has a port, and %s needs none", p.Target.V, p.Kind.V), fmt.Sprintf("write %q", p.Target.V.Addr()))
	}
}

// probeTarget reads an address, or one with a port.
func probeTarget(n *node) (netip.AddrPort, *fault) {
	const example = `"203.0.113.1", or "203.0.113.1:443" for TCP`
	if bad := wants(n, unstable.String, "an address", example); bad != nil {
		return netip.AddrPort{}, bad
	}
	at, err := netip.ParseAddrPort(n.text)
	if err != nil {
		var a netip.Addr
		a, err = netip.ParseAddr(strings.Trim(n.text, "[]"))
		at = netip.AddrPortFrom(a, 0)
	} else if at.Port() == 0 {
		return netip.AddrPort{}, &fault{what: n.literal() + " has port 0", mend: "write the port of a service"}
	}
	if err != nil || at.Addr().Zone() != "" || at.Addr().Is4In6() {
		return netip.AddrPort{}, &fault{what: n.literal() + " is not an address", mend: "write one such as " + example}
	}
	return at, hostFault(at.Addr(), n)
}
