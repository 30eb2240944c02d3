package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/internal/lab"
)

// selfRules let lan speak to the node on a port of TCP and one of UDP.
const selfRules = `
[[rules]]
id = "service"
action = "pass"
in = "lan"
to = "self"
proto = ["tcp", "udp"]
to_port = 22
`

// The node's addresses on lan and wan, by family.
var (
	nodeLan = [2]netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8:1::1")}
	nodeWan = [2]netip.Addr{netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("2001:db8:2::2")}
)

// TestL8_TheNodeAsAHost: it pings and is pinged, serves and is a client, with the kernel's
// strict reverse path filter on its faces, while hosts behind it use the same address.
func TestL8_TheNodeAsAHost(t *testing.T) {
	t.Parallel()
	p := newPathWith(t, mtus{}, pathPolicy+selfRules)
	node := p.node.place.Namespace
	for _, dev := range []string{"all", "hf-lan", "hf-wan"} {
		if err := node.Sysctl("net/ipv4/conf/"+dev+"/rp_filter", "1"); err != nil {
			t.Fatal(err)
		}
	}
	for family, name := range families {
		t.Run("ping "+name, func(t *testing.T) {
			ping(t, p.client, nodeLan[family])
			ping(t, p.client, nodeWan[family])
			ping(t, p.server, nodeWan[family])
			ping(t, node, pathServer[family])
			ping(t, node, pathClient[family])
		})
		t.Run("server "+name, func(t *testing.T) { nodeServes(t, p, family) })
		t.Run("client "+name, func(t *testing.T) { nodeAsks(t, p, family) })
		t.Run("the same port "+name, func(t *testing.T) { samePort(t, p, family) })
	}
	t.Run("names", func(t *testing.T) { selfIsNamed(t, p) })
	p.node.stop(t, 15)
}

// ping asks from inside ns until an answer comes.
func ping(t *testing.T, ns *lab.Namespace, to netip.Addr) {
	t.Helper()
	any := netip.IPv4Unspecified()
	request := []byte{8, 0, 0, 0, 0, 0, 0, 1, 'h', 'i'}
	if to.Is6() {
		any = netip.IPv6Unspecified()
		request[0] = 128
	}
	echo, err := ns.Echo(any, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	eventually(t, fmt.Sprintf("%v answers a ping from %s", to, ns.Name()), func() bool {
		if _, err := echo.WriteTo(request, &net.UDPAddr{IP: to.AsSlice()}); err != nil {
			return false
		}
		var b [128]byte
		if err := echo.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, _, err := echo.ReadFrom(b[:])
		return err == nil
	})
}

// echoes serves TCP and UDP at an address inside ns until the test ends: whatever comes
// goes back.
func echoes(t *testing.T, ns *lab.Namespace, at netip.AddrPort) {
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
				b := make([]byte, 64<<10)
				for {
					n, err := conn.Read(b)
					if n > 0 {
						if _, err := conn.Write(b[:n]); err != nil {
							return
						}
					}
					if err != nil {
						return
					}
				}
			}()
		}
	}()
	go func() {
		var b [2048]byte
		for {
			n, from, err := u.ReadFrom(b[:])
			if err != nil {
				return
			}
			_, _ = u.WriteTo(b[:n], from) // asked for again where it is lost
		}
	}()
}

// dial opens a connection, from local unless that is empty.
func dial(t *testing.T, ns *lab.Namespace, network, local string, to netip.AddrPort) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := ns.Dial(ctx, network, local, to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// asks says something of its own on a datagram socket until the echo comes back, and
// fails on any other.
func asks(t *testing.T, conn net.Conn, what string) {
	t.Helper()
	var b [2048]byte
	eventually(t, what+" is answered", func() bool {
		if _, err := conn.Write([]byte(what)); err != nil {
			return false // refused once: nobody listened yet
		}
		n, err := read(conn, b[:])
		if err == nil && string(b[:n]) != what {
			t.Fatalf("%s was answered with %q", what, b[:n])
		}
		return err == nil
	})
}

// talks sends a file over a connection to an echo and gets it back.
func talks(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := send(conn, conn); err != nil {
		t.Fatalf("%v to %v: %v", conn.LocalAddr(), conn.RemoteAddr(), err)
	}
}

// nodeServes: lan reaches the service that a rule names, wan does not.
func nodeServes(t *testing.T, p *path, family int) {
	node := p.node.place.Namespace
	for _, at := range []netip.Addr{nodeLan[family], nodeWan[family]} {
		service := netip.AddrPortFrom(at, 22)
		echoes(t, node, service)
		talks(t, dial(t, p.client, "tcp", "", service))
		asks(t, dial(t, p.client, "udp", "", service), "a query")
	}
	refused := func() uint64 {
		var drops api.Drops
		strict(t, p.node.tell(t, "drops", "--json").out, &drops)
		for _, port := range drops.Ports {
			if port.Port == "wan" {
				return port.Receive["to-self"]
			}
		}
		return 0
	}
	before := refused()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if conn, err := p.server.Dial(ctx, "tcp", "", netip.AddrPortFrom(nodeWan[family], 22).String()); err == nil {
		conn.Close()
		t.Error("wan reached a service that is for lan")
	}
	eventually(t, "the refusal is counted", func() bool { return refused() > before })
}

// nodeAsks: a TCP client and a query of the node's own, to a server outside.
func nodeAsks(t *testing.T, p *path, family int) {
	at := netip.AddrPortFrom(pathServer[family], 5300)
	echoes(t, p.server, at)
	node := p.node.place.Namespace
	talks(t, dial(t, node, "tcp", "", at))
	asks(t, dial(t, node, "udp", "", at), "where is example.com")

	// Nobody listens there: the error about the node's own query reaches its socket.
	query := dial(t, node, "udp", "", netip.AddrPortFrom(pathServer[family], 5301))
	var b [64]byte
	eventually(t, "the node's query is refused", func() bool {
		if _, err := query.Write([]byte("anybody?")); err != nil {
			return true
		}
		return nobodyThere(query, b[:])
	})
	// And one to the node that nobody there answers: its kernel says so.
	deaf := dial(t, p.client, "udp", "", netip.AddrPortFrom(nodeLan[family], 22))
	eventually(t, "the client's query is refused", func() bool {
		if _, err := deaf.Write([]byte("anybody?")); err != nil {
			return true
		}
		return nobodyThere(deaf, b[:])
	})
}

// samePort: the node and a host behind it want one source port to one server, in either
// order; both get their own answers.
func samePort(t *testing.T, p *path, family int) {
	node := p.node.place.Namespace
	at := netip.AddrPortFrom(pathServer[family], 7000)
	echoes(t, p.server, at)
	for i, nodeFirst := range []bool{false, true} {
		port := uint16(41000 + i)
		inside := netip.AddrPortFrom(pathClient[family], port).String()
		own := netip.AddrPortFrom(nodeWan[family], port).String()
		both := []func(){
			func() {
				asks(t, dial(t, p.client, "udp", inside, at), "inside "+inside)
				talks(t, dial(t, p.client, "tcp", inside, at))
			},
			func() {
				asks(t, dial(t, node, "udp", own, at), "own "+own)
				talks(t, dial(t, node, "tcp", own, at))
			},
		}
		if nodeFirst {
			both[0], both[1] = both[1], both[0]
		}
		both[0]()
		both[1]()
	}
}

// selfIsNamed: listings and selectors call the node "self".
func selfIsNamed(t *testing.T, p *path) {
	at := netip.AddrPortFrom(pathServer[0], 5400)
	echoes(t, p.server, at)
	asks(t, dial(t, p.node.place.Namespace, "udp", "", at), "a name")
	var list api.Conns
	strict(t, p.node.tell(t, "conns", "--json", "port=self", "dport=5400").out, &list)
	if len(list.Connections) != 1 || list.Connections[0].In != "self" || list.Connections[0].Out != "wan" || list.Connections[0].Rule != "default" {
		t.Errorf("%+v", list)
	}
	strict(t, p.node.tell(t, "conns", "--json", "port=self", "dport=22", "proto=tcp").out, &list)
	for _, c := range list.Connections {
		if c.In != "lan" || c.Out != "self" || c.Rule != "service" {
			t.Errorf("%+v", c)
		}
	}
}

// TestL8_ConnectionsOfTheNodeDieWithIt: they are no business of the peer, which answers
// nothing while it stands by and serves for itself when it is promoted.
func TestL8_ConnectionsOfTheNodeDieWithIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, 0)
	for _, p := range s.places {
		p.files.write("policy.toml", policyText+selfRules, 0o644)
	}
	a, b := s.startPair(t)
	service := netip.AddrPortFrom(nodeLan[0], 22)
	var accepted [2]chan net.Conn
	for i, d := range []*daemon{a, b} {
		l, err := d.place.Listen("tcp", service.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		accepted[i] = make(chan net.Conn, 4)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				accepted[i] <- conn
			}
		}()
	}
	dial(t, s.client, "tcp", "", service)
	defer (<-accepted[0]).Close()
	f := s.flow(t)
	f.answers(t)
	count := func(d *daemon, selector string) int {
		var list api.Conns
		strict(t, d.tell(t, "conns", "count", "--json", selector).out, &list)
		return list.Count
	}
	eventually(t, "the standby knows the forwarded flow", func() bool { return count(b, "proto=udp") == 1 })
	if count(a, "port=self") != 1 || count(b, "port=self") != 0 {
		t.Errorf("connections of the node: %d on the active one, %d on its peer", count(a, "port=self"), count(b, "port=self"))
	}
	if len(accepted[1]) != 0 {
		t.Error("the standby has answered")
	}
	b.tell(t, "promote").said(t)
	eventually(t, "fw-b serves", func() bool { return b.group().Role == "active" })
	dial(t, s.client, "tcp", "", service)
	select {
	case conn := <-accepted[1]:
		conn.Close()
	case <-time.After(patience):
		t.Error("the new active node does not answer")
	}
	f.answers(t)
	eventually(t, "fw-a has given up its own", func() bool { return count(a, "port=self") == 0 })
}
