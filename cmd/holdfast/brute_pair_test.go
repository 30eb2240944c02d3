package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
)

// entry returns what a node's table says of an address.
func (d *daemon) entry(t *testing.T, address string) (test api.TableTest) {
	t.Helper()
	strict(t, d.tell(t, "tables", "test", "brutes", address, "--json").out, &test)
	return test
}

// TestO6_BlockedOnOneIsBlockedOnBoth: who brute-forces is blocked by the active node, and by the
// one that takes over when that dies, for the rest of the time; what was added and deleted by
// command is so on both, whichever node was told; and the dead one has it all again.
func TestO6_BlockedOnOneIsBlockedOnBoth(t *testing.T) {
	s := newSite(t, 0)
	s.addInnocent(t)
	for _, p := range s.places {
		p.files.write("policy.toml", strings.Replace(bruteText(), `timeout = "3s"`, `timeout = "10m"`, 1), 0o644)
	}
	a, b := s.startPair(t)
	for _, port := range []uint16{5022, 6000} {
		echoes(t, s.server, netip.AddrPortFrom(server, port))
	}
	a.tell(t, "tables", "add", "brutes", "192.0.2.1", "192.0.2.2", "--timeout", "0").said(t)
	eventually(t, "b has what a was told", func() bool { return b.brute(t, netip.MustParseAddr("192.0.2.2")) })
	b.tell(t, "tables", "delete", "brutes", "192.0.2.1").said(t)
	eventually(t, "a has lost what was deleted at b", func() bool { return !a.brute(t, netip.MustParseAddr("192.0.2.1")) })

	s.bruteForce(t, a)
	eventually(t, "b has the entry", func() bool { return b.brute(t, client) })
	a.stop(t, unix.SIGKILL)
	eventually(t, "b is active", func() bool { return b.group().Role == "active" })
	e := b.entry(t, client.String()).Entry
	if e == nil || e.Cause != "overload" || e.Rule != "ssh" || e.Left > 600 || e.Left < 300 {
		t.Errorf("b has %+v", e)
	}
	if c, err := s.dialFrom(t, client, 6000, time.Second); err == nil {
		c.Close()
		t.Error("whom a had blocked, b lets in")
	}
	s.opens(t, innocent, 6000)

	again := start(t, s.places[0])
	eventually(t, "a is back and has it again", func() bool {
		status, err := again.ask()
		return err == nil && again.group().Ready && status.Peers[0].Equality.Tables.Proven >= 0 && again.brute(t, client)
	})
	if !again.brute(t, netip.MustParseAddr("192.0.2.2")) || again.brute(t, netip.MustParseAddr("192.0.2.1")) {
		t.Error("commands were forgotten, or an entry is back")
	}
}
