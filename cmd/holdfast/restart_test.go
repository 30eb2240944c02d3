package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
)

// said sends a word over a connection and waits until it is there.
func said(t *testing.T, from, to net.Conn, word string) {
	t.Helper()
	if _, err := from.Write([]byte(word)); err != nil {
		t.Fatal(err)
	}
	if err := to.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(word))
	for got := 0; got < len(b); {
		n, err := to.Read(b[got:])
		if err != nil {
			t.Fatalf("waiting for %q: %v", word, err)
		}
		got += n
	}
	if string(b) != word {
		t.Fatalf("got %q, want %q", b, word)
	}
}

// only returns the one TCP connection that a daemon has.
func only(t *testing.T, d *daemon) api.Conn {
	t.Helper()
	var c api.Conns
	strict(t, d.tell(t, "conns", "--json", "proto=tcp").out, &c)
	if len(c.Connections) != 1 {
		t.Fatalf("%d TCP connections", len(c.Connections))
	}
	return c.Connections[0]
}

// TestF7_RestartWithState restarts a real daemon while a TCP connection stands behind
// masquerade. It is the same connection afterwards, not one that was picked up, and what was
// said while nobody forwarded arrives. A file is used once: a daemon that is killed leaves
// none, and the next begins with nothing.
func TestF7_RestartWithState(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	p := s.places[0]
	p.files.alone()
	p.files.replace("node.toml", `name = "fw-a"`, "name = \"fw-a\"\nstate_file = \"state\"")
	file := filepath.Join(p.files.dir, "state")
	gone := func(when string) {
		t.Helper()
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s the file is there: %v", when, err)
		}
	}
	active := func(d *daemon) func() bool { return func() bool { return d.group().Role == "active" } }

	a := start(t, p)
	eventually(t, "it is active", active(a))
	inside, outside := s.connect(t, 5000)
	before := only(t, a)
	gone("while it runs")
	a.stop(t, unix.SIGTERM)
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, mode %v", err, info)
	}
	if !strings.Contains(a.log.String(), "connections saved") {
		t.Errorf("it says nothing of what it saved:\n%s", a.log)
	}
	if _, err := inside.Write([]byte("while nobody forwards")); err != nil {
		t.Fatal(err)
	}

	a = start(t, p)
	gone("after the start")
	eventually(t, "it is active again", active(a))
	said(t, outside, inside, "from outside")
	buf := make([]byte, 64)
	if err := outside.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := outside.Read(buf); err != nil || string(buf[:n]) != "while nobody forwards" {
		t.Fatalf("got %q: %v", buf[:n], err)
	}
	said(t, inside, outside, "from inside")
	after := only(t, a)
	if after.ID != before.ID || after.Rule != before.Rule || after.State != "ESTABLISHED" {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
	f := s.flow(t)
	f.answers(t) // and new ones begin

	a.stop(t, unix.SIGKILL)
	gone("after a kill")
	if err := os.WriteFile(file, []byte("HOLDFAST, but torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	a = start(t, p)
	gone("after a torn one")
	eventually(t, "it is active for the third time", active(a))
	if lines := strings.Count(a.log.String(), "starting without connections"); lines != 1 {
		t.Errorf("%d lines about the torn file:\n%s", lines, a.log)
	}
	var c api.Conns
	strict(t, a.tell(t, "conns", "--json", "proto=tcp").out, &c)
	if len(c.Connections) != 0 {
		t.Errorf("%d connections out of nothing", len(c.Connections))
	}
}

// TestF7_RestartOfAPair: both nodes end. The one that comes back alone serves from what it
// has saved; the other, which then hears it, does not believe its own file any more.
func TestF7_RestartOfAPair(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	for _, p := range s.places {
		text, err := os.ReadFile(p.files.node)
		p.files.check(err)
		p.files.write("node.toml", strings.Replace(string(text), "[devices]", "state_file = \"state\"\n\n[devices]", 1), 0o644)
	}
	a, b := s.startPair(t)
	inside, outside := s.connect(t, 5000)
	before := only(t, a)
	eventually(t, "fw-b knows it", func() bool {
		st, err := b.ask()
		return err == nil && st.Connections.Count == 1
	})
	b.stop(t, unix.SIGTERM)
	a.stop(t, unix.SIGTERM)

	a = start(t, s.places[0])
	eventually(t, "it serves alone", func() bool { return a.group().Role == "active" })
	said(t, inside, outside, "from inside")
	said(t, outside, inside, "from outside")
	if after := only(t, a); after.ID != before.ID {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
	b = start(t, s.places[1])
	eventually(t, "both are ready", func() bool { return a.group().Ready && b.group().Ready && b.group().Active == "fw-a" })
	said(t, inside, outside, "with a standby")
	a.stop(t, unix.SIGTERM)
	eventually(t, "fw-b serves", func() bool { return b.group().Role == "active" })
	if !strings.Contains(b.log.String(), "a peer knows newer ones") {
		t.Errorf("fw-b may have used its old file:\n%s", b.log)
	}
}
