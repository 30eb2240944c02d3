package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Timeouts is how long connections may be idle, for the whole policy:
//
//	[timeouts]
//	profile = "normal"                             # where every timer starts
//	adaptive = { start = "60%", end = "120%" }     # shorter while the table fills; absent: never
//	tcp-established = "2h"                         # a timer by its name, for all connections
//
//	[timeouts.translated]                          # for connections whose addresses are translated
//	tcp-established = "2h4m"
//
// A rule has timers of its own in the same form, without profile and adaptive:
//
//	state = { timeouts = { udp = "10s", translated = { udp = "2m" } } }
type Timeouts struct {
	Profile  Value[Profile]
	Adaptive Adaptive
	Timers   []Timer // what stands over the profile; sorted, see Timer.compare
}

// Profile is a whole table of timeouts.
type Profile uint8

// The profiles. The zero value is the default. Package conntrack says what they hold.
const (
	ProfileNormal       Profile = iota
	ProfileAggressive           // idle connections go early
	ProfileConservative         // idle connections stay, at the cost of memory
	ProfileHighLatency          // for round trips of seconds
)

// String returns the word of the file.
func (p Profile) String() string {
	return [...]string{"normal", "aggressive", "conservative", "high-latency"}[p]
}

// MarshalText is String.
func (p Profile) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Percent is a share of the table's capacity.
type Percent uint16

// String returns "60%".
func (p Percent) String() string { return strconv.Itoa(int(p)) + "%" }

// MarshalText is String.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Adaptive shortens every timeout from Start on, linearly, to nothing at End. It is off
// where End is zero. An End above 100% leaves a part of each timeout to a full table.
type Adaptive struct{ Start, End Value[Percent] }

const percentMax = 1000

// Scope says which connections a timer is set for.
type Scope uint8

// The scopes.
const (
	AllConnections Scope = iota
	TranslatedOnly       // whose addresses or ports are translated; wins over AllConnections
)

// Timer is how long connections may be idle while they wait for what Name says.
type Timer struct {
	Name  string // as the connection table and listings name it
	Scope Scope
	Idle  Value[time.Duration]
}

// timerMax is the longest that a timer may be; the table's stamps tell no more apart.
const timerMax = 14 * 24 * time.Hour

// timers are the names that a file may use and, for translated connections, the least
// that an RFC allows. They are those of the connection table, which this package lies
// below; package rules tests that they agree.
var timers = []struct {
	name   string
	floor  time.Duration
	source string
}{
	{"tcp-syn-sent", 240 * time.Second, "RFC 5382 REQ-5"},
	{"tcp-syn-recv", 240 * time.Second, "RFC 5382 REQ-5"},
	{"tcp-established", 7440 * time.Second, "RFC 5382 REQ-5"},
	{"tcp-fin-wait", 240 * time.Second, "RFC 5382 REQ-5"},
	{"tcp-close-wait", 240 * time.Second, "RFC 5382 REQ-5"},
	{"tcp-last-ack", 240 * time.Second, "RFC 5382 REQ-5"},
	{"tcp-time-wait", 240 * time.Second, "RFC 5382 REQ-5"},
	{"tcp-close", 240 * time.Second, "RFC 7857 section 2.2"},
	{"tcp-unacknowledged", 240 * time.Second, "RFC 5382 REQ-5"},
	{"tcp-zero-window", 240 * time.Second, "RFC 5382 REQ-5"},
	{"tcp-reset-inexact", 240 * time.Second, "RFC 7857 section 2.2"},
	{"udp", 120 * time.Second, "RFC 4787 REQ-5"},
	{"udp-stream", 120 * time.Second, "RFC 4787 REQ-5"},
	{"icmp", 60 * time.Second, "RFC 5508 REQ-2"},
	{"gre", 0, ""},
	{"gre-stream", 0, ""},
	{"generic", 0, ""},
	{"sctp-init", 0, ""},
	{"sctp-cookie-wait", 0, ""},
	{"sctp-cookie-echoed", 0, ""},
	{"sctp-established", 0, ""},
	{"sctp-shutdown-sent", 0, ""},
	{"sctp-shutdown-recd", 0, ""},
	{"sctp-shutdown-ack-sent", 0, ""},
	{"sctp-heartbeat", 0, ""},
	{"sctp-closed", 0, ""},
}

// timerIndex returns the place of a timer's name in timers, or -1.
func timerIndex(name string) int {
	for i := range timers {
		if timers[i].name == name {
			return i
		}
	}
	return -1
}

// TimerNames returns the names of all timers.
func TimerNames() []string {
	names := make([]string, len(timers))
	for i := range timers {
		names[i] = timers[i].name
	}
	return names
}

// Floor returns the least that an RFC allows a timer for translated connections, and
// which RFC. It is zero where none speaks.
func Floor(timer string) (least time.Duration, source string) {
	if i := timerIndex(timer); i >= 0 {
		return timers[i].floor, timers[i].source
	}
	return 0, ""
}

// compare orders timers as the table does, what is for all connections first: who applies
// them in this order lets the narrower scope win.
func (t Timer) compare(o Timer) int {
	if t.Scope != o.Scope {
		return int(t.Scope) - int(o.Scope)
	}
	return timerIndex(t.Name) - timerIndex(o.Name)
}

// readTimeouts reads the policy's [timeouts].
func (d *decoder) readTimeouts(t *table) Timeouts {
	var all Timeouts
	one(t, "profile", choice("a profile of timeouts", ProfileNormal, ProfileAggressive, ProfileConservative, ProfileHighLatency), &all.Profile)
	all.Adaptive = d.readAdaptive(t.sub("adaptive"))
	all.Timers = d.readTimers(t)
	return all
}

func (d *decoder) readAdaptive(t *table) Adaptive {
	var a Adaptive
	if t.n == nil {
		return a
	}
	faults := len(d.errs)
	need(t, "start", percent, `"60%"`, &a.Start)
	need(t, "end", percent, `"120%"`, &a.End)
	t.close("")
	if len(d.errs) == faults && a.Start.Written() && a.End.Written() && a.Start.V >= a.End.V {
		d.refuse(a.End.Pos, fmt.Sprintf("adaptive timeouts start at %v and end at %v, which is not above it", a.Start.V, a.End.V), `write an end above the start, such as { start = "60%", end = "120%" }`)
	}
	if len(d.errs) != faults {
		return Adaptive{}
	}
	return a
}

// readTimers reads a table whose keys are timers, with those for translated connections in
// a table below it, and closes it.
func (d *decoder) readTimers(t *table) []Timer {
	all := d.readScope(t, AllConnections)
	translated := t.sub("translated")
	all = append(all, d.readScope(translated, TranslatedOnly)...)
	translated.close("")
	t.close("")
	slices.SortFunc(all, Timer.compare)
	return all
}

// readScope reads the timers of one table. A name may be written with "_" for "-", as the
// other keys of the file are.
func (d *decoder) readScope(t *table, scope Scope) []Timer {
	if t.n == nil {
		return nil
	}
	var all []Timer
	first := map[string]Position{}
	for _, f := range t.n.fields {
		name := strings.ReplaceAll(f.name, "_", "-")
		if timerIndex(name) < 0 {
			continue
		}
		if at, ok := first[name]; ok {
			t.keys = append(t.keys, f.name)
			d.refuse(f.pos, fmt.Sprintf("%s is set twice, first at %s", name, at), "remove one of the two")
			continue
		}
		first[name] = f.pos
		timer := Timer{Name: strings.Clone(name), Scope: scope}
		one(t, f.name, duration(time.Millisecond, timerMax), &timer.Idle)
		if timer.Idle.Written() {
			all = append(all, timer)
		}
	}
	t.keys = append(t.keys, TimerNames()...) // for suggestions
	return all
}

// percent reads "60%".
func percent(n *node) (Percent, *fault) {
	mend := fmt.Sprintf(`write a string from "0%%" to "%d%%"`, percentMax)
	digits, ok := strings.CutSuffix(n.text, "%")
	v, err := strconv.ParseUint(digits, 10, 16)
	if n.kind != unstable.String || !ok || err != nil {
		return 0, &fault{what: n.literal() + " is not a share of the table", mend: mend}
	}
	if v > percentMax {
		return 0, &fault{what: n.literal() + " is out of range", mend: mend}
	}
	return Percent(v), nil
}

// warnings tells of timers that a file sets below what an RFC allows for translated
// connections: it holds as written, but a forgotten connection loses its port to a stranger.
func warnings(list []Timer) []Notice {
	var all []Notice
	for i, t := range list {
		least, source := Floor(t.Name)
		if t.Idle.V >= least {
			continue
		}
		narrower := slices.ContainsFunc(list[i+1:], func(o Timer) bool { return o.Name == t.Name && o.Scope == TranslatedOnly })
		if t.Scope == AllConnections && narrower {
			continue
		}
		text := fmt.Sprintf("%s = %v is less than the %v that %s wants for translated connections", t.Name, t.Idle.V, least, source)
		if t.Scope == AllConnections {
			text += fmt.Sprintf("; translated = { %s = %q } beside it would keep to that", t.Name, least)
		}
		all = append(all, Notice{Pos: t.Idle.Pos, Kind: Risky, Text: text})
	}
	return all
}
