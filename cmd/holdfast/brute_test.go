package main

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"

	"holdfast/cmd/internal/api"
)

// bruteText is a policy with two services whose connections are limited, in front of the rules
// of policyText.
func bruteText() string {
	head, rest, _ := strings.Cut(policyText, "[[rules]]")
	return head + `[tables.brutes]
timeout = "3s"

[[rules]]
id = "no-brutes"
action = "block"
from = "<brutes>"

[[rules]]
id = "ssh"
action = "pass"
in = "lan"
proto = "tcp"
to_port = 5022
limit = { rate = "3/6s" }
overload = "brutes"
flush = "all"

[[rules]]
id = "mail"
action = "pass"
in = "lan"
proto = "tcp"
to_port = 5025
limit = { connections = 3 }
overload = "brutes"
flush = "all"

[[rules]]` + rest
}

// innocent is a second host beside the client.
var innocent = netip.MustParseAddr("10.0.0.11")

func (s *site) addInnocent(t *testing.T) {
	t.Helper()
	link, err := s.client.Link("c0")
	if err != nil {
		t.Fatal(err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: innocent.AsSlice(), Mask: net.CIDRMask(24, 32)}}
	if err := s.client.Handle().AddrAdd(link, address); err != nil {
		t.Fatal(err)
	}
}

// dialFrom opens a TCP connection of one of the client's addresses.
func (s *site) dialFrom(t *testing.T, from netip.Addr, port uint16, limit time.Duration) (net.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c, err := s.client.Dial(ctx, "tcp", netip.AddrPortFrom(from, 0).String(), netip.AddrPortFrom(server, port).String())
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// saysBack reports whether a connection's echo answers.
func saysBack(c net.Conn) bool {
	if _, err := c.Write([]byte("hello")); err != nil {
		return false
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return false
	}
	var b [64]byte
	n, err := c.Read(b[:])
	return err == nil && string(b[:n]) == "hello"
}

// opens opens a connection that speaks.
func (s *site) opens(t *testing.T, from netip.Addr, port uint16) net.Conn {
	t.Helper()
	c, err := s.dialFrom(t, from, port, patience)
	if err != nil {
		t.Fatal(err)
	}
	if !saysBack(c) {
		t.Fatalf("a connection of %v to port %d says nothing", from, port)
	}
	return c
}

// brute reports whether the node's table has an address.
func (d *daemon) brute(t *testing.T, a netip.Addr) bool {
	return d.tell(t, "tables", "test", "brutes", a.String()).code == 0
}

// TestO6_BruteForceIsBlocked: real TCP through a real node. Who opens connections too fast is
// blocked, its connections of other rules are reset at both ends, and it may come again when
// its entry has left. A host beside it, which has all that it may, is not touched by that, nor
// by a flood of SYNs and ACKs in its name.
func TestO6_BruteForceIsBlocked(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	p := s.places[0]
	p.files.alone()
	p.files.write("policy.toml", bruteText(), 0o644)
	s.addInnocent(t)
	d := start(t, p)
	eventually(t, "it is active", func() bool { return d.group().Role == "active" })
	for _, port := range []uint16{5022, 5025, 6000} {
		echoes(t, s.server, netip.AddrPortFrom(server, port))
	}

	other, outside := s.connect(t, 6001)
	innocents := []net.Conn{s.opens(t, innocent, 6000)}
	for range 3 {
		innocents = append(innocents, s.opens(t, innocent, 5025))
	}

	s.bruteForce(t, d)
	if !isReset(t, other) || !isReset(t, outside) {
		t.Error("a connection of another rule was not flushed")
	}
	status, err := d.ask()
	if err != nil || status.Overload.Taken == 0 || status.Overload.Flushed == 0 || status.Overload.Shed != 0 || status.Connections.Ended["limited"] < 2 {
		t.Errorf("status %+v, %v: %v", status.Overload, status.Connections.Ended, err)
	}
	eventually(t, "the entry has left", func() bool { return !d.brute(t, client) })
	s.opens(t, client, 5022)
	s.opens(t, client, 6000)

	taken := status.Overload.Taken
	s.forge(t, d)
	status, err = d.ask()
	if err != nil || status.Overload.Taken != taken || d.brute(t, innocent) {
		t.Errorf("a forged source is blocked: %+v, %v", status.Overload, err)
	}
	for i, c := range innocents {
		if !saysBack(c) {
			t.Errorf("connection %d of the innocent host has ended", i)
		}
	}
	s.opens(t, innocent, 6000)
}

// bruteForce opens connections until a rule has blocked one.
func (s *site) bruteForce(t *testing.T, d *daemon) {
	t.Helper()
	eventually(t, "the brute-force source is blocked by a rule", func() bool {
		_, _ = s.dialFrom(t, client, 5022, 500*time.Millisecond) // what becomes of it the node says
		var drops api.Drops
		strict(t, d.tell(t, "drops", "--json").said(t), &drops)
		for _, p := range drops.Ports {
			if p.Receive["rule-block"] > 0 {
				return true
			}
		}
		return false
	})
	if status, err := d.ask(); err != nil || status.Overload.Taken == 0 {
		t.Errorf("%+v, %v", status.Overload, err)
	}
}

// forgedSYNs is how many SYNs are forged, for each of two services.
const forgedSYNs = 500

// forge sends SYNs in the innocent host's name, and ACKs that guess the server's number.
func (s *site) forge(t *testing.T, d *daemon) {
	t.Helper()
	w, err := s.client.Wire("c0")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	received := func() (n uint64) {
		status, err := d.ask()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range status.Ports {
			if p.Name == "lan" {
				n = p.Received.Packets
			}
		}
		return n
	}
	forger := station{mac: net.HardwareAddr{2, 0, 0, 0, 0, 0x66}, ip: innocent}
	before := received()
	for i := range forgedSYNs {
		for _, port := range []layers.TCPPort{5022, 5025} {
			for _, segment := range []layers.TCP{{SYN: true}, {ACK: true, Ack: uint32(i) << 22}} {
				segment.SrcPort, segment.DstPort, segment.Seq = layers.TCPPort(20000+i), port, 1000
				if segment.ACK {
					segment.Seq++
				}
				if err := w.Send(forger.tcp(t, lanFace.mac, server, &segment, "")); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	eventually(t, "the flood has arrived", func() bool { return received() >= before+2*forgedSYNs })
}
