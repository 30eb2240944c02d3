package dataplane

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/gateway"
	"holdfast/dataplane/packet"
	"holdfast/nat"
	"holdfast/rules"
	"holdfast/rules/config"
	"holdfast/rules/limit"
)

// The rig with two providers. The kernel's default route leads through isp1.
//
//	                                           +- wan  (203.0.113.2)  -- isp1 203.0.113.1  --+
//	10.0.0.10 .. -- lan (10.0.0.1) -- [worker] |                                             +-- far 192.0.2.7
//	                                           +- wan2 (198.51.100.2) -- isp2 198.51.100.1 --+
const wan2 packet.PortID = 2

var (
	far      = ip("192.0.2.7")
	web      = ip("10.0.0.80") // open to both providers
	wan2Addr = ip("198.51.100.2")
	macWan2  = packet.MAC{2, 0x48, 0x46, 0, 0, 3}
	macISP1  = packet.MAC{2, 0, 0, 0, 1, 1}
	macISP2  = packet.MAC{2, 0, 0, 0, 1, 2}
)

const (
	isp1 uint8 = 1
	isp2 uint8 = 2
)

const providersPolicy = `
[ports.lan]
addresses = ["10.0.0.1/24"]
[ports.wan]
addresses = ["203.0.113.2/24"]
[ports.wan2]
addresses = ["198.51.100.2/24"]
[gateways.isp1]
port = "wan"
address = "203.0.113.1"
[gateways.isp2]
port = "wan2"
address = "198.51.100.1"
[[routes]]
in = "lan"
to = ["any", "!192.0.2.99"]
gateways = ["isp1", { gateway = "isp2", weight = 2 }]
[[nat]]
kind = "masquerade"
from = ["10.0.0.0/26"]
out = "wan"
[[nat]]
kind = "masquerade"
from = ["10.0.0.0/26"]
out = "wan2"
[[rules]]
id = "out"
action = "pass"
in = "lan"
[[rules]]
id = "web"
action = "pass"
in = ["wan", "wan2"]
to = "10.0.0.80"
proto = "tcp"
to_port = 80
`

// providers is what a test may change of it.
type providers struct {
	routes    []fib.Route
	neighbors []fib.Neighbor
}

func newProviders() providers {
	p := providers{
		routes: append(slices.Clone(rigRoutes),
			fib.Route{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Kind: fib.Forward, Port: wan2},
			fib.Route{Prefix: netip.MustParsePrefix("198.51.100.2/32"), Kind: fib.Local},
			fib.Route{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Kind: fib.Forward, Port: wan, Via: ip("203.0.113.1")},
		),
		neighbors: append(slices.Clone(rigNeighbors),
			fib.Neighbor{Port: wan, Addr: ip("203.0.113.1"), MAC: macISP1},
			fib.Neighbor{Port: wan2, Addr: ip("198.51.100.1"), MAC: macISP2},
			fib.Neighbor{Port: lan, Addr: web, MAC: macServer},
		),
	}
	for i := range 40 {
		p.neighbors = append(p.neighbors, fib.Neighbor{Port: lan, Addr: inside(i), MAC: macClient})
	}
	return p
}

// inside is a client's address.
func inside(i int) packet.Addr {
	return packet.AddrFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)}))
}

// table folds it.
func (p *providers) table() *fib.Table {
	return fib.NewTable(p.routes, p.neighbors, fib.Gateway{Port: wan, Addr: ip("203.0.113.1")}, fib.Gateway{Port: wan2, Addr: ip("198.51.100.1")})
}

// install puts routes and neighbours into the rig as they are now.
func (p *providers) install(r *rig) {
	s := *r.w.snapshot
	s.Routes = p.table()
	r.w.snapshot = &s
	r.w.parked.generation = ^uint64(0)
}

// newProvidersRig makes a rig with both providers.
func newProvidersRig(t testing.TB, text string) (*rig, providers) {
	t.Helper()
	r, p := newRig(t), newProviders()
	policy, err := config.ParsePolicy("rig", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := *r.w.snapshot
	s.Rules, err = rules.Compile(policy)
	must(err)
	s.Gateways, err = rules.Gateways(policy)
	must(err)
	s.Steering, err = rules.CompileRoutes(policy, s.Gateways)
	must(err)
	s.Ports = nat.NewPool()
	s.NAT, err = nat.Compile(rules.Translations(policy), rules.Site(policy), s.Ports)
	must(err)
	r.w.snapshot = &s
	port := &Port{ID: wan2, Name: "wan2", MAC: macWan2, MTU: 1500, Addresses: []packet.Addr{wan2Addr}, Kernel: &fakeKernel{}}
	r.w.shares = append(r.w.shares, &share{Port: port})
	p.install(r)
	return r, p
}

// exits says how packets leave by a provider.
var exits = map[packet.PortID]struct {
	gateway  uint8
	mac, own packet.MAC
	addr     packet.Addr
}{wan: {isp1, macISP1, macWan, wanAddr}, wan2: {isp2, macISP2, macWan2, wan2Addr}}

// leaves asserts that one frame left by a provider's port to its router.
func (r *rig) leaves(got []out, port packet.PortID) packet.Parsed {
	r.t.Helper()
	return r.one(got, port, exits[port].mac, exits[port].own)
}

// begin opens a connection from inside to far and returns its port and external source port.
func (r *rig) begin(client packet.Addr, sport uint16) (port packet.PortID, external uint16) {
	r.t.Helper()
	got := r.feed(lan, packetIn{from: client, to: far, sport: sport, dport: 80, flags: "S", seq: 100, fromMAC: macClient, toMAC: macLan}.frame(r.t))
	if len(got) != 1 {
		r.t.Fatalf("%d frames left; dropped %v", len(got), r.dropped(lan))
	}
	p := r.leaves(got, got[0].port)
	if p.Tuple.Src != exits[got[0].port].addr {
		r.t.Fatalf("left by port %d as %v", got[0].port, p.Tuple.Src)
	}
	return got[0].port, p.Tuple.SrcPort
}

// class returns the class of the only connection, or the newest.
func (r *rig) class() (newest conntrack.Class) {
	var v conntrack.View
	var last conntrack.Incarnation
	for i := range r.w.snapshot.Table.High() {
		if r.w.snapshot.Table.View(i, r.w.now, &v) && v.Incarnation > last {
			last, newest = v.Incarnation, v.Class
		}
	}
	return newest
}

// TestL7_FlowKeepsItsPath: connections spread over the gateways by weight, those of one
// source go together, and each keeps its gateway for all its packets, whatever the routes
// do; its translation is of its provider.
func TestL7_FlowKeepsItsPath(t *testing.T) {
	r, p := newProvidersRig(t, providersPolicy)
	count := map[packet.PortID]int{}
	for i := range 40 {
		port, external := r.begin(inside(i), 4000)
		count[port]++
		if c := r.class(); c.Gateway != exits[port].gateway || c.Egress != port || c.Ingress != lan {
			t.Errorf("port %d: class %+v", port, c)
		}
		if again, _ := r.begin(inside(i), 4001); again != port {
			t.Errorf("client %d has a connection by port %d, and one by %d", i, port, again)
		}
		// The kernel's default route moves to and fro; the connection does not care.
		p.routes[len(p.routes)-1].Port, p.routes[len(p.routes)-1].Via = wan2, ip("198.51.100.1")
		p.install(r)
		answer := packetIn{from: far, to: exits[port].addr, sport: 80, dport: external, flags: "SA", seq: 500, ack: 101, fromMAC: exits[port].mac, toMAC: exits[port].own}
		r.one(r.feed(port, answer.frame(t)), lan, macClient, macLan)
		ack := packetIn{from: inside(i), to: far, sport: 4000, dport: 80, flags: "A", seq: 101, ack: 501, fromMAC: macClient, toMAC: macLan}
		r.leaves(r.feed(lan, ack.frame(t)), port)
		p.routes[len(p.routes)-1].Port, p.routes[len(p.routes)-1].Via = wan, ip("203.0.113.1")
		p.install(r)
		r.leaves(r.feed(lan, ack.frame(t)), port)
	}
	if count[wan] < 5 || count[wan2] < 15 || count[wan]+count[wan2] != 40 {
		t.Errorf("shares of 40 clients: %v, want about one to two", count)
	}
}

// What no route of the policy speaks of goes as the kernel's routes say; its gateway is
// known all the same.
func TestRouteWithoutMatch(t *testing.T) {
	r, p := newProvidersRig(t, providersPolicy)
	sport := uint16(4000)
	to := func(dst string) []out {
		sport++
		return r.feed(lan, packetIn{from: client, to: ip(dst), sport: sport, dport: 80, flags: "S", fromMAC: macClient, toMAC: macLan}.frame(t))
	}
	r.leaves(to("192.0.2.99"), wan) // excluded
	if c := r.class(); c.Gateway != isp1 {
		t.Errorf("by the kernel's default route: %+v", c)
	}
	r.one(to("203.0.113.10"), wan, macServer, macWan) // on the port's own network
	if c := r.class(); c.Gateway != 0 || c.Egress != wan {
		t.Errorf("to a neighbour: %+v", c)
	}
	p.routes = append(p.routes, fib.Route{Prefix: netip.MustParsePrefix("198.18.0.0/15"), Kind: fib.Blackhole})
	p.install(r)
	if got := to("198.18.0.1"); len(got) != 0 { // not even an error
		t.Errorf("what a route discards left: %+v", got)
	}
	p.routes = p.routes[:len(p.routes)-2] // and no default route
	p.install(r)
	if got := to("192.0.2.99"); len(got) != 1 || got[0].port != lan {
		t.Errorf("without a route: %+v", got)
	}
	if got := to("192.0.2.98"); len(got) != 1 || got[0].port == lan {
		t.Errorf("the policy's routes need none of the kernel's: %+v", got)
	}
}

// A gateway whose MAC is not known is asked for, and its connections wait.
func TestGatewayUnresolved(t *testing.T) {
	r, p := newProvidersRig(t, providersPolicy)
	known := p.neighbors
	p.neighbors = rigNeighbors
	p.install(r)
	for i := range 8 {
		r.feed(lan, packetIn{from: inside(i), to: far, sport: 4000, dport: 80, flags: "S", fromMAC: macClient, toMAC: macLan}.frame(t))
	}
	if n := r.w.snapshot.Table.Len(); n != 0 || r.w.parked.n != 8 {
		t.Fatalf("%d connections, %d parked", n, r.w.parked.n)
	}
	for _, a := range r.resolver.asked {
		if a != ip("203.0.113.1") && a != ip("198.51.100.1") {
			t.Errorf("asked for %v", a)
		}
	}
	p.neighbors = known
	p.install(r)
	r.w.retryParked()
	if got := r.take(); len(got) != 8 {
		t.Errorf("%d of 8 left", len(got))
	}
}

// fromFar is a packet of far's to the web server, through a provider.
func fromFar(port packet.PortID, in packetIn) packetIn {
	in.from, in.to, in.sport, in.dport = far, web, 5000, 80
	in.fromMAC, in.toMAC = exits[port].mac, exits[port].own
	return in
}

// fromWeb is an answer to it.
func fromWeb(in packetIn) packetIn {
	in.from, in.to, in.sport, in.dport = web, far, 80, 5000
	in.fromMAC, in.toMAC = macServer, macLan
	return in
}

// TestQ5_RepliesLeaveByThePortTheyCameInOn: also where the routes prefer the other, on the
// node that hears of the connection by replication too.
func TestQ5_RepliesLeaveByThePortTheyCameInOn(t *testing.T) {
	for _, port := range []packet.PortID{wan, wan2} {
		r, _ := newProvidersRig(t, providersPolicy)
		r.one(r.feed(port, fromFar(port, packetIn{flags: "S", seq: 100}).frame(t)), lan, macServer, macLan)
		if c := r.class(); c.Gateway != exits[port].gateway || c.Ingress != port || c.Egress != lan {
			t.Errorf("class %+v", c)
		}
		r.leaves(r.feed(lan, fromWeb(packetIn{flags: "SA", seq: 500, ack: 101}).frame(t)), port)
		r.one(r.feed(port, fromFar(port, packetIn{flags: "A", seq: 101, ack: 501}).frame(t)), lan, macServer, macLan)

		there, _ := newProvidersRig(t, providersPolicy)
		var s conntrack.State
		var applied conntrack.Applied
		if !r.w.snapshot.Table.Export(0, r.w.now, &s) {
			t.Fatal("no connection to replicate")
		}
		if out := there.w.snapshot.Table.Apply(&s, there.w.now, &applied); out != conntrack.AppliedNew {
			t.Fatalf("apply: %d", out)
		}
		there.leaves(there.feed(lan, fromWeb(packetIn{flags: "PA", seq: 501, ack: 101, payload: 100}).frame(t)), port)
	}
}

// TestQ5_PingsAreAnsweredByTheirProvider: the kernel's default route leads by the first; its
// answers with the second one's address leave there, and those of a neighbour stay.
func TestQ5_PingsAreAnsweredByTheirProvider(t *testing.T) {
	r, _ := newProvidersRig(t, providersPolicy)
	answer := packetIn{proto: packet.ICMP, icmpType: 0, icmpID: 9, from: wan2Addr, to: far, fromMAC: macWan, toMAC: macISP1}
	r.leaves(r.kernelSays(wan, answer.frame(t)), wan2)
	answer.from = wanAddr
	r.leaves(r.kernelSays(wan, answer.frame(t)), wan)
	answer.from, answer.to = wan2Addr, server // on wan's own network
	if got := r.kernelSays(wan, answer.frame(t)); len(got) != 1 || got[0].port != wan {
		t.Errorf("to a neighbour: %+v", got)
	}
}

// TestQ5_ResetsBeyondALimitGoTheConnectionsWay: two connections come in by the second provider
// at once, of which one is too many: its client is told by that provider.
func TestQ5_ResetsBeyondALimitGoTheConnectionsWay(t *testing.T) {
	text := strings.Replace(providersPolicy, `id = "web"`, "id = \"web\"\nlimit = { connections = 1 }", 1)
	r, _ := newProvidersRig(t, text)
	policy, err := config.ParsePolicy("rig", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	plan := rules.Limits(policy)
	if r.w.snapshot.Limits, err = limit.New(&plan, 1000); err != nil {
		t.Fatal(err)
	}
	for _, sport := range []uint16{5000, 5001} {
		syn, answer := fromFar(wan2, packetIn{flags: "S", seq: 100}), fromWeb(packetIn{flags: "SA", seq: 500, ack: 101})
		syn.sport, answer.dport = sport, sport
		r.feed(wan2, syn.frame(t))
		r.leaves(r.feed(lan, answer.frame(t)), wan2)
	}
	for i, sport := range []uint16{5000, 5001} {
		ack := fromFar(wan2, packetIn{flags: "A", seq: 101, ack: 501})
		ack.sport = sport
		var ports []packet.PortID
		for _, o := range r.feed(wan2, ack.frame(t)) {
			ports = append(ports, o.port)
		}
		slices.Sort(ports)
		if want := [][]packet.PortID{{lan}, {lan, wan2}}[i]; !slices.Equal(ports, want) {
			t.Errorf("connection %d: frames leave by ports %v, want %v", 1+i, ports, want)
		}
	}
}

// A connection between the providers, in by one and out by the other: its gateway is that
// of its way out, and its replies still leave by the port that it came in by.
func TestQ5_TransitRepliesLeaveByTheirPort(t *testing.T) {
	r, p := newProvidersRig(t, providersPolicy+"[[rules]]\nid = \"transit\"\naction = \"pass\"\nin = \"wan2\"\nout = \"wan\"\n")
	other := ip("198.18.0.7")
	there := packetIn{from: far, to: other, sport: 5000, dport: 443, flags: "S", seq: 100, fromMAC: macISP2, toMAC: macWan2}
	back := packetIn{from: other, to: far, sport: 443, dport: 5000, flags: "SA", seq: 500, ack: 101, fromMAC: macISP1, toMAC: macWan}
	r.leaves(r.feed(wan2, there.frame(t)), wan)
	if c := r.class(); c.Gateway != isp1 || c.Ingress != wan2 || c.Egress != wan {
		t.Errorf("class %+v", c)
	}
	r.leaves(r.feed(wan, back.frame(t)), wan2) // the routes say wan, where it came from
	p.routes = p.routes[:len(p.routes)-1]
	p.install(r)
	r.leaves(r.feed(wan, back.frame(t)), wan2)
}

// Where the routes of both ends lead through one port and gateway, each direction has its
// own: the gateway leads the original one, the routes the other.
func TestQ5_HairpinByOnePort(t *testing.T) {
	r, _ := newProvidersRig(t, providersPolicy+"[[rules]]\nid = \"hairpin\"\naction = \"pass\"\nin = \"wan\"\nout = \"wan\"\n")
	there := packetIn{from: server, to: far, sport: 5000, dport: 443, flags: "S", seq: 100, fromMAC: macServer, toMAC: macWan}
	back := packetIn{from: far, to: server, sport: 443, dport: 5000, flags: "SA", seq: 500, ack: 101, fromMAC: macISP1, toMAC: macWan}
	r.leaves(r.feed(wan, there.frame(t)), wan)
	r.one(r.feed(wan, back.frame(t)), wan, macServer, macWan)
}

// TestQ6_OldSourceNeverLeavesByTheOtherPort: without a gateway to keep to, a translated
// connection ends where its route moves to the other provider; an untranslated one moves.
func TestQ6_OldSourceNeverLeavesByTheOtherPort(t *testing.T) {
	r, p := newProvidersRig(t, providersPolicy)
	for i, translated := range []bool{true, false} {
		src, dst := inside(0), ip("192.0.2.99")
		if !translated {
			src = web // outside the masqueraded prefix
		}
		routes := slices.Clone(p.routes)
		// A router on wan that is none of the policy's gateways.
		p.routes = append(p.routes, fib.Route{Prefix: netip.MustParsePrefix("192.0.2.99/32"), Kind: fib.Forward, Port: wan, Via: server})
		p.install(r)
		syn := packetIn{from: src, to: dst, sport: uint16(4000 + i), dport: 80, flags: "S", seq: 100, fromMAC: macClient, toMAC: macLan}
		r.one(r.feed(lan, syn.frame(t)), wan, macServer, macWan)
		if c := r.class(); c.Gateway != 0 {
			t.Fatalf("class %+v", c)
		}
		p.routes = append(routes, fib.Route{Prefix: netip.MustParsePrefix("192.0.2.99/32"), Kind: fib.Forward, Port: wan2, Via: ip("198.51.100.1")})
		p.install(r)
		got := r.feed(lan, syn.frame(t))
		if !translated {
			r.leaves(got, wan2)
		} else if len(got) != 1 || got[0].port != lan || !slices.Equal(r.dropped(lan), []drop.Reason{drop.NoRoute}) {
			t.Errorf("a source of the one provider left by the other: %+v", got)
		}
		p.routes = routes
	}
}

// TestL6_SourcesBehindGateways: whoever lies behind one provider may come in by another;
// whoever lies on a port's own network, or behind another router, may not.
func TestL6_SourcesBehindGateways(t *testing.T) {
	r, p := newProvidersRig(t, providersPolicy)
	p.routes = append(p.routes, fib.Route{Prefix: netip.MustParsePrefix("10.20.0.0/16"), Kind: fib.Forward, Port: lan, Via: client})
	p.install(r)
	for i, row := range []struct {
		name string
		port packet.PortID
		src  string
		pass bool
	}{
		{"the world by the default route", wan, "192.0.2.7", true},
		{"the world by the other provider", wan2, "192.0.2.7", true},
		{"the world from inside", lan, "192.0.2.7", false},
		{"inside from outside", wan2, "10.0.0.10", false},
		{"behind an inside router, from outside", wan2, "10.20.0.1", false},
		{"the first provider's network by the second", wan2, "203.0.113.10", false},
		{"our own address", wan2, "198.51.100.2", false},
		{"a neighbour", wan2, "198.51.100.9", true},
	} {
		in := packetIn{from: ip(row.src), to: web, sport: uint16(5000 + i), dport: 80, flags: "S", fromMAC: macISP2, toMAC: r.w.shares[row.port].MAC}
		r.feed(row.port, in.frame(t))
		refused := slices.Contains(r.dropped(row.port), drop.SourceInvalid)
		if refused == row.pass {
			t.Errorf("%s: refused %v", row.name, refused)
		}
	}
}

// What a kill tells the ends goes the way of the connection.
func TestQ1_AbortsGoTheConnectionsWay(t *testing.T) {
	r, _ := newProvidersRig(t, providersPolicy)
	r.feed(wan2, fromFar(wan2, packetIn{flags: "S", seq: 100}).frame(t))
	r.feed(lan, fromWeb(packetIn{flags: "SA", seq: 500, ack: 101}).frame(t))
	var s conntrack.State
	r.w.snapshot.Table.Export(0, r.w.now, &s)
	a, ok := AbortOf(&conntrack.Reaped{State: s, Edges: [2]conntrack.Edge{{End: 101, Acked: 501}, {End: 501, Acked: 101}}}, Reset)
	if !ok || !r.w.abort(&a) {
		t.Fatal("not told")
	}
	got := r.take()
	for _, o := range got {
		if o.port == wan2 {
			if packet.DstMAC(o.frame) != macISP2 {
				t.Errorf("to %v", packet.DstMAC(o.frame))
			}
		} else if o.port != lan {
			t.Errorf("a reset by port %d", o.port)
		}
	}
	if !slices.ContainsFunc(got, func(o out) bool { return o.port == wan2 }) {
		t.Error("the client was told nothing")
	}
}

// A state of a peer with another policy may name a gateway that is not here.
func TestGatewayOfAnotherPolicy(t *testing.T) {
	r, _ := newProvidersRig(t, providersPolicy)
	r.feed(wan2, fromFar(wan2, packetIn{flags: "S", seq: 100}).frame(t))
	var s conntrack.State
	r.w.snapshot.Table.Export(0, r.w.now, &s)
	for _, number := range []uint8{3, conntrack.GatewaysMax} {
		there, _ := newProvidersRig(t, providersPolicy)
		s.Gateway = number
		var applied conntrack.Applied
		there.w.snapshot.Table.Apply(&s, there.w.now, &applied)
		there.leaves(there.feed(lan, fromWeb(packetIn{flags: "SA", seq: 500, ack: 101}).frame(t)), wan2)
	}
}

// A gateway that is down gets no new connections, and keeps what it has.
func TestQ4_DownGatewayGetsNothingNew(t *testing.T) {
	r, _ := newProvidersRig(t, providersPolicy)
	var before [40]packet.PortID
	for i := range before {
		before[i], _ = r.begin(inside(i), 4000)
	}
	s := *r.w.snapshot
	s.Down = gateway.Down{}.With(gateway.Number(isp1))
	r.w.snapshot = &s
	for i := range before {
		if port, _ := r.begin(inside(i), 4001); port != wan2 {
			t.Errorf("client %d: a new connection by port %d", i, port)
		}
		syn := packetIn{from: inside(i), to: far, sport: 4000, dport: 80, flags: "S", seq: 100, fromMAC: macClient, toMAC: macLan}
		r.leaves(r.feed(lan, syn.frame(t)), before[i])
	}
}

func TestGatewaysAllocateNothing(t *testing.T) {
	r, _ := newProvidersRig(t, providersPolicy)
	b := &r.w.burst
	data := packetIn{from: client, to: far, sport: 4000, dport: 80, flags: "S", seq: 100, fromMAC: macClient, toMAC: macLan}.frame(t)
	sport := uint16(4000)
	turn := func() {
		b.in, b.n = r.w.shares[lan], r.w.umem.Alloc(b.desc[:8])
		for i := range b.n {
			buf := r.w.umem.Bytes(b.desc[i])
			b.desc[i].Len = uint32(copy(buf[:cap(buf)], data))
			sport++
			buf[:cap(buf)][34], buf[:cap(buf)][35] = byte(sport>>8), byte(sport)
		}
		r.w.forward(b)
		r.lane.Flush()
		if n := r.discard(); n != 8 {
			t.Fatalf("%d left; dropped %v", n, r.dropped(lan))
		}
	}
	turn()
	if n := testing.AllocsPerRun(20, turn); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkHopOf is what an established packet pays for its next hop: the route lookup
// alone, with the comparison of ports, and by the connection's gateway.
func BenchmarkHopOf(b *testing.B) {
	r, _ := newProvidersRig(b, providersPolicy)
	r.feed(lan, packetIn{from: inside(0), to: server, sport: 1, dport: 80, flags: "S", fromMAC: macClient, toMAC: macLan}.frame(b))
	neighbor := r.w.result
	r.feed(lan, packetIn{from: inside(0), to: far, sport: 1, dport: 80, flags: "S", fromMAC: macClient, toMAC: macLan}.frame(b))
	behind := r.w.result
	for name, run := range map[string]func() fib.Hop{
		"lookup":        func() fib.Hop { return r.w.hopTo(far) },
		"lookup-linked": func() fib.Hop { return r.w.hopTo(server) },
		"no-gateway":    func() fib.Hop { return r.w.hopOf(&neighbor, &server) },
		"gateway":       func() fib.Hop { return r.w.hopOf(&behind, &far) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if hop := run(); hop.Kind != fib.Forward {
					b.Fatal(hop)
				}
			}
		})
	}
}
