package fib

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/dataplane/packet"
	"holdfast/internal/lab"
)

// patience bounds every wait of these tests; none of them takes that long.
const patience = 10 * time.Second

// bench is a node with two ports, whose links stand in for the TAPs, and a third link
// that is no port.
//
//	ns host [x 10.0.0.7/24 mac ..07]==veth==[lan 10.0.0.1/24] ns node [wan 203.0.113.2/29]==veth==[x 203.0.113.1/29 mac ..01] ns gate
//	                                                          ns node [sync 192.0.2.1/30]==veth==[sync] ns host
type bench struct {
	t                *testing.T
	node, host, gate *lab.Namespace
	w                *Watcher

	mu   sync.Mutex
	news []Neighbor
}

func newBench(t *testing.T) *bench {
	t.Helper()
	l := lab.ForTest(t)
	b := &bench{t: t}
	for name, ns := range map[string]**lab.Namespace{"node": &b.node, "host": &b.host, "gate": &b.gate} {
		var err error
		if *ns, err = l.Namespace(name); err != nil {
			t.Fatal(err)
		}
	}
	end := func(ns *lab.Namespace, name string, last byte, addresses ...string) lab.End {
		e := lab.End{Namespace: ns, Name: name, MAC: net.HardwareAddr{2, 0, 0, 0, 0, last}}
		for _, a := range addresses {
			e.Addresses = append(e.Addresses, prefix(a))
		}
		return e
	}
	b.must(
		l.Veth(end(b.node, "lan", 0xa, "10.0.0.1/24", "fd00::1/64"), end(b.host, "x", 7, "10.0.0.7/24", "fd00::7/64")),
		l.Veth(end(b.node, "wan", 0xb, "203.0.113.2/29"), end(b.gate, "x", 1, "203.0.113.1/29")),
		l.Veth(end(b.node, "sync", 0xc, "192.0.2.1/30"), end(b.host, "sync", 0xd)),
	)
	for _, link := range []string{"lan", "wan"} { // probes that end within a test
		for _, family := range []string{"ipv4", "ipv6"} {
			b.must(b.node.Sysctl("net/"+family+"/neigh/"+link+"/delay_first_probe_time", "0"),
				b.node.Sysctl("net/"+family+"/neigh/"+link+"/retrans_time_ms", "50"))
		}
	}
	b.watch()
	return b
}

func (b *bench) must(errs ...error) {
	b.t.Helper()
	if err := errors.Join(errs...); err != nil {
		b.t.Fatal(err)
	}
}

// watch makes a watcher that does not run yet.
func (b *bench) watch() {
	b.t.Helper()
	links := map[int]packet.PortID{}
	for name, port := range map[string]packet.PortID{"lan": lan, "wan": wan} {
		link, err := b.node.Link(name)
		b.must(err)
		links[link.Attrs().Index] = port
	}
	b.must(b.node.Do(func() (err error) {
		b.w, err = NewWatcher(Config{Links: links, Now: boottime, OnNeighbor: b.hear})
		return err
	}))
	b.t.Cleanup(b.w.Close)
}

func boottime() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic(err)
	}
	return now.Nano()
}

func (b *bench) hear(n Neighbor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.news = append(b.news, n)
}

func (b *bench) heard(n Neighbor) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(b.news, n)
}

// run starts the watcher and ends it with the test.
func (b *bench) run() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.w.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("Run: %v", err)
		}
	})
}

// want waits until dst has the hop.
func (b *bench) want(dst string, hop Hop) {
	b.t.Helper()
	b.until(func() (any, bool) {
		got := b.w.Table().Lookup(addr(dst))
		return got, got == hop
	}, dst, hop)
}

// resolve asks again and again, as packets do, until dst has the hop. (The host's IPv6
// is up to a second late: the kernel reports a carrier at most once a second.)
func (b *bench) resolve(dst string, hop Hop) {
	b.t.Helper()
	b.until(func() (any, bool) {
		got := b.w.Table().Lookup(addr(dst))
		if got.Kind == Unresolved {
			b.w.Resolve(got.Port, got.Via)
		}
		return got, got == hop
	}, dst, hop)
}

func (b *bench) until(look func() (got any, ok bool), what ...any) {
	b.t.Helper()
	deadline := time.After(patience)
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		got, ok := look()
		if ok {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			b.t.Fatalf("not within %v: %v; it is %v, watcher %+v", patience, what, got, b.w.Stats())
		}
	}
}

func forwardTo(port packet.PortID, last byte, via string) Hop {
	return Hop{Kind: Forward, Port: port, MAC: mac(last), Via: addr(via)}
}

func unresolved(port packet.PortID, via string) Hop {
	return Hop{Kind: Unresolved, Port: port, Via: addr(via)}
}

func ends(k Kind) Hop { return Hop{Kind: k, Port: packet.NoPort} }

func TestWatcherReadsWhatIsThere(t *testing.T) {
	b := newBench(t) // complete before Run
	for dst, want := range map[string]Hop{
		"10.0.0.1":    ends(Local),
		"127.0.0.1":   ends(Local),
		"10.0.0.7":    unresolved(lan, "10.0.0.7"),
		"10.0.0.255":  ends(Broadcast),
		"203.0.113.1": unresolved(wan, "203.0.113.1"),
		"192.0.2.1":   ends(Unroutable), // an address of another interface
		"192.0.2.2":   ends(Unroutable), // and its network
		"8.8.8.8":     ends(Unroutable),
		"fe80::7":     ends(Unroutable),
	} {
		if got := b.w.Table().Lookup(addr(dst)); got != want {
			t.Errorf("%s: %v, want %v", dst, got, want)
		}
	}
	b.run() // IPv6 addresses work only once the kernel has seen the carrier
	b.want("fd00::1", ends(Local))
	b.want("fd00::7", unresolved(lan, "fd00::7"))
}

func TestL2_RoutesAreFollowed(t *testing.T) {
	b := newBench(t)
	b.run()
	handle := b.node.Handle()
	gateway := netip.MustParseAddr("203.0.113.1")
	toGateway := unresolved(wan, "203.0.113.1")

	b.must(b.node.DefaultRoute(gateway))
	b.want("8.8.8.8", toGateway)
	b.want("192.0.2.2", ends(Unroutable)) // still not by the default route
	b.must(b.node.Neighbor("wan", gateway, net.HardwareAddr{2, 0, 0, 0, 0, 1}))
	b.want("8.8.8.8", forwardTo(wan, 1, "203.0.113.1"))
	b.want("203.0.113.1", forwardTo(wan, 1, "203.0.113.1"))

	// The lower metric wins, as it comes and as it goes.
	lanLink, err := b.node.Link("lan")
	b.must(err)
	better := &netlink.Route{Dst: &net.IPNet{IP: net.IP{198, 51, 100, 0}, Mask: net.CIDRMask(24, 32)}, Gw: net.IP{10, 0, 0, 9}, Priority: 10}
	worse := *better
	worse.Gw, worse.Priority = net.IP{203, 0, 113, 1}, 20
	b.must(handle.RouteAdd(&worse))
	b.want("198.51.100.5", forwardTo(wan, 1, "203.0.113.1"))
	b.must(handle.RouteAdd(better))
	b.want("198.51.100.5", unresolved(lan, "10.0.0.9"))
	b.must(handle.RouteDel(better))
	b.want("198.51.100.5", forwardTo(wan, 1, "203.0.113.1"))

	for _, row := range []struct {
		kind Kind
		typ  int
	}{{Blackhole, unix.RTN_BLACKHOLE}, {Unreachable, unix.RTN_UNREACHABLE}, {Prohibited, unix.RTN_PROHIBIT}} {
		ending := &netlink.Route{Dst: &net.IPNet{IP: net.IP{100, 64, 0, 0}, Mask: net.CIDRMask(10, 32)}, Type: row.typ}
		b.must(handle.RouteAdd(ending))
		b.want("100.64.0.1", ends(row.kind))
		b.must(handle.RouteDel(ending))
		b.want("100.64.0.1", forwardTo(wan, 1, "203.0.113.1"))
	}

	// Several next hops: the first.
	multi := &netlink.Route{Dst: &net.IPNet{IP: net.IP{100, 64, 0, 0}, Mask: net.CIDRMask(10, 32)}, MultiPath: []*netlink.NexthopInfo{
		{Gw: net.IP{10, 0, 0, 9}, LinkIndex: lanLink.Attrs().Index}, {Gw: net.IP{203, 0, 113, 1}}}}
	b.must(handle.RouteAdd(multi))
	b.want("100.64.0.1", unresolved(lan, "10.0.0.9"))

	// The kernel does not say that it drops the IPv4 routes of a link that goes down.
	b.must(b.node.Down("wan"))
	b.want("8.8.8.8", ends(Unroutable))
	b.want("203.0.113.1", ends(Unroutable))
	b.must(b.node.Up("wan"), b.node.DefaultRoute(gateway))
	b.want("8.8.8.8", toGateway)

	b.must(b.node.Address("lan", prefix("10.5.0.1/16")))
	b.want("10.5.0.1", ends(Local))
	b.want("10.5.0.2", unresolved(lan, "10.5.0.2"))
	b.must(b.node.RemoveAddress("lan", prefix("10.5.0.1/16")))
	b.want("10.5.0.1", toGateway)
}

func TestResolve(t *testing.T) {
	b := newBench(t)
	b.run()
	b.must(b.node.DefaultRoute(netip.MustParseAddr("203.0.113.1")))
	b.want("8.8.8.8", unresolved(wan, "203.0.113.1"))

	b.w.Resolve(lan, addr("10.0.0.7")) // mute: nobody is asked
	b.until(func() (any, bool) { s := b.w.Stats().Shed; return s, s == 1 }, "the request is shed")
	b.w.Activate()
	b.resolve("10.0.0.99", unresolved(lan, "10.0.0.99")) // nobody has it
	b.resolve("10.0.0.7", forwardTo(lan, 7, "10.0.0.7"))
	b.resolve("8.8.8.8", forwardTo(wan, 1, "203.0.113.1"))
	b.resolve("fd00::7", forwardTo(lan, 7, "fd00::7"))
	b.want("10.0.0.99", unresolved(lan, "10.0.0.99"))
	for _, n := range []Neighbor{{lan, addr("10.0.0.7"), mac(7)}, {lan, addr("fd00::7"), mac(7)}, {wan, addr("203.0.113.1"), mac(1)}} {
		b.until(func() (any, bool) { return nil, b.heard(n) }, "peers hear of", n)
		if !slices.Contains(b.w.Neighbors(), n) {
			t.Errorf("%v is not listed", n)
		}
	}
	if s := b.w.Stats(); s.Failures != 0 || s.Err != nil {
		t.Errorf("failures: %+v", s)
	}

	// Another station takes the address over and says so.
	handle := b.node.Handle()
	link, err := b.node.Link("lan")
	b.must(err, handle.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: net.IP{10, 0, 0, 7},
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 8}, State: netlink.NUD_REACHABLE}))
	b.want("10.0.0.7", forwardTo(lan, 8, "10.0.0.7"))
	b.until(func() (any, bool) { return nil, b.heard(Neighbor{lan, addr("10.0.0.7"), mac(8)}) }, "peers hear of the change")

	// It was a lie: a stale neighbour is probed, and corrected, without a packet of ours.
	b.must(handle.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: net.IP{10, 0, 0, 7},
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 8}, State: netlink.NUD_STALE}))
	b.want("10.0.0.7", unresolved(lan, "10.0.0.7"))
	b.resolve("10.0.0.7", forwardTo(lan, 7, "10.0.0.7"))
}

func TestLearn(t *testing.T) {
	b := newBench(t)
	b.run()
	right, wrong := Neighbor{lan, addr("10.0.0.7"), mac(7)}, Neighbor{wan, addr("203.0.113.1"), mac(0x99)}
	if refused := b.w.Learn(right, wrong, Neighbor{lan, addr("10.0.0.8"), packet.Broadcast}, Neighbor{lan, addr("10.0.0.8"), packet.MAC{}}); refused != 2 {
		t.Errorf("%d refused, want the two without a station's MAC", refused)
	}
	// Usable at once, while the kernel knows nothing of it.
	if got := b.w.Table().Lookup(right.Addr); got != forwardTo(lan, 7, "10.0.0.7") {
		t.Errorf("after Learn: %v", got)
	}
	if state := b.kernelState("lan", "10.0.0.7"); state != netlink.NUD_NONE {
		t.Errorf("a mute node's kernel has it in state %#x", state)
	}

	b.w.Activate()
	if got := b.w.Table().Lookup(right.Addr); got != forwardTo(lan, 7, "10.0.0.7") {
		t.Errorf("after Activate: %v", got)
	}
	// Written as stale, then probed: the right one is confirmed, the wrong one forgotten.
	b.until(func() (any, bool) {
		state := b.kernelState("lan", "10.0.0.7")
		return state, state == netlink.NUD_REACHABLE
	}, "the kernel has confirmed it")
	b.want("203.0.113.1", unresolved(wan, "203.0.113.1"))
	if got := b.w.Table().Lookup(right.Addr); got != forwardTo(lan, 7, "10.0.0.7") {
		t.Errorf("confirmed: %v", got)
	}
	if s := b.w.Stats(); s.Learned != 0 || s.Failures != 0 {
		t.Errorf("%+v", s)
	}

	b.w.Deactivate()
	b.must(b.node.Down("lan"), b.node.Up("lan")) // the kernel forgets
	b.want("10.0.0.7", forwardTo(lan, 7, "10.0.0.7"))
}

func (b *bench) kernelState(link, address string) int {
	b.t.Helper()
	l, err := b.node.Link(link)
	b.must(err)
	all, err := b.node.Handle().NeighList(l.Attrs().Index, netlink.FAMILY_V4)
	b.must(err)
	for _, n := range all {
		if n.IP.String() == address {
			return n.State
		}
	}
	return netlink.NUD_NONE
}

// TestLostNotifications: what happened while the watcher was deaf is read anew.
func TestLostNotifications(t *testing.T) {
	b := newBench(t) // not running: it hears nothing
	gone := Neighbor{wan, addr("203.0.113.3"), mac(3)}
	b.w.seeNeighbors([]netlink.Neigh{{LinkIndex: b.index("wan"), Family: unix.AF_INET, IP: net.IP{203, 0, 113, 3}, HardwareAddr: net.HardwareAddr(gone.MAC[:]), State: netlink.NUD_REACHABLE}})
	if got := b.w.Table().Lookup(gone.Addr); got.Kind != Forward {
		t.Fatalf("before: %v", got)
	}
	b.must(b.node.Neighbor("lan", netip.MustParseAddr("10.0.0.7"), net.HardwareAddr{2, 0, 0, 0, 0, 7}), b.node.DefaultRoute(netip.MustParseAddr("10.0.0.7")))
	b.must(b.w.take(batch{err: unix.ENOBUFS}))
	if !b.w.dirty.Load() {
		t.Error("routes are not read again")
	}
	b.must(b.w.rereadRoutes())
	for dst, want := range map[string]Hop{
		"10.0.0.7":    forwardTo(lan, 7, "10.0.0.7"),
		"8.8.8.8":     forwardTo(lan, 7, "10.0.0.7"),
		"203.0.113.3": unresolved(wan, "203.0.113.3"),
	} {
		if got := b.w.Table().Lookup(addr(dst)); got != want {
			t.Errorf("%s: %v, want %v", dst, got, want)
		}
	}
	if got := b.w.Stats().Lost; got != 1 {
		t.Errorf("%d losses counted", got)
	}
	if err := b.w.take(batch{err: unix.EBADF}); !errors.Is(err, unix.EBADF) {
		t.Errorf("a dead socket: %v", err)
	}
}

func (b *bench) index(link string) int {
	b.t.Helper()
	l, err := b.node.Link(link)
	b.must(err)
	return l.Attrs().Index
}

// TestOverrun makes the kernel lose notifications indeed, with a small buffer.
func TestOverrun(t *testing.T) {
	b := newBench(t)
	b.must(b.w.socket.SetReceiveBufferSize(1, true)) // the kernel rounds up to a few messages
	for i := range 200 {
		b.must(b.node.Neighbor("lan", netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)}), net.HardwareAddr{2, 0, 0, 0, 0, byte(10 + i)}))
	}
	b.run()
	b.want("10.0.0.209", forwardTo(lan, 209, "10.0.0.209"))
	b.want("10.0.0.10", forwardTo(lan, 10, "10.0.0.10"))
	if b.w.Stats().Lost == 0 {
		t.Error("nothing was lost: the test tests nothing")
	}
}

// TestLookupWhileRoutesFlap reads from several goroutines while everything changes.
func TestLookupWhileRoutesFlap(t *testing.T) {
	b := newBench(t)
	b.run()
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if hop := b.w.Table().Lookup(addr("10.0.0.7")); hop.Kind != Unresolved && hop.Kind != Forward {
					t.Errorf("10.0.0.7 became %v", hop)
					return
				}
				b.w.Resolve(lan, addr("10.0.0.99"))
			}
		})
	}
	dst := netip.MustParsePrefix("198.51.100.0/24")
	for i := range 20 {
		b.must(b.node.Route(dst, netip.MustParseAddr("10.0.0.7"), "lan"))
		b.w.Learn(Neighbor{lan, addr("10.0.0.7"), mac(byte(1 + i))})
		b.want("198.51.100.1", forwardTo(lan, byte(1+i), "10.0.0.7"))
		b.must(b.node.Handle().RouteDel(&netlink.Route{Dst: &net.IPNet{IP: net.IP{198, 51, 100, 0}, Mask: net.CIDRMask(24, 32)}}))
		b.want("198.51.100.1", ends(Unroutable))
	}
	close(stop)
	readers.Wait()
}

func TestConfigErrors(t *testing.T) {
	if _, err := NewWatcher(Config{}); err == nil {
		t.Error("a watcher without a clock")
	}
}
