package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
	"holdfast/internal/lab"
)

// office is the site that examples/office is written for, with its very files:
//
//	people  10.0.0.5 ... -- [lan] --+-- fw-a --+-- [wan1] -- isp1 --+
//	        fd12:3456:789a:1::5 ... |          |                    +-- far 192.0.2.64/26, .192/27
//	servers 10.9.0.22 ...-- [dmz] --+-- fw-b --+-- [wan2] -- isp2 --+       2001:db8:e::/64
//	        fd12:3456:789a:9::22 ...
type office struct {
	people, servers, far *lab.Namespace
	isps                 [2]*lab.Namespace
	places               [2]*place
	strays               [2]*lab.Capture // what leaves by a provider and is not of its addresses
	a, b                 *daemon
	open                 []told // connections that are to outlive a failover
}

// Addresses of the office: what it is outside, by provider, and servers by their last byte.
var (
	officeOutside = [2]netip.Addr{netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("198.51.100.2")}
	officePrefix  = [2]netip.Addr{netip.MustParseAddr("2001:db8:1:7c52::"), netip.MustParseAddr("2001:db8:2:7c51::")}
	officePeople  = netip.MustParseAddr("fd12:3456:789a:1::")
	officeServers = netip.MustParseAddr("fd12:3456:789a:9::")
	officeFar     = [2]netip.Addr{netip.MustParseAddr("192.0.2.70"), netip.MustParseAddr("2001:db8:e::70")}
)

// Servers, and the ports that they serve.
var officeServices = map[int][]uint16{80: {80, 443}, 25: {25, 465, 587, 993}, 22: {22}}

const officeStaff = 32 // hosts of the staff, from 10.0.0.20 on; a third of them has IPv6

// host is an address of a network by its last number, written as its decimal digits are.
func host(network netip.Addr, n int) netip.Addr {
	if network.Is4() {
		a := network.As4()
		a[3] = byte(n)
		return netip.AddrFrom4(a)
	}
	return netip.MustParseAddr(fmt.Sprintf("%s%d", network, n))
}

func person(n int) netip.Addr  { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }
func serving(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, 0, byte(n)}) }

// newOffice builds it; no node runs yet.
func newOffice(t *testing.T) *office {
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
		for _, dev := range []string{"all", "default"} {
			check(ns.Sysctl("net/ipv4/conf/"+dev+"/rp_filter", "0")) // so that forged sources come as far as the node
		}
		check(ns.Sysctl("net/ipv4/icmp_ratelimit", "0"), ns.Sysctl("net/ipv6/icmp/ratelimit", "0"),
			ns.Sysctl("net/ipv6/ip_nonlocal_bind", "1")) // addresses of a whole prefix, see Own
		return ns
	}
	o := &office{people: space("people"), servers: space("servers"), far: space("far"), isps: [2]*lab.Namespace{space("isp1"), space("isp2")}}
	o.places = [2]*place{{Namespace: space("fw-a"), files: newFiles(t)}, {Namespace: space("fw-b"), files: newFiles(t)}}
	people, servers := officeHosts()
	isp := func(i int, four, six string) lab.End {
		return lab.End{Namespace: o.isps[i], Name: "in", Addresses: []netip.Prefix{netipPrefix(four), netipPrefix(six)}}
	}
	switches := space("switches")
	for i, end := range []lab.End{
		{Namespace: o.people, Name: "lan", Addresses: people}, {Namespace: o.servers, Name: "dmz", Addresses: servers},
		isp(0, "203.0.113.1/29", "2001:db8:a::1/64"), isp(1, "198.51.100.1/29", "2001:db8:b::1/64"),
	} {
		bridge, there := fmt.Sprintf("br%d", i), fmt.Sprintf("host%d", i)
		check(switches.Bridge(bridge), l.Veth(end, lab.End{Namespace: switches, Name: there}))
		check(end.Namespace.OffloadsOff(end.Name), switches.OffloadsOff(there), switches.Attach(bridge, there))
		for j, p := range o.places {
			device, there := fmt.Sprintf("eth%d", 1+i), fmt.Sprintf("br%d-%d", i, j)
			check(l.Veth(lab.End{Namespace: p.Namespace, Name: device}, lab.End{Namespace: switches, Name: there}))
			check(p.OffloadsOff(device), switches.OffloadsOff(there), switches.Attach(bridge, there), p.Down(device))
		}
	}
	for ns, routers := range map[*lab.Namespace][2]string{
		o.people: {"10.0.0.1", "fd12:3456:789a:1::1"}, o.servers: {"10.9.0.1", "fd12:3456:789a:9::1"},
	} {
		check(ns.DefaultRoute(netip.MustParseAddr(routers[0])), ns.DefaultRoute(netip.MustParseAddr(routers[1])))
	}
	check(o.connectFar(l))
	sync := func(i int) lab.End {
		return lab.End{Namespace: o.places[i].Namespace, Name: "eth5", Addresses: []netip.Prefix{netipPrefix(fmt.Sprintf("192.168.255.%d/30", 1+i))}}
	}
	check(l.Veth(sync(0), sync(1)))
	for i, p := range o.places {
		p.files.take("../../examples/office")
		p.files.node = fmt.Sprintf("%s/node-%c.toml", p.files.dir, 'a'+i)
		// Nothing here depends on how fast a node is missed, and the machine may be busy.
		p.files.replace("policy.toml", `lease = "100ms"`, `lease = "1s"`)
		p.files.replace("policy.toml", `dead_after = "150ms"`, `dead_after = "1500ms"`)
		p.files.replace(fmt.Sprintf("node-%c.toml", 'a'+i), "/run/holdfast/holdfast.sock", p.files.socket)
	}
	return o
}

// officeHosts are the addresses of people and servers.
func officeHosts() (people, servers []netip.Prefix) {
	numbers := []int{5, 130}
	for i := range officeStaff {
		numbers = append(numbers, 20+i)
	}
	for i, n := range numbers {
		people = append(people, netip.PrefixFrom(person(n), 24))
		if i%3 == 0 {
			people = append(people, netip.PrefixFrom(host(officePeople, n), 64))
		}
	}
	for _, n := range []int{22, 25, 53, 80} {
		servers = append(servers, netip.PrefixFrom(serving(n), 24), netip.PrefixFrom(host(officeServers, n), 64))
	}
	return people, servers
}

// connectFar puts a far host behind both providers. It speaks to each of the office's
// networks by the provider that gave it.
func (o *office) connectFar(l *lab.Lab) error {
	errs := []error{
		o.far.Own(netipPrefix("192.0.2.64/26")), o.far.Own(netipPrefix("192.0.2.192/27")), o.far.Own(netipPrefix("2001:db8:e::/64")),
		o.far.Address("lo", netip.PrefixFrom(officeFar[1], 128)), // its own errors come from there
	}
	for i, isp := range o.isps {
		link := isp.Name()
		ends := func(n int) []netip.Prefix {
			return []netip.Prefix{netipPrefix(fmt.Sprintf("100.64.%d.%d/30", i, n)), netipPrefix(fmt.Sprintf("2001:db8:f:%d::%d/64", i, n))}
		}
		router, far := ends(1), ends(2)
		errs = append(errs, isp.Sysctl("net/ipv4/ip_forward", "1"), isp.Sysctl("net/ipv6/conf/all/forwarding", "1"),
			l.Veth(lab.End{Namespace: isp, Name: "out", Addresses: router}, lab.End{Namespace: o.far, Name: link, Addresses: far}),
			isp.OffloadsOff("out"), o.far.OffloadsOff(link))
		for _, network := range []string{"192.0.2.0/24", "2001:db8:e::/64"} {
			p := netipPrefix(network)
			errs = append(errs, isp.Route(p, far[familyOf(p.Addr())].Addr(), "out"))
		}
		for _, network := range [2][]string{
			{"203.0.113.0/29", "2001:db8:a::/64", "2001:db8:1::/48"}, {"198.51.100.0/29", "2001:db8:b::/64", "2001:db8:2::/48"},
		}[i] {
			p := netipPrefix(network)
			errs = append(errs, o.far.Route(p, router[familyOf(p.Addr())].Addr(), link))
		}
		node := []string{"2001:db8:a::2", "2001:db8:b::2"}[i]
		errs = append(errs, isp.Route(netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::", 1+i)), 48), netip.MustParseAddr(node), "in"))
	}
	return errors.Join(errs...)
}

// familyOf is 0 for IPv4 and 1 for IPv6, as everywhere in these tests.
func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// listen watches what leaves by each provider: the other's addresses and the inside's must
// not. The one address that the test itself forges outside is left out.
func (o *office) listen(t *testing.T) {
	t.Helper()
	for i, isp := range o.isps {
		other, otherSix := officeOutside[1-i], officePrefix[1-i]
		var err error
		o.strays[i], err = isp.Capture("in", lab.CaptureOptions{Filter: func(f []byte) bool {
			switch {
			case len(f) >= 34 && f[12] == 0x08 && f[13] == 0:
				from := netip.AddrFrom4([4]byte(f[26:30]))
				return from == other || f[26] == 10 && from != officeForged
			case len(f) >= 54 && f[12] == 0x86 && f[13] == 0xdd:
				from := [16]byte(f[22:38])
				six := otherSix.As16()
				return [6]byte(from[:6]) == [6]byte(six[:6]) || from[0] == 0xfd
			}
			return false
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestOffice: what examples/office says it does, it does.
func TestOffice(t *testing.T) {
	o := newOffice(t)
	o.a, o.b = start(t, o.places[0]), start(t, o.places[1])
	eventually(t, "fw-a is active and both are ready", func() bool {
		x, y := o.a.group(), o.b.group()
		return x.Role == "active" && x.Ready && y.Role == "standby" && y.Ready && y.Active == "fw-a"
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\n%s", o.a.tell(t, "drops").out, o.b.tell(t, "drops").out)
		}
	})
	o.listen(t)
	o.serve(t)
	for _, part := range []func(*office, *testing.T){
		(*office).weights, (*office).services, (*office).hairpin, (*office).names, (*office).pings, (*office).traces,
		(*office).mail, (*office).inside, (*office).forged, (*office).unwanted, (*office).brutes, (*office).failover,
	} {
		part(o, t) // not tests of their own: connections live from one to another
	}
	for i, stray := range o.strays {
		if n := stray.Count(); n != 0 {
			t.Errorf("%d packets left by isp%d with a source that is not of its addresses, such as %x", n, 1+i, stray.Frames()[0])
		}
	}
}

// serve opens the servers, and a far one.
func (o *office) serve(t *testing.T) {
	t.Helper()
	for n, ports := range officeServices {
		for _, port := range ports {
			for _, at := range []netip.Addr{serving(n), host(officeServers, n)} {
				tells(t, o.servers, netip.AddrPortFrom(at, port).String())
			}
		}
	}
	for _, at := range officeFar {
		tells(t, o.far, netip.AddrPortFrom(at, 80).String())
		tells(t, o.far, netip.AddrPortFrom(at, 25).String())
	}
	for _, at := range []netip.Addr{serving(53), host(officeServers, 53)} {
		echoes(t, o.servers, netip.AddrPortFrom(at, 53))
	}
	tells(t, o.places[0].Namespace, "10.0.0.1:22")
}

// connects opens a connection and says as whom.
func (o *office) connects(t *testing.T, ns *lab.Namespace, from netip.Addr, to netip.AddrPort) told {
	t.Helper()
	return connect(t, ns, netip.AddrPortFrom(from, 0).String(), to.String())
}

// refused: whoever asks for this is told no, at once.
func (o *office) refused(t *testing.T, ns *lab.Namespace, from netip.Addr, to netip.AddrPort) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := ns.Dial(ctx, "tcp", netip.AddrPortFrom(from, 0).String(), to.String())
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%v to %v: %v, want that it is refused", from, to, err)
	}
}

// dropped: whoever asks for this hears nothing, and it is counted under a reason.
func (o *office) dropped(t *testing.T, from netip.Addr, to netip.AddrPort, port, reason string) {
	t.Helper()
	before := o.drops(t, port, reason)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	conn, err := o.far.Dial(ctx, "tcp", netip.AddrPortFrom(from, 0).String(), to.String())
	if err == nil {
		conn.Close()
		t.Errorf("%v reached %v", from, to)
	} else if errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%v was told that it does not reach %v", from, to)
	}
	eventually(t, fmt.Sprintf("%v to %v is counted as %s", from, to, reason), func() bool { return o.drops(t, port, reason) > before })
}

// drops is how often the nodes have dropped for a reason what came in by a port.
func (o *office) drops(t *testing.T, port, reason string) (n uint64) {
	t.Helper()
	for _, d := range []*daemon{o.a, o.b} {
		var all api.Drops
		strict(t, d.tell(t, "drops", "--json").said(t), &all)
		for _, p := range all.Ports {
			if p.Port == port {
				n += p.Receive[reason]
			}
		}
	}
	return n
}
