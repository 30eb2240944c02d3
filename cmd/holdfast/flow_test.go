package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func netipPrefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

// flow is a UDP flow from the client to an echo at the server.
type flow struct {
	conn net.Conn
	echo net.PacketConn
}

// flow opens one; nothing is sent yet.
func (s *site) flow(t *testing.T) *flow {
	t.Helper()
	return s.flowTo(t, 4000)
}

// flowTo is flow, to another port of the server.
func (s *site) flowTo(t *testing.T, port uint16) *flow {
	t.Helper()
	at := netip.AddrPortFrom(server, port).String()
	echo, err := s.server.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var b [64]byte
		for {
			n, from, err := echo.ReadFrom(b[:])
			if err != nil {
				return // closed
			}
			_, _ = echo.WriteTo(b[:n], from) // lost ones are asked for again
		}
	}()
	conn, err := s.client.Dial(context.Background(), "udp", "", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		echo.Close()
		<-done
	})
	return &flow{conn, echo}
}

// answers sends until an answer comes back.
func (f *flow) answers(t *testing.T) {
	t.Helper()
	var b [64]byte
	eventually(t, "the flow is answered", func() bool {
		if _, err := f.conn.Write([]byte("hello")); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
		_, err := read(f.conn, b[:])
		return err == nil
	})
}

// read reads what comes within a moment.
func read(conn net.Conn, b []byte) (int, error) {
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		return 0, err
	}
	return conn.Read(b)
}

// nobodyThere reports whether the kernel has said that nobody listens at the far end.
func nobodyThere(conn net.Conn, b []byte) bool {
	_, err := read(conn, b)
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}
