package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const masquerade = "[ports.lan]\n[ports.wan]\naddresses = [\"203.0.113.2/29\"]\n[[nat]]\nkind = \"masquerade\"\nfrom = \"10.0.0.0/24\"\nout = \"wan\"\n"

// told writes timers as a test compares them.
func told(timers []Timer) (all []string) {
	for _, t := range timers {
		s := t.Name + " " + t.Idle.V.String()
		if t.Scope == TranslatedOnly {
			s += " translated"
		}
		all = append(all, s)
	}
	return all
}

// TestTimeouts reads every form of timeouts, and puts them into one order.
func TestTimeouts(t *testing.T) {
	p := parsed(t, ports+`
[timeouts]
udp_stream = "3m"
profile = "high-latency"
tcp-established = "2h"
adaptive = { start = "60%", end = "120%" }
[timeouts.translated]
udp = "2m30s"
tcp-established = "2h4m"
[[rules]]
id = "a"
action = "pass"
state = { mode = "sloppy", pick-up = true, timeouts = { translated = { udp = "5m" }, udp = "10s" } }
[[rules]]
id = "b"
action = "pass"
`)
	if got := p.Timeouts; got.Profile.V != ProfileHighLatency || got.Adaptive.Start.V != 60 || got.Adaptive.End.V != 120 {
		t.Errorf("profile and adaptive: %+v", got)
	}
	want := []string{"tcp-established 2h0m0s", "udp-stream 3m0s", "tcp-established 2h4m0s translated", "udp 2m30s translated"}
	if diff := cmp.Diff(want, told(p.Timeouts.Timers)); diff != "" {
		t.Errorf("timers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"udp 10s", "udp 5m0s translated"}, told(p.Rules[0].Timers)); diff != "" {
		t.Errorf("the rule's (-want +got):\n%s", diff)
	}
	if at := p.Timeouts.Timers[1].Idle.Pos.String(); at != "p.toml:6:14" {
		t.Errorf("udp_stream stands at %s", at)
	}
	a, b := &p.Rules[0], &p.Rules[1]
	if !a.PickUp.V || a.Mode.V != Sloppy || b.PickUp.Written() || b.Timers != nil {
		t.Errorf("state: %+v and %+v", a, b)
	}
}

// TestTimeoutsHash: spelling and order of timers do not change what a policy means.
func TestTimeoutsHash(t *testing.T) {
	base := parsed(t, ports+"[timeouts]\nudp = \"10s\"\ngre-stream = \"1m\"\n").Hash()
	if parsed(t, ports+"[timeouts]\ngre_stream = \"60s\"\nudp = \"10s\"\nprofile = \"normal\"\n").Hash() != base {
		t.Error("the hash changes with the spelling")
	}
	for _, other := range []string{
		"udp = \"10s\"\ngre-stream = \"61s\"\n",
		"udp = \"10s\"\ntranslated = { gre-stream = \"1m\" }\n",
		"udp = \"10s\"\ngre-stream = \"1m\"\nprofile = \"aggressive\"\n",
		"udp = \"10s\"\ngre-stream = \"1m\"\nadaptive = { start = \"60%\", end = \"120%\" }\n",
	} {
		if parsed(t, ports+"[timeouts]\n"+other).Hash() == base {
			t.Errorf("the hash overlooks %q", other)
		}
	}
}

// TestTimeoutWarnings: what falls below the floor of an RFC for translated connections
// holds as written, and check says so; where nothing is translated there is no floor.
func TestTimeoutWarnings(t *testing.T) {
	const text = `
[timeouts]
tcp-established = "2h"
udp = "10s"
gre = "1s"
icmp = "60s"
[timeouts.translated]
udp = "2m"
udp-stream = "119s"
[[rules]]
id = "a"
action = "pass"
state = { timeouts = { tcp-close = "5s" } }
`
	warned := func(text string) (all []string) {
		for _, n := range parsed(t, text).Notices {
			if n.Kind == Risky {
				all = append(all, n.String())
			}
		}
		return all
	}
	want := []string{
		`p.toml:10:19: warning: tcp-established = 2h0m0s is less than the 2h4m0s that RFC 5382 REQ-5 wants for translated connections; translated = { tcp-established = "2h4m0s" } beside it would keep to that`,
		`p.toml:16:14: warning: udp-stream = 1m59s is less than the 2m0s that RFC 4787 REQ-5 wants for translated connections`,
		`p.toml:20:36: warning: tcp-close = 5s is less than the 4m0s that RFC 7857 section 2.2 wants for translated connections; translated = { tcp-close = "4m0s" } beside it would keep to that`,
	}
	if diff := cmp.Diff(want, warned(masquerade+text)); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if got := warned(ports + text); got != nil {
		t.Errorf("without nat: %s", strings.Join(got, "\n"))
	}
}

// TestTimerBounds: the ends of what a timer may be.
func TestTimerBounds(t *testing.T) {
	for text, want := range map[string]time.Duration{"1ms": time.Millisecond, "336h": 14 * 24 * time.Hour} {
		p := parsed(t, ports+"[timeouts]\nudp = \""+text+"\"\n")
		if got := p.Timeouts.Timers[0].Idle.V; got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if least, source := Floor("nothing"); least != 0 || source != "" {
		t.Error("a floor for a timer that is none")
	}
}
