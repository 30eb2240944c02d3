package main

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// foreignNAT gives external addresses of wan's own network, none of them the port's.
const foreignNAT = `[[nat]]
kind = "static"
out = "wan"
from = "10.0.0.10"
target = "203.0.113.5"

[[nat]]
kind = "static"
out = "wan"
from = "fd00::10"
target = "2001:db8:9::5"

[[nat]]
kind = "dnat"
to = "203.0.113.6"
proto = ["tcp", "udp"]
to_port = 80
target = "10.0.0.11"
target_port = 8000

[[nat]]
kind = "snat"
out = "wan"
from = "10.0.0.0/24"
target = "203.0.113.64"

[[rules]]
id = "outside-in"
action = "pass"
in = "wan"
out = "lan"
to_port = 8000
proto = ["tcp", "udp"]

[[rules]]
id = "out6"
action = "pass"
in = "lan"
out = "wan"
from = ["fd00::/64"]
`

// TestI1_ExternalAddressesOfTheWansNetwork: a host on the wan's segment, which knows nothing
// of the firewall, reaches hosts by static and forwarded addresses, and answers the pool;
// so it does when the active node is gone, and the connection that it had goes on.
func TestI1_ExternalAddressesOfTheWansNetwork(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	for _, p := range s.places {
		p.files.replace("policy.toml", `"203.0.113.2/24"`, `"203.0.113.2/24", "2001:db8:9::2/64"`)
		p.files.replace("policy.toml", `"10.0.0.1/24"`, `"10.0.0.1/24", "fd00::1/64"`)
		p.files.replace("policy.toml", "[[nat]]\nkind = \"masquerade\"\nfrom = [\"10.0.0.0/24\"]\nout = \"wan\"\n", foreignNAT)
	}
	other := s.inside(t, "other", netip.MustParseAddr("10.0.0.11"))
	client6, server6 := netip.MustParseAddr("fd00::10"), netip.MustParseAddr("2001:db8:9::10")
	if err := errors.Join(s.client.Address("c0", netip.PrefixFrom(client6, 64)), s.server.Address("s0", netip.PrefixFrom(server6, 64)),
		s.client.DefaultRoute(netip.MustParseAddr("fd00::1"))); err != nil {
		t.Fatal(err)
	}
	witness(t, s.client, netip.AddrPortFrom(client, 8000))
	witness(t, s.client, netip.AddrPortFrom(client6, 8000))
	witness(t, other, netip.MustParseAddrPort("10.0.0.11:8000"))
	witness(t, s.server, netip.AddrPortFrom(server, 7000))
	witness(t, s.server, netip.AddrPortFrom(server6, 7000))
	a, b := s.startPair(t)
	all := func() {
		t.Helper()
		forgetNeighbors(t, s)
		reaches(t, s.server, server, netip.MustParseAddrPort("203.0.113.5:8000"), server)
		reaches(t, s.server, server, netip.MustParseAddrPort("203.0.113.6:80"), server)
		reaches(t, s.server, server6, netip.MustParseAddrPort("[2001:db8:9::5]:8000"), server6)
		forgetNeighbors(t, s)
		reaches(t, other, netip.MustParseAddr("10.0.0.11"), netip.AddrPortFrom(server, 7000), netip.MustParseAddr("203.0.113.64"))
		reaches(t, s.client, client6, netip.AddrPortFrom(server6, 7000), netip.MustParseAddr("2001:db8:9::5"))
	}
	all()
	nobody := dial(t, s.server, "udp", "", netip.MustParseAddrPort("203.0.113.6:81"))
	eventually(t, "what nobody is behind is dropped by name", func() bool {
		_, err := nobody.Write([]byte("anybody?"))
		return err == nil && strings.Contains(a.tell(t, "drops").said(t), "nat-unclaimed")
	})
	long := dial(t, s.server, "udp", "", netip.MustParseAddrPort("203.0.113.6:80"))
	answered := func() bool {
		var buf [64]byte
		_, err := long.Write([]byte("still there?"))
		if err == nil {
			_, err = read(long, buf[:])
		}
		return err == nil
	}
	eventually(t, "the long flow is answered", answered)
	t.Run("conns", func(t *testing.T) { translatedConns(t, a) })
	a.stop(t, unix.SIGKILL)
	eventually(t, "fw-b is active", func() bool { return b.group().Role == "active" })
	eventually(t, "the long flow goes on", answered)
	all()
	b.stop(t, unix.SIGTERM)
}

// translatedConns: the selector finds connections by which end is translated, and their
// lines show both tuples.
func translatedConns(t *testing.T, d *daemon) {
	for _, row := range []struct {
		selector string
		words    []string // of some line
	}{
		{"nat=dnat dst=203.0.113.6 proto=udp", []string{"src=203.0.113.10 dst=203.0.113.6 ", " dport=80 ", "src=10.0.0.11 dst=203.0.113.10 sport=8000 "}},
		{"nat=10.0.0.11", []string{"dst=203.0.113.6 "}},
		{"nat=dnat dst=203.0.113.5", []string{"src=203.0.113.10 dst=203.0.113.5 ", "src=10.0.0.10 dst=203.0.113.10 sport=8000 "}},
		{"nat=snat src=10.0.0.11", []string{"src=10.0.0.11 dst=203.0.113.10 ", "src=203.0.113.10 dst=203.0.113.64 sport=7000 "}},
		{"nat=snat src=fd00::10", []string{"src=fd00::10 dst=2001:db8:9::10 ", "src=2001:db8:9::10 dst=2001:db8:9::5 sport=7000 "}},
	} {
		text := d.tell(t, append([]string{"conns", "--format", "conntrack"}, strings.Fields(row.selector)...)...).said(t)
		for _, word := range row.words {
			if !strings.Contains(text, word) {
				t.Errorf("%s: %q is not in\n%s", row.selector, word, text)
			}
		}
	}
	for _, none := range []string{"nat=none", "nat=snat dst=203.0.113.6", "nat=dnat src=10.0.0.0/24"} {
		if got := d.tell(t, append([]string{"conns", "count"}, strings.Fields(none)...)...).said(t); got != "0\n" {
			t.Errorf("%s: %s", none, got)
		}
	}
}

// forgetNeighbors makes the server ask for everybody again.
func forgetNeighbors(t *testing.T, s *site) {
	t.Helper()
	link, err := s.server.Link("s0")
	if err != nil {
		t.Fatal(err)
	}
	known, err := s.server.Handle().NeighList(link.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range known {
		if n.State&netlink.NUD_NOARP == 0 {
			if err := s.server.Handle().NeighDel(&n); err != nil && !errors.Is(err, unix.ENOENT) {
				t.Fatal(err)
			}
		}
	}
}
