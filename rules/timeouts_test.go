package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/conntrack"
	"holdfast/rules/config"
)

// TestTimers: the configuration's timers are the table's, all of them, with its floors.
func TestTimers(t *testing.T) {
	names := config.TimerNames()
	all := conntrack.Timers()
	if len(names) != len(all) {
		t.Fatalf("the file has %d timers, the table %d", len(names), len(all))
	}
	for i, timer := range all {
		least, source := timer.Floor()
		if l, s := config.Floor(names[i]); names[i] != timer.String() || l != least || s != source {
			t.Errorf("%s, floor %v, %s, is in the table %v, %v, %s", names[i], l, s, timer, least, source)
		}
	}
	for i, p := range profiles {
		if config.Profile(i).String() != p.String() {
			t.Errorf("profile %v is %v in the table", config.Profile(i), p)
		}
	}
	if len(profiles) != len(conntrack.Profiles()) {
		t.Errorf("the file has %d profiles, the table %d", len(profiles), len(conntrack.Profiles()))
	}
}

// TestTimeouts: a profile, over it what is set for all, over that what is set for
// translated connections.
func TestTimeouts(t *testing.T) {
	text := head + "[timeouts]\n"
	for _, timer := range conntrack.Timers() {
		text += timer.String() + " = \"7s\"\n"
	}
	p, _ := compiled(t, text+"translated = { udp = \"3m\" }\n")
	timeouts, err := Timeouts(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, timer := range conntrack.Timers() {
		want := 7 * time.Second
		if timer == conntrack.TimerUDP {
			want = 3 * time.Minute
		}
		if timeouts.Plain[timer] != 7*time.Second || timeouts.Translated[timer] != want {
			t.Errorf("%v: %v and %v", timer, timeouts.Plain[timer], timeouts.Translated[timer])
		}
	}
	p, set := compiled(t, head)
	if timeouts, err := Timeouts(p); err != nil || *timeouts != *conntrack.DefaultTimeouts() {
		t.Errorf("no [timeouts]: %v", err)
	}
	if sets := set.Timeouts(); len(sets) != 1 || *sets[0] != *conntrack.DefaultTimeouts() || Adaptive(p) != (conntrack.Adaptive{}) {
		t.Errorf("no [timeouts]: %d sets, %+v", len(sets), Adaptive(p))
	}
	p, _ = compiled(t, head+"[timeouts]\nprofile = \"aggressive\"\nadaptive = { start = \"60%\", end = \"120%\" }\nicmp = \"7s\"\n")
	want := conntrack.ProfileAggressive.Timeouts()
	want.Plain[conntrack.TimerICMP], want.Translated[conntrack.TimerICMP] = 7*time.Second, 7*time.Second
	if timeouts, err := Timeouts(p); err != nil || *timeouts != *want {
		t.Errorf("aggressive: %v", err)
	}
	if got := Adaptive(p); got != (conntrack.Adaptive{Start: 600, End: 1200}) {
		t.Errorf("adaptive: %+v", got)
	}
}

// TestStateOfRules reads as a table of what is said of the connections that a rule admits:
// equal timeouts are one set, and what a rule leaves open a match rule above it may say.
func TestStateOfRules(t *testing.T) {
	_, set := compiled(t, head+`
[timeouts]
tcp-established = "1h"
[[rules]]
id = "early"
action = "pass"
to_port = 1
proto = "tcp"
state = { timeouts = { tcp-established = "10m" } }
[[rules]]
id = "all-tcp"
action = "match"
proto = "tcp"
state = { mode = "liberal", pick-up = true, timeouts = { tcp-established = "20m" } }
[[rules]]
id = "same"
action = "pass"
to_port = 2
proto = "tcp"
state = { mode = "strict", timeouts = { tcp_established = "600s" } }
[[rules]]
id = "as-the-policy"
action = "pass"
to_port = 3
proto = "tcp"
state = { pick-up = false, timeouts = { tcp-established = "60m" } }
[[rules]]
id = "silent"
action = "pass"
to_port = 4
proto = "tcp"
[[rules]]
id = "udp"
action = "pass"
proto = "udp"
state = { mode = "sloppy", timeouts = { udp = "1s", translated = { udp = "3s" } } }
`)
	for _, row := range []struct {
		packet string
		want   State
	}{
		{"tcp 10.0.0.7:9 > 203.0.113.9:1", State{Timeouts: 1}},
		{"tcp 10.0.0.7:9 > 203.0.113.9:2", State{Timeouts: 1, Mode: config.Strict, PickUp: true}},
		{"tcp 10.0.0.7:9 > 203.0.113.9:3", State{Timeouts: 0, Mode: config.Liberal}},
		{"tcp 10.0.0.7:9 > 203.0.113.9:4", State{Timeouts: 2, Mode: config.Liberal, PickUp: true}},
		{"udp 10.0.0.7:9 > 203.0.113.9:4", State{Timeouts: 3, Mode: config.Sloppy}},
	} {
		k := tuple(t, row.packet)
		if got := set.Match(&k, lan, wan, nil, nil); got.Action != Pass || got.State != row.want {
			t.Errorf("%s: %+v, want %+v", row.packet, got, row.want)
		}
	}
	for i, want := range []time.Duration{time.Hour, 10 * time.Minute, 20 * time.Minute, time.Hour} {
		if got := set.Timeouts()[i].Plain[conntrack.TimerEstablished]; got != want {
			t.Errorf("set %d: established for %v, want %v", i, got, want)
		}
	}
	last := set.Timeouts()[3]
	if last.Plain[conntrack.TimerUDP] != time.Second || last.Translated[conntrack.TimerUDP] != 3*time.Second {
		t.Errorf("udp: %v, %v", last.Plain[conntrack.TimerUDP], last.Translated[conntrack.TimerUDP])
	}
}

// TestSetsAreBounded: fifteen sets besides the default, and each rule beyond is told where
// it stands.
func TestSetsAreBounded(t *testing.T) {
	text := func(n int) string {
		var b strings.Builder
		b.WriteString(head)
		for i := range n {
			fmt.Fprintf(&b, "[[rules]]\nid = \"r%d\"\naction = \"pass\"\nproto = \"udp\"\nstate = { timeouts = { udp = \"%ds\" } }\n", i, 100+i)
		}
		return b.String()
	}
	_, set := compiled(t, text(conntrack.TimeoutSetsMax-1))
	if len(set.Timeouts()) != conntrack.TimeoutSetsMax {
		t.Errorf("%d sets", len(set.Timeouts()))
	}
	p, err := config.ParsePolicy("p.toml", []byte(text(conntrack.TimeoutSetsMax+1)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Compile(p)
	var faults config.Errors
	if !errors.As(err, &faults) || len(faults) != 2 {
		t.Fatalf("got %v", err)
	}
	const want = `p.toml:87:30: rule "r15" has timeouts that no rule before it has, and 15 different ones are in use: give it those of another rule, or set them for all in [timeouts]`
	if got := faults[0].Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
