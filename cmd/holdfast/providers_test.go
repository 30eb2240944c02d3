package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
	"holdfast/internal/lab"
)

// providersText is a policy with two providers; the first is where the default route leads.
const providersText = `[ports.lan]
addresses = ["10.0.0.1/24"]
[ports.wan]
addresses = ["203.0.113.2/24"]
[ports.wan2]
addresses = ["198.51.100.2/24"]
[cluster]
heartbeat = "10ms"
lease = "1s"
dead_after = "1500ms"
alone_after = "2s"
[gateways.isp1]
port = "wan"
address = "203.0.113.1"
[gateways.isp2]
port = "wan2"
address = "198.51.100.1"
[[routes]]
in = "lan"
gateways = ["isp1", { gateway = "isp2", weight = 2 }]
[[nat]]
kind = "masquerade"
from = "10.0.0.0/24"
out = "wan"
[[nat]]
kind = "masquerade"
from = "10.0.0.0/24"
out = "wan2"
[[rules]]
id = "out"
action = "pass"
in = "lan"
[[rules]]
id = "in"
action = "pass"
in = ["wan", "wan2"]
to = "10.0.0.0/24"
proto = "tcp"
to_port = 8080
`

// The far host, and how many clients there are.
var farHost = netip.MustParseAddr("198.18.0.7")

const clients = 16

func insideClient(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)}) }

// providers is a site with two providers.
//
//	                     +--- fw-a ---+--- [wan]  --- isp1 ---+
//	clients --- [lan] ---+            |                       +--- far 198.18.0.7
//	                     +--- fw-b ---+--- [wan2] --- isp2 ---+
type providers struct {
	client, far, isp1, isp2 *lab.Namespace
	places                  [2]*place
}

func newProviders(t *testing.T) *providers {
	t.Helper()
	requireAFXDP(t)
	l := lab.ForTest(t)
	check := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	space := func(name string) *lab.Namespace {
		ns, err := l.Namespace(name)
		check(err)
		return ns
	}
	s := &providers{client: space("client"), far: space("far"), isp1: space("isp1"), isp2: space("isp2")}
	s.places = [2]*place{{Namespace: space("fw-a"), files: newFiles(t)}, {Namespace: space("fw-b"), files: newFiles(t)}}
	switches := space("switches")
	inside := lab.End{Namespace: s.client, Name: "c0"}
	for i := range clients {
		inside.Addresses = append(inside.Addresses, netip.PrefixFrom(insideClient(i), 24))
	}
	for _, side := range []struct {
		port string
		host lab.End
	}{
		{"lan", inside},
		{"wan", lab.End{Namespace: s.isp1, Name: "in", Addresses: []netip.Prefix{netipPrefix("203.0.113.1/24")}}},
		{"wan2", lab.End{Namespace: s.isp2, Name: "in", Addresses: []netip.Prefix{netipPrefix("198.51.100.1/24")}}},
	} {
		end := lab.End{Namespace: switches, Name: side.port + "-host"}
		check(switches.Bridge(side.port), l.Veth(side.host, end),
			side.host.Namespace.OffloadsOff(side.host.Name), switches.OffloadsOff(end.Name), switches.Attach(side.port, end.Name))
		for i, p := range s.places {
			there := fmt.Sprintf("%s-%d", side.port, i)
			check(l.Veth(lab.End{Namespace: p.Namespace, Name: side.port}, lab.End{Namespace: switches, Name: there}))
			check(p.OffloadsOff(side.port), switches.OffloadsOff(there), switches.Attach(side.port, there), p.Down(side.port))
		}
	}
	check(s.client.DefaultRoute(netip.MustParseAddr("10.0.0.1")))
	for i, isp := range []*lab.Namespace{s.isp1, s.isp2} {
		router, far := netip.AddrFrom4([4]byte{100, 64, byte(i), 1}), netip.AddrFrom4([4]byte{100, 64, byte(i), 2})
		link := isp.Name()
		check(l.Veth(lab.End{Namespace: isp, Name: "out", Addresses: []netip.Prefix{netip.PrefixFrom(router, 30)}},
			lab.End{Namespace: s.far, Name: link, Addresses: []netip.Prefix{netip.PrefixFrom(far, 30)}}))
		outside := netipPrefix([]string{"203.0.113.0/24", "198.51.100.0/24"}[i])
		check(isp.Sysctl("net/ipv4/ip_forward", "1"), isp.OffloadsOff("out"), s.far.OffloadsOff(link),
			isp.Route(netip.PrefixFrom(farHost, 32), far, "out"), s.far.Route(outside, router, link),
			isp.Route(netipPrefix("10.0.0.0/24"), netip.MustParseAddr([]string{"203.0.113.2", "198.51.100.2"}[i]), "in"))
	}
	// What begins outside comes in by the second provider.
	check(s.far.Own(netip.PrefixFrom(farHost, 32)), s.far.Route(netipPrefix("10.0.0.0/24"), netip.MustParseAddr("100.64.1.1"), "isp2"))
	sync := func(i int) lab.End {
		return lab.End{Namespace: s.places[i].Namespace, Name: "sync", Addresses: []netip.Prefix{syncAddress(i)}}
	}
	check(l.Veth(sync(0), sync(1)))
	text := strings.Replace(nodeText, "wan = { device = \"wan\" }", "wan = { device = \"wan\" }\nwan2 = { device = \"wan2\" }", 1)
	s.places[0].files.write("node.toml", text, 0o644)
	s.places[1].files.write("node.toml", strings.NewReplacer(
		"fw-a", "fw-b", "192.0.2.1:7400", "192.0.2.2:7400", "192.0.2.2:7400", "192.0.2.1:7400", "100", "50").Replace(text), 0o644)
	for _, p := range s.places {
		p.files.write("policy.toml", providersText, 0o644)
	}
	return s
}

// tells serves TCP: whoever connects is told who it is, and then hears an echo.
func tells(t *testing.T, ns *lab.Namespace, at string) {
	t.Helper()
	listener, err := ns.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer conn.Close()
				if _, err := fmt.Fprintf(conn, "%s\n", conn.RemoteAddr().(*net.TCPAddr).IP); err == nil {
					_, _ = io.Copy(conn, conn) // until the other end is gone
				}
			}()
		}
	}()
}

// told is a connection to such a server.
type told struct {
	net.Conn
	as string // how the server sees us
}

// connect opens one; the first packet may meet a neighbour that is not known yet.
func connect(t *testing.T, ns *lab.Namespace, local, remote string) told {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := ns.Dial(ctx, "tcp", local, remote)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(4 * patience)); err != nil {
		t.Fatal(err)
	}
	var line []byte
	for b := make([]byte, 1); len(line) == 0 || line[len(line)-1] != '\n'; line = append(line, b[0]) {
		if _, err := conn.Read(b); err != nil {
			t.Fatalf("%s to %s: %v", local, remote, err)
		}
	}
	return told{conn, strings.TrimSpace(string(line))}
}

// echoes asserts that the connection still works.
func (c told) echoes(t *testing.T) {
	t.Helper()
	const word = "still there"
	b := make([]byte, len(word))
	if _, err := c.Write([]byte(word)); err != nil {
		t.Fatalf("%v: %v", c.LocalAddr(), err)
	}
	if _, err := io.ReadFull(c, b); err != nil || string(b) != word {
		t.Fatalf("%v: %q, %v", c.LocalAddr(), b, err)
	}
}

// TestQ5_TwoProviders: connections spread over two providers by weight, those of one
// source by one, each with its provider's address; what comes in by one is answered by it,
// though the default route leads to the other; a failover changes none of it; and a kill
// by gateway ends what goes by that one alone.
func TestQ5_TwoProviders(t *testing.T) {
	t.Parallel()
	s := newProviders(t)
	a, b := start(t, s.places[0]), start(t, s.places[1])
	eventually(t, "fw-a is active and both are ready", func() bool {
		x, y := a.group(), b.group()
		return x.Role == "active" && x.Ready && y.Role == "standby" && y.Ready && y.Active == "fw-a"
	})
	tells(t, s.far, netip.AddrPortFrom(farHost, 80).String())
	tells(t, s.client, "10.0.0.10:8080")

	byISP := map[string][]told{}
	for i := range clients {
		local := netip.AddrPortFrom(insideClient(i), 0).String()
		first := connect(t, s.client, local, "198.18.0.7:80")
		second := connect(t, s.client, local, "198.18.0.7:80")
		if first.as != second.as {
			t.Errorf("%s appears as %s and as %s", local, first.as, second.as)
		}
		byISP[first.as] = append(byISP[first.as], first, second)
	}
	if one, two := len(byISP["203.0.113.2"]), len(byISP["198.51.100.2"]); one < 4 || two < 10 || one+two != 2*clients {
		t.Errorf("connections by provider: %d and %d, want about one to two", one, two)
	}

	// Nothing that answers a connection of the second provider's leaves by the first.
	stray, err := s.isp1.Capture("in", lab.CaptureOptions{Filter: func(f []byte) bool {
		return len(f) >= 34 && f[12] == 8 && f[13] == 0 && [4]byte(f[26:30]) == [4]byte{10, 0, 0, 10}
	}})
	if err != nil {
		t.Fatal(err)
	}
	inbound := connect(t, s.far, "198.18.0.7:0", "10.0.0.10:8080")
	inbound.echoes(t)

	for _, d := range []*daemon{a, b} {
		eventually(t, d.place.Name()+" counts them by gateway", func() bool {
			var list api.Gateways
			whole(t, d.tell(t, "gateways", "--json").said(t), &list)
			g := list.Gateways
			return len(g) == 2 && g[0].Name == "isp1" && g[0].Port == "wan" && g[0].Address == "203.0.113.1" && g[0].State == "up" && g[0].Neighbor != "" &&
				g[0].Connections == len(byISP["203.0.113.2"]) && g[1].Connections == len(byISP["198.51.100.2"])+1 && g[1].Neighbor != ""
		})
		var list api.Conns
		strict(t, d.tell(t, "conns", "--json", "dst=10.0.0.10", "gateway=isp2").said(t), &list)
		if len(list.Connections) != 1 || list.Connections[0].Gateway != "isp2" || list.Connections[0].In != "wan2" || list.Connections[0].Out != "lan" {
			t.Errorf("the inbound connection: %+v", list)
		}
	}
	if text := a.tell(t, "gateways").said(t); !strings.Contains(text, "isp2") || !strings.Contains(text, "198.51.100.1") {
		t.Errorf("%s", text)
	}

	a.stop(t, unix.SIGKILL)
	eventually(t, "fw-b is active", func() bool { return b.group().Role == "active" })
	inbound.echoes(t)
	for _, all := range byISP {
		for _, c := range all {
			c.echoes(t)
		}
	}
	if n := stray.Count(); n != 0 {
		t.Errorf("%d packets of the inbound connection left by the first provider", n)
	}

	want := fmt.Sprintf("fw-b: %d connections killed\n", len(byISP["203.0.113.2"]))
	if got := b.tell(t, "kill", "gateway=isp1").said(t); !strings.HasPrefix(got, want) {
		t.Errorf("kill: %q, want %q", got, want)
	}
	inbound.echoes(t)
	for _, c := range byISP["198.51.100.2"] {
		c.echoes(t)
	}
}
