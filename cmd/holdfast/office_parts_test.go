package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
	"holdfast/internal/lab"
)

// officeForged is an address of lan that somebody outside claims to have.
var officeForged = netip.MustParseAddr("10.0.0.77")

// weights: the staff's connections spread one to two, those of a host keep together, each with
// an address of its provider's.
func (o *office) weights(t *testing.T) {
	var by [2][2]int
	for i := range officeStaff {
		sources := []netip.Addr{person(20 + i)}
		if (i+2)%3 == 0 {
			sources = append(sources, host(officePeople, 20+i))
		}
		for _, from := range sources {
			f := familyOf(from)
			to := netip.AddrPortFrom(officeFar[f], 80)
			first, second := o.connects(t, o.people, from, to), o.connects(t, o.people, from, to)
			if first.as != second.as {
				t.Errorf("%v appears as %s and as %s", from, first.as, second.as)
			}
			isp := o.providerOf(t, first.as)
			by[f][isp]++
			if i == 0 || i == 1 {
				o.open = append(o.open, first)
			}
		}
	}
	t.Logf("hosts by provider: %v of IPv4, %v of IPv6", by[0], by[1])
	if one, two := by[0][0], by[0][1]; one < officeStaff/5 || one > officeStaff/2 {
		t.Errorf("hosts of IPv4 by provider: %d and %d, want about one to two", one, two)
	}
	if by[1][0] == 0 || by[1][1] == 0 {
		t.Errorf("hosts of IPv6 by provider: %v", by[1])
	}
}

// providerOf says whose an outside address of the office is.
func (o *office) providerOf(t *testing.T, as string) int {
	t.Helper()
	a := netip.MustParseAddr(as)
	for i := range o.isps {
		if a == officeOutside[i] || netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::/48", 1+i)).Contains(a) {
			return i
		}
	}
	t.Fatalf("%s is of no provider", as)
	return 0
}

// services: web and mail are reached by each provider, at the server that has them, which sees
// who asks; the answers go back by the same provider, see listen.
func (o *office) services(t *testing.T) {
	for i := range o.isps {
		for _, n := range []int{80, 25} {
			for _, port := range officeServices[n] {
				for f, to := range []netip.Addr{officeOutside[i], host(officePrefix[i], n)} {
					from := []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(80 + i)}), host(netip.MustParseAddr("2001:db8:e::"), 80+i)}[f]
					c := o.connects(t, o.far, from, netip.AddrPortFrom(to, port))
					if c.as != from.String() {
						t.Errorf("%v to %v: the server sees %s", from, to, c.as)
					}
					c.echoes(t)
					o.open = append(o.open, c)
				}
			}
		}
	}
}

// hairpin: who is inside reaches the web server by its outside addresses.
func (o *office) hairpin(t *testing.T) {
	for i := range o.isps {
		for f, to := range []netip.Addr{officeOutside[i], host(officePrefix[i], 80)} {
			from := []netip.Addr{person(20), host(officePeople, 21)}[f]
			c := o.connects(t, o.people, from, netip.AddrPortFrom(to, 443))
			o.providerOf(t, c.as) // the server sees the host as the outside does
			c.echoes(t)
			c.Close()
		}
	}
}

// names: the resolver answers people; a guest who asks another hears it all the same. Look-ups
// are not told to the standby.
func (o *office) names(t *testing.T) {
	asks(t, dial(t, o.people, "udp", "10.0.0.20:0", netip.AddrPortFrom(serving(53), 53)), "where is mail")
	asks(t, dial(t, o.people, "udp", netip.AddrPortFrom(host(officePeople, 21), 0).String(), netip.AddrPortFrom(host(officeServers, 53), 53)), "where is web")
	asks(t, dial(t, o.people, "udp", "10.0.0.130:0", netip.AddrPortFrom(officeFar[0], 53)), "a guest's question")
	count := func(d *daemon) int {
		var list api.Conns
		strict(t, d.tell(t, "conns", "count", "--json", "dport=53").said(t), &list)
		return list.Count
	}
	if a, b := count(o.a), count(o.b); a != 3 || b != 0 {
		t.Errorf("look-ups: %d on the active node, %d on the standby, want 3 and 0", a, b)
	}
}

// pings go out, reach the node and, where they have an address, the servers.
func (o *office) pings(t *testing.T) {
	for f, to := range officeFar {
		ping(t, o.people, to)
		ping(t, o.far, []netip.Addr{officeOutside[0], netip.MustParseAddr("2001:db8:a::2")}[f])
		ping(t, o.far, []netip.Addr{officeOutside[1], host(officePrefix[1], 80)}[f])
	}
}

// traces show each hop from inside, by errors that no rule names, and end at the node from
// outside.
func (o *office) traces(t *testing.T) {
	routers := [2][2]string{{"203.0.113.1", "198.51.100.1"}, {"2001:db8:a::1", "2001:db8:b::1"}}
	for f, far := range officeFar {
		own := []string{"10.0.0.1", "fd12:3456:789a:1::1"}[f]
		for i, want := range [][]string{{own}, routers[f][:], {far.String()}} {
			got, err := probes["UDP"].send(o.people, far, uint16(33434+i), 1+i)
			if err != nil {
				t.Fatalf("hop %d to %v: %v", 1+i, far, err)
			}
			if from := got.from.String(); from != want[0] && from != want[len(want)-1] || got.farthest != (i == 2) {
				t.Errorf("hop %d to %v: %+v, want one of %v", 1+i, far, got, want)
			}
		}
	}
	for i, to := range officeOutside {
		got, err := probes["UDP"].send(o.far, to, uint16(33440+i), 64)
		if err != nil || got.from != to || !got.farthest {
			t.Errorf("a trace to %v ends at %+v, %v", to, got, err)
		}
	}
}

// mail leaves by the first provider, and from the mail server alone.
func (o *office) mail(t *testing.T) {
	for range 4 {
		if c := o.connects(t, o.servers, serving(25), netip.AddrPortFrom(officeFar[0], 25)); c.as != officeOutside[0].String() {
			t.Errorf("mail leaves as %s", c.as)
		}
	}
	o.refused(t, o.people, person(20), netip.AddrPortFrom(officeFar[0], 25))
	o.refused(t, o.servers, serving(80), netip.AddrPortFrom(officeFar[0], 25))
}

// inside: guests have the web alone, admins the firewall's ssh, and nobody waits for a no.
func (o *office) inside(t *testing.T) {
	guest := person(130)
	o.connects(t, o.people, guest, netip.AddrPortFrom(officeFar[0], 80)).echoes(t)
	o.refused(t, o.people, guest, netip.AddrPortFrom(officeFar[0], 8080))
	ssh := netip.AddrPortFrom(person(1), 22)
	o.connects(t, o.people, person(5), ssh).echoes(t)
	o.refused(t, o.people, person(20), ssh)

	var list api.Conns
	strict(t, o.a.tell(t, "conns", "--json", "label=guest-10.0.0.130").said(t), &list)
	if len(list.Connections) != 1 || list.Connections[0].Rule != "guests-out" {
		t.Errorf("connections of the guest: %+v", list)
	}
}

// forged: a source that is not where it says dies by antispoof, on the port that it came by.
func (o *office) forged(t *testing.T) {
	for _, forgery := range []struct {
		ns   *lab.Namespace
		from netip.Addr
		to   netip.Addr
		port string
	}{
		{o.people, netip.MustParseAddr("172.16.0.9"), officeFar[0], "lan"},
		{o.people, serving(80), officeFar[0], "lan"},
		{o.far, officeForged, officeOutside[0], "wan1"},
		{o.far, officeForged, officeOutside[1], "wan2"},
		{o.far, host(officePeople, 77), host(officePrefix[1], 80), "wan2"},
	} {
		if err := forgery.ns.Own(netip.PrefixFrom(forgery.from, forgery.from.BitLen())); err != nil && !errors.Is(err, unix.EEXIST) {
			t.Fatal(err)
		}
		before := o.drops(t, forgery.port, "source-invalid")
		conn := dial(t, forgery.ns, "udp", netip.AddrPortFrom(forgery.from, 0).String(), netip.AddrPortFrom(forgery.to, 443))
		eventually(t, fmt.Sprintf("%v is not believed on %s", forgery.from, forgery.port), func() bool {
			if _, err := conn.Write([]byte("it is me")); err != nil {
				t.Fatal(err)
			}
			return o.drops(t, forgery.port, "source-invalid") > before
		})
	}
}

// unwanted: a table from a file, with an exception in it, in both directions.
func (o *office) unwanted(t *testing.T) {
	web := netip.AddrPortFrom(officeOutside[0], 80)
	unwanted, excepted := netip.MustParseAddr("192.0.2.195"), netip.MustParseAddr("192.0.2.200")
	o.dropped(t, unwanted, web, "wan1", "rule-block")
	o.connects(t, o.far, excepted, web).echoes(t)
	o.refused(t, o.people, person(20), netip.AddrPortFrom(unwanted, 80))
}

// brutes: a source has four connections of ssh at most, while others have theirs. Who opens
// more is in the table: all that it has ends, and it reaches nothing any more. The exception
// of the table loses what is beyond its limit, and nothing else.
func (o *office) brutes(t *testing.T) {
	brute, other, excepted := netip.MustParseAddr("192.0.2.95"), netip.MustParseAddr("192.0.2.91"), netip.MustParseAddr("192.0.2.100")
	ssh, web := netip.AddrPortFrom(officeOutside[1], 22), netip.AddrPortFrom(officeOutside[1], 80)
	holds := func(a netip.Addr) bool { return o.a.tell(t, "tables", "test", "brutes", a.String()).code == exitDone }
	held := map[netip.Addr]told{}
	for _, from := range []netip.Addr{brute, excepted} {
		held[from] = o.connects(t, o.far, from, web)
		for range 4 {
			o.connects(t, o.far, from, ssh).echoes(t)
		}
		if holds(from) {
			t.Errorf("%v is in the table within its limit", from)
		}
		// Its handshake is completed, and it ends: too soon to be used, perhaps to be seen.
		if conn, err := o.far.Dial(t.Context(), "tcp", netip.AddrPortFrom(from, 0).String(), ssh.String()); err == nil {
			if !isReset(t, conn) {
				t.Errorf("the fifth connection of %v stays", from)
			}
			conn.Close()
		}
	}
	eventually(t, "the brute is in the table", func() bool { return holds(brute) })
	if !isReset(t, held[brute]) {
		t.Error("the brute's other connection lives")
	}
	o.dropped(t, brute, web, "wan2", "rule-block")
	if holds(excepted) {
		t.Error("the exception is in the table")
	}
	held[excepted].echoes(t)
	o.connects(t, o.far, other, ssh).echoes(t)
}

// failover: the connections of both directions and families go on at the other node.
func (o *office) failover(t *testing.T) {
	o.a.stop(t, unix.SIGKILL)
	eventually(t, "fw-b is active", func() bool { return o.b.group().Role == "active" })
	for _, c := range o.open {
		c.echoes(t)
	}
	to := o.open[0].RemoteAddr().(*net.TCPAddr).AddrPort()
	o.connects(t, o.people, person(30), netip.AddrPortFrom(to.Addr().Unmap(), to.Port())).echoes(t)
}
