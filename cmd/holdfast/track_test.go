package main

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
)

// add writes more behind a file of a node.
func (f *files) add(name, text string) {
	f.t.Helper()
	old, err := os.ReadFile(filepath.Join(f.dir, name))
	f.check(err)
	f.write(name, string(old)+text, 0o644)
}

// script writes a shell script into the folder, and returns its path.
func (f *files) script(name, text string) string {
	f.t.Helper()
	f.write(name, "#!/bin/sh\n"+text+"\n", 0o755)
	return filepath.Join(f.dir, name)
}

// text returns what is in a file of the folder, "" where there is none.
func (f *files) text(name string) string {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, name))
	if !errors.Is(err, os.ErrNotExist) {
		f.check(err)
	}
	return string(text)
}

// track is what a node says of something that is tracked.
func (d *daemon) track(name string) api.Track {
	s, err := d.ask()
	if err != nil {
		return api.Track{}
	}
	for _, k := range s.Tracks {
		if k.Name == name {
			return k
		}
	}
	return api.Track{}
}

// TestTracking_CableOfAPort: the active node's port on one segment dies, and both segments
// follow to the other node (PROMISE 42); the connection that goes through both lives on. When
// the cable is back the role stays. Then the other node's other port dies, and it comes
// back.
func TestTracking_CableOfAPort(t *testing.T) {
	s := newSite(t, 0)
	hook := s.places[1].files.script("on-role", `echo "$HOLDFAST_EVENT $HOLDFAST_NODE $HOLDFAST_GROUP $HOLDFAST_ROLE" >> `+filepath.Join(s.places[1].files.dir, "roles"))
	s.places[1].files.add("node.toml", "[[hooks]]\non = [\"role\"]\ncommand = [\""+hook+"\"]\n")
	a, b := s.startPair(t)
	f := s.flow(t)
	f.answers(t)
	if err := s.switches.Down("lan-0"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "fw-b is active, for both segments", func() bool {
		return a.group().Role == "standby" && b.group().Role == "active"
	})
	f.answers(t)
	status := a.tell(t, "status")
	if !strings.Contains(status.out, "NO CARRIER") || status.code == 0 {
		t.Errorf("status says\n%s", status.out)
	}
	if g := b.group(); g.Alarm {
		t.Error("fw-b serves with an alarm")
	}
	a.tell(t, "promote").refused(t, exitRefused, "port lan is down", "--force")
	if err := s.switches.Up("lan-0"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "fw-a has no fault any more", func() bool { return a.track("port lan").State == "up" })
	if g := b.group(); g.Role != "active" {
		t.Errorf("the role went back: %+v", g)
	}
	eventually(t, "fw-a is ready", func() bool { return a.group().Ready })
	if err := s.switches.Down("wan-1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "fw-a is active again", func() bool {
		return a.group().Role == "active" && b.group().Role == "standby"
	})
	f.answers(t)
	// With both nodes faulty one of them serves what it can.
	if err := s.switches.Down("wan-0"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "fw-a has a fault too", func() bool { return a.track("port wan").State == "down" })
	if g := a.group(); g.Role != "active" || !g.Alarm {
		t.Errorf("with a fault on both nodes: %+v", g)
	}
	b.stop(t, unix.SIGTERM)
	want := "role fw-b main standby\nrole fw-b main active\nrole fw-b main standby\nrole fw-b main standby\n"
	if got := s.places[1].files.text("roles"); got != want {
		t.Errorf("the hook was run with\n%s, want\n%s", got, want)
	}
}

// TestTracking_GatewayAndProgram: the active node asks its gateway by ARP, and hands over when
// it is silent; a standby does not ask. A program that fails on the other node takes the role
// back by its weight.
func TestTracking_GatewayAndProgram(t *testing.T) {
	s := newSite(t, 0)
	for _, p := range s.places {
		f := p.files
		f.add("policy.toml", `
[gateways.isp]
port = "wan"
address = "203.0.113.10"
probe = "neighbor"
interval = "100ms"
timeout = "100ms"
`)
		check := f.script("check", "echo run >> "+filepath.Join(f.dir, "checks")+"; test ! -e "+filepath.Join(f.dir, "broken"))
		f.add("node.toml", `
[track.isp]
kind = "gateway"
gateway = "isp"
hold = "1h"

[track.here]
kind = "program"
command = ["`+check+`"]
interval = "100ms"
timeout = "100ms"
weight = 80
`)
		hook := f.script("hook", `echo "$HOLDFAST_GATEWAY $HOLDFAST_STATE" >> `+filepath.Join(f.dir, "events"))
		f.add("node.toml", "[[hooks]]\non = [\"gateway\", \"track\"]\ncommand = [\""+hook+"\"]\n")
	}
	a, b := s.startPair(t)
	fl := s.flow(t)
	eventually(t, "the gateway answers", func() bool { return a.track("isp").State == "up" })
	if k := b.track("isp"); k.State != "unknown" || k.Why != "only the active node can ask" {
		t.Errorf("the standby says %+v", k)
	}
	list := a.tell(t, "gateways")
	if !strings.Contains(list.out, "answers in ") {
		t.Errorf("gateways says\n%s", list.out)
	}
	// The other node's check fails: it is behind, and fw-a stays.
	s.places[1].files.write("broken", "", 0o644)
	eventually(t, "fw-b's check fails", func() bool { return b.track("here").State == "down" })
	s.places[1].files.remove("broken")
	eventually(t, "fw-b's check is good", func() bool { return b.track("here").State == "up" })

	// The gateway dies.
	gone := netip.MustParsePrefix("203.0.113.10/24")
	if err := s.server.RemoveAddress("s0", gone); err != nil {
		t.Fatal(err)
	}
	eventually(t, "fw-a has handed over", func() bool { return b.group().Role == "active" && a.group().Role == "standby" })
	eventually(t, "fw-a remembers why", func() bool {
		k := a.track("isp")
		return k.State == "down" && strings.Contains(k.Why, "held down")
	})
	eventually(t, "fw-b sees it too", func() bool { return b.track("isp").State == "down" })
	if g := b.group(); g.Role != "active" {
		t.Errorf("with the gateway dead for both: %+v", g)
	}
	if err := errors.Join(s.server.Address("s0", gone), s.server.DefaultRoute(netip.MustParseAddr("203.0.113.2"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "fw-b sees it again", func() bool { return b.track("isp").State == "up" })
	fl.answers(t)
	eventually(t, "the hook was told", func() bool {
		got := s.places[0].files.text("events")
		return strings.Contains(got, "isp up\n") && strings.Contains(got, "isp down\n")
	})
	if strings.Count(s.places[0].files.text("checks"), "run") < 3 {
		t.Error("the program was not run")
	}
}

// TestTracking_ProbesOfPorts: every kind of probe finds the host on the segment, in both
// families where it has both, and says when nobody is there.
func TestTracking_ProbesOfPorts(t *testing.T) {
	s := newSite(t, 0)
	a := s.places[0]
	a.files.alone()
	a.files.replace("policy.toml", `addresses = ["203.0.113.2/24"]`, `addresses = ["203.0.113.2/24", "2001:db8:9::2/64"]`)
	if err := s.server.Address("s0", netip.MustParsePrefix("2001:db8:9::10/64")); err != nil {
		t.Fatal(err)
	}
	l, err := s.server.Listen("tcp", "203.0.113.10:443")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	text := ""
	for name, keys := range map[string]string{
		"icmp4": `kind = "icmp"|target = "203.0.113.10"`, "icmp6": `kind = "icmp"|target = "2001:db8:9::10"`,
		"arp": `kind = "neighbor"|target = "203.0.113.10"`, "nd": `kind = "neighbor"|target = "2001:db8:9::10"`,
		"tcp":    `kind = "tcp"|target = "203.0.113.10:443"`,
		"icmp4-": `kind = "icmp"|target = "203.0.113.77"`, "icmp6-": `kind = "icmp"|target = "2001:db8:9::77"`,
		"arp-": `kind = "neighbor"|target = "203.0.113.77"`, "nd-": `kind = "neighbor"|target = "2001:db8:9::77"`,
		"tcp-": `kind = "tcp"|target = "203.0.113.10:444"`,
	} {
		text += "[track." + name + "]\nport = \"wan\"\nweight = 1\ninterval = \"100ms\"\n" + strings.ReplaceAll(keys, "|", "\n") + "\n"
	}
	a.files.add("node.toml", text)
	d := start(t, a)
	for _, name := range []string{"icmp4", "icmp6", "arp", "nd", "tcp"} {
		eventually(t, name+" is found", func() bool { return d.track(name).State == "up" })
		eventually(t, name+"- is not", func() bool { return d.track(name+"-").State == "down" })
	}
	if why := d.track("tcp-").Why; !strings.Contains(why, "connection refused") {
		t.Errorf("the closed port: %s", why)
	}
	if why := d.track("arp-").Why; !strings.Contains(why, "no answer in time") {
		t.Errorf("nobody there: %s", why)
	}
}
