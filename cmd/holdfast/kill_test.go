package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connect makes a TCP connection from the client to the server, through the firewall,
// over which both have spoken.
func (s *site) connect(t *testing.T, port uint16) (inside, outside net.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	at := netip.AddrPortFrom(server, port).String()
	l, err := s.server.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if inside, err = s.client.Dial(ctx, "tcp", "", at); err != nil {
		t.Fatal(err)
	}
	if outside, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		inside.Close()
		outside.Close()
	})
	var b [64]byte
	for _, way := range [][2]net.Conn{{inside, outside}, {outside, inside}} {
		if _, err := way[0].Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := way[1].SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := way[1].Read(b[:]); err != nil {
			t.Fatal(err)
		}
	}
	return inside, outside
}

// isReset reports whether a read ends with a reset in time.
func isReset(t *testing.T, c net.Conn) bool {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var b [64]byte
	n, err := c.Read(b[:])
	if !errors.Is(err, unix.ECONNRESET) {
		t.Logf("read %d bytes: %v", n, err)
	}
	return errors.Is(err, unix.ECONNRESET)
}

// TestQ1_ResetReachesBothEnds: real TCP through a real node gets ECONNRESET at both ends,
// behind masquerade, whatever selector chose it; what was not chosen goes on, and a
// datagram socket learns by "prohibited" (P13).
func TestQ1_ResetReachesBothEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	s.places[0].files.alone()
	a := start(t, s.places[0])
	eventually(t, "it is active", func() bool { return a.group().Role == "active" })
	f := s.flow(t)
	f.answers(t)
	for i, selector := range []string{"dport=5000", "rule=inside-out"} {
		inside, outside := s.connect(t, uint16(5000+i))
		other, otherServer := s.connect(t, uint16(6000+i))
		words := []string{"kill", "proto=tcp", selector, "--manner", "reset"}
		both := selector == "rule=inside-out" // by class alone: all TCP and the flow
		if both {
			words = []string{"kill", selector, "--manner", "reset"}
		}
		got := a.tell(t, words...).said(t)
		if want := map[bool]string{false: "fw-a: 1 connections killed\n", true: "fw-a: 4 connections killed\n"}[both]; got != want {
			t.Errorf("%v: %q, want %q", words, got, want)
		}
		if !isReset(t, inside) || !isReset(t, outside) {
			t.Errorf("%v: an end was not reset", words)
		}
		if !both {
			if _, err := other.Write([]byte("on")); err != nil {
				t.Error(err)
			}
			var b [8]byte
			if err := otherServer.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if n, err := otherServer.Read(b[:]); err != nil || string(b[:n]) != "on" {
				t.Errorf("the connection that was not meant: %q %v", b[:n], err)
			}
		}
	}
	f.answers(t) // it begins anew
	if got := a.tell(t, "kill", "proto=udp", "--manner", "unreachable").said(t); got != "fw-a: 1 connections killed\n" {
		t.Errorf("%q", got)
	}
	var b [64]byte
	eventually(t, "the datagram socket learns of it", func() bool {
		_, err := read(f.conn, b[:])
		return errors.Is(err, unix.EHOSTUNREACH)
	})
}
