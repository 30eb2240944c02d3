package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/internal/lab"
)

// segments sends TCP segments with these flags (RFC 9293 section 3.1) past the kernel's TCP.
func segments(t *testing.T, ns *lab.Namespace, to string, flags byte, count int) {
	t.Helper()
	conn, err := ns.Dial(context.Background(), "ip4:6", "", to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tcp := make([]byte, 20)
	binary.BigEndian.PutUint16(tcp, 4711)
	binary.BigEndian.PutUint16(tcp[2:], 80)
	tcp[12], tcp[13] = 5<<4, flags
	for range count {
		if _, err := conn.Write(tcp); err != nil {
			t.Fatal(err)
		}
	}
}

// Invalid packets are counted exactly, per reason, port and direction, and `--follow` tells
// of them as they come.
func TestO9_DropsAreCounted(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	p := s.places[0]
	p.files.alone()
	p.files.write("policy.toml", policyText+`
[[rules]]
id = "no-discard"
action = "block"
from = ["self"]
proto = "udp"
to_port = 9
`, 0o644)
	d := start(t, p)
	eventually(t, "it is active", func() bool { return d.group().Role == "active" })
	s.flow(t).answers(t) // the neighbours are known
	ask := func() (all map[spot]uint64) {
		var drops api.Drops
		strict(t, d.tell(t, "drops", "--json").said(t), &drops)
		return counts(&drops)
	}
	follow := d.follows(t, "drops", "--follow")

	before := ask()
	const syn, ack, synFIN = 0x02, 0x10, 0x03
	segments(t, s.client, server.String(), ack, 5)
	segments(t, s.client, server.String(), synFIN, 4)
	segments(t, s.server, "203.0.113.2", syn, 3)
	// What the node's own kernel may not say.
	own, err := p.Dial(context.Background(), "udp", "", net.JoinHostPort(client.String(), "9"))
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	for range 2 {
		if _, err := own.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	want := map[spot]uint64{
		{"lan", "receive", "tcp-no-connection"}: 5,
		{"lan", "receive", "tcp-flags-invalid"}: 4,
		{"wan", "receive", "to-self"}:           3,
		{"lan", "send", "rule-block"}:           2,
	}
	var now map[spot]uint64
	eventually(t, "all are counted", func() bool {
		now = ask()
		for at, n := range want {
			if now[at]-before[at] < n {
				return false
			}
		}
		return true
	})
	for at, n := range want {
		if got := now[at] - before[at]; got != n {
			t.Errorf("%v: counted %d, sent %d", at, got, n)
		}
		for _, port := range []string{"lan", "wan"} {
			for _, direction := range []string{"receive", "send"} {
				other := spot{port, direction, at.reason}
				if other != at && now[other] != before[other] {
					t.Errorf("%v is counted at %v too", at, other)
				}
			}
		}
	}
	eventually(t, "--follow tells of another one", func() bool {
		segments(t, s.client, server.String(), ack, 1) // until its first sample was before one
		return strings.Contains(follow.out.String(), "+")
	})
	follow.says(t, "lan", "receive", "tcp-no-connection", "+")
	follow.interrupted(t)
}

// What has grown is told with how much, and nothing else.
func TestDropsGrown(t *testing.T) {
	before := api.Drops{Ports: []api.PortDrops{{Port: "lan", Receive: map[string]uint64{"to-self": 3, "mute": 1}, Send: map[string]uint64{}}}}
	after := api.Drops{Ports: []api.PortDrops{{Port: "lan", Receive: map[string]uint64{"to-self": 5, "mute": 1}, Send: map[string]uint64{"mute": 7}}}}
	var b bytes.Buffer
	printGrown(&b, time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local), counts(&before), &after)
	if want := "03:04:05  lan  receive  to-self  5  +2\n03:04:05  lan  send     mute     7  +7\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
}
