package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
)

// deferring builds a site whose rule defers, with other clocks if wanted, and a TCP echo at
// the server.
func deferring(t *testing.T, clocks ...string) (s *site, at string) {
	t.Helper()
	s = newSite(t, 0)
	policy := strings.NewReplacer(append(clocks, `sync = "async"`, `sync = "defer"`)...).Replace(policyText)
	for _, p := range s.places {
		p.files.write("policy.toml", policy, 0o644)
	}
	service := netip.AddrPortFrom(server, 8443)
	echoes(t, s.server, service)
	return s, service.String()
}

// dial opens a connection through the firewall.
func (s *site) dial(t *testing.T, at string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.client.Dial(ctx, "tcp", "", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// comesBack sends through a connection and wants it back.
func comesBack(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var b [5]byte
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b[:]); err != nil {
		t.Fatalf("%v: %v", c.LocalAddr(), err)
	}
}

// deferred is what a daemon counts.
func (d *daemon) deferred(t *testing.T) api.Deferred {
	t.Helper()
	s, err := d.ask()
	if err != nil {
		t.Fatal(err)
	}
	return s.Deferred
}

// TestP3_LinkCut: with the sync link cut a first packet leaves after its bounded time, and
// with the link whole by the peer's word.
func TestP3_LinkCut(t *testing.T) {
	t.Parallel()
	// The peer does not count as dead while this test looks.
	s, at := deferring(t, `lease = "1s"`, `lease = "50s"`, `dead_after = "1500ms"`, "dead_after = \"60s\"\ndefer_max = \"80ms\"", `"2s"`, `"60s"`)
	a, b := s.startPair(t)
	for range 20 {
		comesBack(t, s.dial(t, at))
	}
	if d := a.deferred(t); d.Waited != 20 || d.Acknowledged+d.Late != 20 || d.Acknowledged == 0 {
		t.Errorf("link whole: %+v", d)
	}
	if s, err := b.ask(); err != nil || s.Connections.Count != 20 {
		t.Errorf("the peer has %d connections: %v", s.Connections.Count, err)
	}
	if err := s.places[0].Down("sync"); err != nil {
		t.Fatal(err)
	}
	before := a.deferred(t)
	begun := time.Now()
	c := s.dial(t, at)
	if took := time.Since(begun); took < 80*time.Millisecond {
		t.Errorf("the first packet left after less than %v", took)
	}
	comesBack(t, c)
	if d := a.deferred(t); d.Late != before.Late+1 || d.Acknowledged != before.Acknowledged {
		t.Errorf("link cut: %+v, before %+v", d, before)
	}
	if err := s.places[0].Up("sync"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the peer's word is heard again", func() bool {
		before := a.deferred(t).Acknowledged
		comesBack(t, s.dial(t, at))
		return a.deferred(t).Acknowledged > before
	})
}

// TestP3_KilledAfterTheHandshake: whoever has got a SYN/ACK keeps the connection, even if the
// active node is killed that very moment.
func TestP3_KilledAfterTheHandshake(t *testing.T) {
	t.Parallel()
	s, at := deferring(t)
	a, b := s.startPair(t)
	for round := range 3 {
		var all []net.Conn
		for range 30 {
			all = append(all, s.dial(t, at))
		}
		a.stop(t, unix.SIGKILL)
		for _, c := range all {
			comesBack(t, c)
		}
		if t.Failed() || round == 2 {
			return
		}
		a, b = b, start(t, a.place)
		eventually(t, "the killed node stands by again", func() bool {
			x, y := a.group(), b.group()
			return x.Role == "active" && y.Role == "standby" && y.Ready
		})
	}
}
