package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"holdfast/cmd/internal/api"
	"holdfast/internal/lab"
)

// path is a node between two routers, with the kernel's own everything around it:
//
//	client ----- inner -------- [lan] node [wan] -------- outer ----- server
//	10.1.0.10    10.1.0.1       10.0.0.1   203.0.113.2    203.0.113.10   198.51.100.10
//	             10.0.0.10                                198.51.100.1
//	2001:db8:1:1::/64     2001:db8:1::/64    2001:db8:2::/64   2001:db8:3::/64
//
// IPv4 is masqueraded, IPv6 is not. The routers' ends towards client and server can have
// a smaller MTU, which nobody else sees: to find it is what path MTU discovery is for.
type path struct {
	lab                          *lab.Lab
	client, inner, outer, server *lab.Namespace
	node                         *daemon
}

// Addresses of the path; hops are those that a trace from the client shows.
var (
	pathClient = [2]netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("2001:db8:1:1::10")}
	pathServer = [2]netip.Addr{netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("2001:db8:3::10")}
	pathHops   = [2][]netip.Addr{
		{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("203.0.113.10"), pathServer[0]},
		{netip.MustParseAddr("2001:db8:1:1::1"), netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:2::10"), pathServer[1]},
	}
	families = [2]string{"IPv4", "IPv6"}
)

const pathPolicy = `[ports.lan]
addresses = ["10.0.0.1/24", "2001:db8:1::1/64"]

[ports.wan]
addresses = ["203.0.113.2/24", "2001:db8:2::2/64"]

[groups.main]
ports = ["lan", "wan"]

[cluster]
heartbeat = "10ms"
lease = "1s"
dead_after = "1500ms"
alone_after = "2s"

[gateways.isp]
port = "wan"
address = "203.0.113.10"

[gateways.isp6]
port = "wan"
address = "2001:db8:2::10"

[[nat]]
kind = "masquerade"
from = ["10.0.0.0/8"]
out = "wan"

[[rules]]
id = "out"
action = "pass"
in = "lan"
out = "wan"
`

// mtus are the MTUs of a path where they are not 1500, in bytes.
type mtus struct{ inner, wan, outer int }

// newPath builds it and runs the node.
func newPath(t *testing.T, m mtus) *path {
	t.Helper()
	return newPathWith(t, m, pathPolicy)
}

// newPathWith is newPath with another policy.
func newPathWith(t *testing.T, m mtus, policy string) *path {
	t.Helper()
	return newPathOf(t, plan{m, policy, "2001:db8:1"})
}

// plan says what a path is like.
type plan struct {
	mtus
	policy string
	inside string // the first 48 bits of all IPv6 addresses inside, without "::"
}

// newPathOf builds it and runs the node.
func newPathOf(t *testing.T, m plan) *path {
	t.Helper()
	requireAFXDP(t)
	l := lab.ForTest(t)
	p := &path{lab: l}
	place := &place{files: newFiles(t)}
	check := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	for name, ns := range map[string]**lab.Namespace{
		"client": &p.client, "inner": &p.inner, "outer": &p.outer, "server": &p.server, "node": &place.Namespace,
	} {
		var err error
		*ns, err = l.Namespace(name)
		check(err)
	}
	both := func(four, six string) []netip.Prefix {
		return []netip.Prefix{netip.MustParsePrefix(four), netip.MustParsePrefix(six)}
	}
	for _, link := range [][2]lab.End{
		{{Namespace: p.client, Name: "up", Addresses: both("10.1.0.10/24", m.inside+":1::10/64")},
			{Namespace: p.inner, Name: "down", MTU: m.inner, Addresses: both("10.1.0.1/24", m.inside+":1::1/64")}},
		{{Namespace: p.inner, Name: "up", Addresses: both("10.0.0.10/24", m.inside+"::10/64")}, {Namespace: place.Namespace, Name: "lan"}},
		{{Namespace: p.outer, Name: "up", Addresses: both("203.0.113.10/24", "2001:db8:2::10/64")},
			{Namespace: place.Namespace, Name: "wan", MTU: m.wan}},
		{{Namespace: p.server, Name: "up", Addresses: both("198.51.100.10/24", "2001:db8:3::10/64")},
			{Namespace: p.outer, Name: "down", MTU: m.outer, Addresses: both("198.51.100.1/24", "2001:db8:3::1/64")}},
	} {
		check(l.Veth(link[0], link[1]))
		for _, end := range link {
			check(end.Namespace.OffloadsOff(end.Name))
		}
	}
	for ns, gateways := range map[*lab.Namespace][2]string{
		p.client: {"10.1.0.1", m.inside + ":1::1"}, p.inner: {"10.0.0.1", m.inside + "::1"},
		p.outer: {"203.0.113.2", "2001:db8:2::2"}, p.server: {"198.51.100.1", "2001:db8:3::1"},
	} {
		for _, g := range gateways {
			check(ns.DefaultRoute(netip.MustParseAddr(g)))
		}
		check(ns.Sysctl("net/ipv4/icmp_ratelimit", "0"), ns.Sysctl("net/ipv6/icmp/ratelimit", "0"),
			ns.Sysctl("net/ipv4/ip_forward", "1"), ns.Sysctl("net/ipv6/conf/all/forwarding", "1"))
	}
	check(place.Down("lan"), place.Down("wan"))
	place.files.alone()
	place.files.write("policy.toml", m.policy, 0o644)
	p.node = start(t, place)
	check(place.Route(netip.MustParsePrefix("10.1.0.0/24"), netip.MustParseAddr("10.0.0.10"), "hf-lan"),
		place.Route(netip.MustParsePrefix(m.inside+":1::/64"), netip.MustParseAddr(m.inside+"::10"), "hf-lan"))
	eventually(t, "the node is active", func() bool { return p.node.group().Role == "active" })
	p.routed(t, netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr(m.inside+":1::10"))
	return p
}

// routed waits until the node has read the routes by lan to each address. A first packet
// before that would go back by the default route, and its connection would keep to that.
func (p *path) routed(t *testing.T, to ...netip.Addr) {
	t.Helper()
	for _, to := range to {
		from := pathServer[0]
		if to.Is6() {
			from = pathServer[1]
		}
		ask := []string{"explain", "--in", "wan", "--proto", "udp", "--from", netip.AddrPortFrom(from, 9).String(), "--to", netip.AddrPortFrom(to, 9).String(), "--json"}
		eventually(t, fmt.Sprintf("the node has the route to %v", to), func() bool {
			var x api.Explained
			strict(t, p.node.tell(t, ask...).said(t), &x)
			return slices.ContainsFunc(x.Steps, func(s api.ExplainStep) bool {
				return s.Step == "route" && strings.Contains(s.Says, "by lan,")
			})
		})
	}
}
