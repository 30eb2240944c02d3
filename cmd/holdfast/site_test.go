package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane/xdp"
	"holdfast/internal/lab"
)

// Addresses of the hosts: RFC 1918 inside, a documentation prefix (RFC 5737) outside.
var (
	client = netip.MustParseAddr("10.0.0.10")
	server = netip.MustParseAddr("203.0.113.10")
)

// site is a small network: two hosts, two switches in one namespace, and places for two
// nodes, none running.
//
//	client --- [lan] ---+--- fw-a ---+--- [wan] --- server
//	                    +--- fw-b ---+
//	           fw-a sync 192.0.2.1 --- 192.0.2.2 sync fw-b
type site struct {
	lab            *lab.Lab
	client, server *lab.Namespace
	switches       *lab.Namespace
	places         [2]*place
}

// place is where a node may run.
type place struct {
	*lab.Namespace
	files  *files
	binary string // that runs here; "": as it was built
}

// newSite builds it; queues are those of fw-a's lan device, 0 for one.
func newSite(t *testing.T, queues int) *site {
	t.Helper()
	requireAFXDP(t)
	s := &site{lab: lab.ForTest(t)}
	space := func(name string) *lab.Namespace {
		ns, err := s.lab.Namespace(name)
		if err != nil {
			t.Fatal(err)
		}
		return ns
	}
	check := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	switches := space("switches")
	s.switches = switches
	s.client, s.server = space("client"), space("server")
	s.places = [2]*place{{Namespace: space("fw-a"), files: newFiles(t)}, {Namespace: space("fw-b"), files: newFiles(t)}}
	for _, side := range []struct {
		port, link string
		host       *lab.Namespace
		address    netip.Addr
		gateway    string
	}{
		{"lan", "c0", s.client, client, "10.0.0.1"},
		{"wan", "s0", s.server, server, "203.0.113.2"},
	} {
		check(switches.Bridge(side.port))
		check(s.lab.Veth(lab.End{Namespace: side.host, Name: side.link, Addresses: []netip.Prefix{netip.PrefixFrom(side.address, 24)}},
			lab.End{Namespace: switches, Name: side.link}))
		check(side.host.OffloadsOff(side.link), switches.OffloadsOff(side.link), switches.Attach(side.port, side.link),
			side.host.DefaultRoute(netip.MustParseAddr(side.gateway)))
		for i, p := range s.places {
			there := fmt.Sprintf("%s-%d", side.port, i)
			end := lab.End{Namespace: p.Namespace, Name: side.port}
			if i == 0 && side.port == "lan" {
				end.Queues = queues
			}
			check(s.lab.Veth(end, lab.End{Namespace: switches, Name: there, Queues: end.Queues}))
			check(p.OffloadsOff(side.port), switches.OffloadsOff(there), switches.Attach(side.port, there), p.Down(side.port))
		}
	}
	sync := func(i int) lab.End {
		return lab.End{Namespace: s.places[i].Namespace, Name: "sync", Addresses: []netip.Prefix{syncAddress(i)}}
	}
	check(s.lab.Veth(sync(0), sync(1)))
	s.places[1].files.write("node.toml", strings.NewReplacer(
		"fw-a", "fw-b", "192.0.2.1:7400", "192.0.2.2:7400", "192.0.2.2:7400", "192.0.2.1:7400", "100", "50").Replace(nodeText), 0o644)
	return s
}

func syncAddress(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}), 30)
}

// daemon is a running node.
type daemon struct {
	*lab.Process
	place *place
	log   *log
}

// log is what a daemon says, readable while it runs.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start runs a daemon at a place and waits until it answers.
func start(t *testing.T, p *place) *daemon {
	t.Helper()
	d := &daemon{place: p, log: &log{}}
	var err error
	d.Process, err = p.Start(context.Background(), lab.Program{
		Path: cmp.Or(p.binary, built(t)), Args: []string{"run", "--config", p.files.node}, Stdout: d.log, Stderr: d.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s said:\n%s", p.Name(), d.log)
		}
	})
	eventually(t, p.Name()+" answers", func() bool {
		select {
		case <-d.Done():
			t.Fatalf("%s ended: %v: %s", p.Name(), d.Wait(), d.log)
		default:
		}
		_, err := d.ask()
		return err == nil
	})
	return d
}

// ask asks a daemon for its status.
func (d *daemon) ask() (api.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return api.NewClient(d.place.files.socket).Status(ctx, true)
}

// group is the daemon's view of its group, empty while it does not answer.
func (d *daemon) group() api.Group {
	s, err := d.ask()
	if err != nil || len(s.Groups) != 1 {
		return api.Group{}
	}
	return s.Groups[0]
}

// tell runs a command that asks this daemon.
func (d *daemon) tell(t *testing.T, args ...string) outcome {
	t.Helper()
	return holdfast(t, append(args, "--socket", d.place.files.socket)...)
}

// stop ends a daemon and waits.
func (d *daemon) stop(t *testing.T, signal unix.Signal) {
	t.Helper()
	if err := d.Kill(signal); err != nil {
		t.Fatal(err)
	}
	<-d.Done()
}

// startPair runs both nodes until fw-a is active and fw-b ready.
func (s *site) startPair(t *testing.T) (a, b *daemon) {
	t.Helper()
	a, b = start(t, s.places[0]), start(t, s.places[1])
	asked := false
	eventually(t, "fw-a is active and both are ready", func() bool {
		x, y := a.group(), b.group()
		if !asked && x.Ready && y.Role == "active" {
			// It was the first to have proven that there is nothing to take over.
			asked = a.tell(t, "promote").code == exitDone
		}
		return x.Role == "active" && x.Ready && y.Role == "standby" && y.Ready && y.Active == "fw-a"
	})
	return a, b
}

// picture describes all that a daemon might change in a namespace, one thing a line.
func picture(t *testing.T, ns *lab.Namespace) string {
	t.Helper()
	h := ns.Handle()
	links, err := h.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, l := range links {
		a := l.Attrs()
		up := a.Flags&net.FlagUp != 0
		program := "none"
		if a.Xdp != nil && a.Xdp.Attached {
			program = fmt.Sprintf("program %d", a.Xdp.ProgId)
		}
		all = append(all, fmt.Sprintf("link %s %s up=%v mtu=%d mac=%v promisc=%d xdp=%s tags=%d", a.Name, l.Type(), up, a.MTU, a.HardwareAddr, a.Promisc, program, tagsOf(t, ns, a.Name)))
		addresses, err := h.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range addresses {
			all = append(all, fmt.Sprintf("address %v on %s", x.IPNet, a.Name))
		}
		qdiscs, err := h.QdiscList(l)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range qdiscs {
			if q.Attrs().Parent == netlink.HANDLE_CLSACT {
				all = append(all, fmt.Sprintf("qdisc %s on %s", q.Type(), a.Name))
			}
		}
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			routes, err := h.RouteList(l, family)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range routes {
				all = append(all, fmt.Sprintf("route %v via %v on %s", r.Dst, r.Gw, a.Name))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// tagsOf says where a device leaves VLAN tags.
func tagsOf(t *testing.T, ns *lab.Namespace, device string) (tags xdp.Tags) {
	t.Helper()
	if err := ns.Do(func() (err error) { tags, err = xdp.ReadTags(device); return err }); err != nil {
		t.Fatal(err)
	}
	return tags
}

// stands waits until a namespace looks as before: the kernel gives a link's local address
// and its route back in its own time.
func stands(t *testing.T, ns *lab.Namespace, before string) {
	t.Helper()
	var now string
	defer func() {
		if t.Failed() && now != before {
			t.Logf("before:\n%s\nnow:\n%s", before, now)
		}
	}()
	eventually(t, "the devices are as before", func() bool {
		now = picture(t, ns)
		return now == before
	})
}

// raise gives a device an address and a route of each family and brings it up.
func raise(t *testing.T, ns *lab.Namespace, device string, n byte) {
	t.Helper()
	v4 := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, n, 1}), 24)
	v6 := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: n, 15: 1}), 64)
	far4 := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, n, 0}), 24)
	far6 := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7, n}), 64)
	via4, via6 := netip.AddrFrom4([4]byte{198, 18, n, 2}), netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: n, 15: 2})
	if err := errors.Join(ns.Address(device, v4), ns.Address(device, v6), ns.Up(device),
		ns.Route(far4, via4, device), ns.Route(far6, via6, device)); err != nil {
		t.Fatal(err)
	}
}
