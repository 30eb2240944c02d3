package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"holdfast/internal/lab"
)

// house is a path with two hosts inside, on links of their own, and a translation of each
// kind:
//
//	alice 10.1.0.10, .11              -- inner -- [lan] node [wan] -- outer -- server 198.51.100.10
//	      fd01:203:405:1::10, ::66         |      203.0.113.2, 2001:db8:2::2          2001:db8:3::10
//	bob   10.2.0.10, fd01:203:405:2::10 ---+
//
// IPv6 inside has the prefix 2001:db8:100::/48 outside (nptv6), but for ::66, which is
// masqueraded as IPv4 is. Bob's IPv4 network is static: 192.0.2.0/25.
type house struct {
	*path
	alice, bob *lab.Namespace
}

// Addresses of the house, by family.
var (
	alice      = [2]netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("fd01:203:405:1::10")}
	aliceOther = [2]netip.Addr{netip.MustParseAddr("10.1.0.11"), netip.MustParseAddr("fd01:203:405:1::66")}
	bob        = [2]netip.Addr{netip.MustParseAddr("10.2.0.10"), netip.MustParseAddr("fd01:203:405:2::10")}
	bobOutside = [2]netip.Addr{netip.MustParseAddr("192.0.2.10"), imageOf(bob[1])}
	houseInner = netip.MustParseAddr("fd01:203:405::10") // the router's, to the node
	houseNode  = [2]netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd01:203:405::1")}
)

// housePolicy returns the policy of the house: ports and cluster are those of a path.
func housePolicy() string {
	head, _, _ := strings.Cut(pathPolicy, "[[nat]]")
	return strings.Replace(head, "2001:db8:1::1/64", "fd01:203:405::1/64", 1) + houseNAT + houseRules
}

const houseRules = `
[[rules]]
id = "through"
action = "pass"
in = ["lan", "wan"]
out = ["lan", "wan"]

[[rules]]
id = "dns-here"
action = "pass"
in = "lan"
to = "self"
proto = ["tcp", "udp"]
to_port = 53
`

const houseNAT = `
[[nat]]
kind = "dnat"
in = "wan"
to = "203.0.113.2"
proto = ["tcp", "udp"]
to_port = "8000-8009"
target = "10.1.0.10"
target_port = "9000-9009"
hairpin = true

[[nat]]
kind = "dnat"
in = "wan"
to = "2001:db8:2::2"
proto = ["tcp", "udp"]
to_port = "8000-8009"
target = "fd01:203:405:1::10"
target_port = "9000-9009"
hairpin = true

[[nat]]
kind = "redirect"
in = "lan"
to = ["!10.0.0.0/8", "!fd00::/8"]
proto = ["tcp", "udp"]
to_port = 53

[[nat]]
kind = "dnat"
in = "lan"
to = "192.0.2.200"
target = "198.51.100.10"

[[nat]]
kind = "dnat"
in = "lan"
to = "2001:db8:200::200"
target = "2001:db8:3::10"

[[nat]]
kind = "dnat"
in = "wan"
to = "192.0.2.201"
target = "10.2.0.10"

[[nat]]
kind = "snat"
in = "wan"
out = "lan"
from = "198.51.100.0/24"
to = "10.2.0.10"
to_port = 7001
proto = ["tcp", "udp"]
target = "10.0.0.1"

[[nat]]
kind = "static"
out = "wan"
from = "10.2.0.0/25"
target = "192.0.2.0/25"
hairpin = true

[[nat]]
kind = "masquerade"
from = ["10.0.0.0/8", "fd01:203:405:1::66"]
out = "wan"
hairpin = true

[[nat]]
kind = "nptv6"
from = "fd01:203:405::/48"
out = "wan"
target = "2001:db8:100::/48"
hairpin = true
`

// newHouse builds it and runs the node. Alice's link can have a smaller MTU.
func newHouse(t *testing.T, aliceMTU int) *house {
	t.Helper()
	p := newPathOf(t, plan{mtus{inner: aliceMTU}, housePolicy(), "fd01:203:405"})
	h := &house{path: p, alice: p.client}
	var err error
	if h.bob, err = h.lab.Namespace("bob"); err != nil {
		t.Fatal(err)
	}
	both := func(four, six string) []netip.Prefix {
		return []netip.Prefix{netip.MustParsePrefix(four), netip.MustParsePrefix(six)}
	}
	node := p.node.place
	err = errors.Join(
		h.lab.Veth(lab.End{Namespace: h.bob, Name: "up", Addresses: both("10.2.0.10/24", "fd01:203:405:2::10/64")},
			lab.End{Namespace: p.inner, Name: "down2", Addresses: both("10.2.0.1/24", "fd01:203:405:2::1/64")}),
		h.bob.OffloadsOff("up"), p.inner.OffloadsOff("down2"),
		h.bob.DefaultRoute(netip.MustParseAddr("10.2.0.1")), h.bob.DefaultRoute(netip.MustParseAddr("fd01:203:405:2::1")),
		h.alice.Address("up", netip.PrefixFrom(aliceOther[0], 24)), h.alice.Address("up", netip.PrefixFrom(aliceOther[1], 64)),
		node.Route(netip.MustParsePrefix("10.2.0.0/24"), netip.MustParseAddr("10.0.0.10"), "hf-lan"),
		node.Route(netip.MustParsePrefix("fd01:203:405:2::/64"), houseInner, "hf-lan"),
		p.outer.Route(netip.MustParsePrefix("192.0.2.0/24"), nodeWan[0], "up"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", p.node.tell(t, "drops").out)
		}
	})
	h.routed(t, bob[0], bob[1])
	return h
}

// imageOf is an inside address as the outside sees it (RFC 6296 section 3.1), reckoned
// without the product: modulo 0xffff the sum of all words stays what it was.
func imageOf(a netip.Addr) netip.Addr {
	in, out := netip.MustParseAddr("fd01:203:405::").As16(), netip.MustParseAddr("2001:db8:100::").As16()
	image := a.As16()
	copy(image[:6], out[:6])
	sum := int(image[6])<<8 | int(image[7])
	for i := 0; i < 6; i += 2 {
		sum += int(in[i])<<8 + int(in[i+1]) - int(out[i])<<8 - int(out[i+1])
	}
	sum = (sum%0xffff + 0xffff) % 0xffff
	image[6], image[7] = byte(sum>>8), byte(sum)
	return netip.AddrFrom16(image)
}

// witness serves TCP and UDP at an address inside ns until the test ends: it says whom it
// sees, and gives back what it gets.
func witness(t *testing.T, ns *lab.Namespace, at netip.AddrPort) {
	t.Helper()
	l, err := ns.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	u, err := ns.ListenPacket("udp", at.String())
	if err != nil {
		t.Fatal(errors.Join(err, l.Close()))
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := fmt.Fprintln(conn, conn.RemoteAddr()); err == nil {
					_, _ = io.Copy(struct{ io.Writer }{conn}, conn) // not by splice; the client tells what is missing
				}
			}()
		}
	}()
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(fmt.Appendf(nil, "%v\n%s", from, b[:n]), from) // asked for again where it is lost
		}
	}()
}

// reaches speaks from an address inside ns to a witness, by TCP (a file there and back) and
// by UDP, and checks whom that sees.
func reaches(t *testing.T, ns *lab.Namespace, from netip.Addr, to netip.AddrPort, as netip.Addr) {
	t.Helper()
	local := netip.AddrPortFrom(from, 0).String()
	conn := dial(t, ns, "tcp", local, to)
	var said []byte
	for b := make([]byte, 1); len(said) == 0 || said[len(said)-1] != '\n'; said = append(said, b[0]) {
		if _, err := conn.Read(b); err != nil {
			t.Fatalf("TCP from %v to %v: %v", from, to, err)
		}
	}
	talks(t, conn)
	conn.Close()
	saw(t, fmt.Sprintf("TCP from %v to %v", from, to), string(said), as)

	query := dial(t, ns, "udp", local, to)
	answer := make([]byte, 2048)
	what := fmt.Sprintf("UDP from %v to %v", from, to)
	eventually(t, what+" is answered", func() bool {
		if _, err := query.Write([]byte("a query")); err != nil {
			return false
		}
		n, err := read(query, answer)
		if err == nil {
			first, rest, _ := strings.Cut(string(answer[:n]), "\n")
			saw(t, what, first, as)
			if rest != "a query" {
				t.Errorf("%s: %q came back", what, rest)
			}
		}
		return err == nil
	})
	query.Close()
}

// saw checks the address of whom a witness saw.
func saw(t *testing.T, what, whom string, want netip.Addr) {
	t.Helper()
	if got, err := netip.ParseAddrPort(strings.TrimSpace(whom)); err != nil || got.Addr() != want {
		t.Errorf("%s: seen as %s, want %v", what, whom, want)
	}
}
