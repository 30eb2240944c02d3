package nat

import (
	"testing"

	"holdfast/dataplane/packet"
)

// udpMasquerade is a masquerade of one host network with options.
func udpMasquerade(change func(*Translation)) Translation {
	m := masquerade("10.0.0.0/8")
	change(&m)
	return m
}

func udp(src string, sport uint16, dst string, dport uint16) packet.Tuple {
	return tuple(packet.UDP, src, sport, dst, dport)
}

// open begins a connection that must get a translation, and returns what it holds.
func open(t *testing.T, p *Policy, original packet.Tuple, in, out packet.PortID) (packet.Tuple, Binding) {
	t.Helper()
	turn := p.Destination(&original, in)
	reply, b, outcome := p.Source(&turn, out, 0)
	if outcome != Translated && outcome != Untranslated {
		t.Fatalf("%v: %v", original, outcome)
	}
	return reply, b
}

// TestI5_MappingIsEndpointIndependent: one endpoint has one external port for all remotes
// and another endpoint another one.
func TestI5_MappingIsEndpointIndependent(t *testing.T) {
	policy, _ := compiled(t, masquerade("10.0.0.0/8"))
	for _, proto := range protos(packet.TCP, packet.UDP, packet.UDPLite, packet.DCCP, packet.SCTP) {
		first, _ := open(t, policy, tuple(proto, "10.0.0.2", 40000, "192.0.2.7", 1), lan, wan)
		for _, remote := range []string{"192.0.2.7", "192.0.2.8", "198.51.100.1"} {
			for port := uint16(2); port < 5; port++ {
				if again, _ := open(t, policy, tuple(proto, "10.0.0.2", 40000, remote, port), lan, wan); again.DstPort != first.DstPort {
					t.Errorf("%v to %v:%d: port %d, to the first %d", proto, remote, port, again.DstPort, first.DstPort)
				}
			}
		}
		if other, _ := open(t, policy, tuple(proto, "10.0.0.3", 40000, "198.51.100.9", 1), lan, wan); other.DstPort == first.DstPort {
			t.Errorf("%v: another endpoint has the same port", proto)
		}
	}
}

// TestI6_Filtering: who may open a connection to the owner of an external port.
func TestI6_Filtering(t *testing.T) {
	for _, row := range []struct {
		filtering     Filtering
		hairpin       Hairpin
		stranger      Outcome // an address that the endpoint never talked to
		known         Outcome // another port of one that it talks to
		inside        Outcome // another inside host
		insideThanks  string
		knownOnceOver Outcome // after its connection has ended
	}{
		{FilterAddressAndPort, HairpinOff, Untranslated, Untranslated, Untranslated, "", Untranslated},
		{FilterAddress, HairpinOff, Untranslated, Opened, Untranslated, "", Untranslated},
		{FilterNone, HairpinOff, Opened, Opened, Untranslated, "", Opened},
		{FilterAddressAndPort, HairpinOn, Untranslated, Untranslated, Translated, "hairpin", Untranslated},
		{FilterNone, HairpinOn, Opened, Opened, Translated, "hairpin", Opened},
	} {
		policy, pool := compiled(t, udpMasquerade(func(m *Translation) { m.Filtering, m.Hairpin = row.filtering, row.hairpin }))
		original := udp("10.0.0.2", 40000, "192.0.2.7", 53)
		reply, b := open(t, policy, original, lan, wan)
		other := udp("10.0.0.2", 40000, "192.0.2.8", 53)
		_, stays := open(t, policy, other, lan, wan)
		ask := func(who string, src string, in packet.PortID, want Outcome) {
			t.Helper()
			turn := policy.Destination(ptr(udp(src, 999, "203.0.113.2", reply.DstPort)), in)
			if turn.Outcome != want {
				t.Errorf("filtering %d hairpin %d: %s: %v, want %v", row.filtering, row.hairpin, who, turn.Outcome, want)
			}
			if want != Untranslated && (turn.Tuple.Dst != original.Src || turn.Tuple.DstPort != original.SrcPort) {
				t.Errorf("filtering %d: %s reaches %v", row.filtering, who, turn.Tuple)
			}
		}
		ask("a stranger", "198.51.100.66", wan, row.stranger)
		ask("a known address", "192.0.2.7", wan, row.known)
		ask("an inside host", "10.0.0.9", lan, row.inside)
		turn := policy.Destination(ptr(udp("192.0.2.7", 999, "203.0.113.2", 40001)), wan)
		if turn.Outcome != Untranslated {
			t.Errorf("a port of nobody: %v", turn.Outcome)
		}
		pool.Release(b)
		ask("a known address, once its connection has ended", "192.0.2.7", wan, row.knownOnceOver)
		pool.Release(stays)
		ask("after all connections", "192.0.2.7", wan, Untranslated)
	}
}

// TestI6_LetInHoldsThePort: a connection that was let in keeps the external port for its
// inside owner when the connections that opened it are gone, here and on a standby.
func TestI6_LetInHoldsThePort(t *testing.T) {
	rule := udpMasquerade(func(m *Translation) { m.Filtering = FilterNone })
	policy, pool := compiled(t, rule)
	_, standby := compiled(t, rule)
	out := udp("10.0.0.2", 40000, "192.0.2.7", 53)
	outReply, outBinding := open(t, policy, out, lan, wan)
	in := udp("198.51.100.66", 999, "203.0.113.2", 40000)
	inReply, inBinding := open(t, policy, in, wan, lan)
	if !inBinding.Held() || inReply != udp("10.0.0.2", 40000, "198.51.100.66", 999) {
		t.Fatalf("let in as %v, holding %+v", inReply, inBinding)
	}
	if got, ok := standby.Take(in, inReply); !ok || got != inBinding { // before the one that opened it
		t.Errorf("the standby takes %+v %v", got, ok)
	}
	if _, ok := standby.Take(out, outReply); !ok {
		t.Error("the standby refuses the first")
	}
	pool.Release(outBinding)
	if reply, _ := open(t, policy, udp("10.0.0.3", 40000, "192.0.2.9", 53), lan, wan); reply.DstPort == 40000 {
		t.Error("another host has the port of a connection that was let in")
	}
	if got := pool.BindingOf(in, inReply); got != inBinding || !pool.Release(got) {
		t.Errorf("BindingOf gives %+v", got)
	}
}

// TestI8_HairpinOfMappings: A reaches B by B's external port, B sees A's external address;
// and a host that reaches itself makes no loop.
func TestI8_HairpinOfMappings(t *testing.T) {
	policy, pool := compiled(t, udpMasquerade(func(m *Translation) { m.Hairpin = HairpinOn }))
	b, _ := open(t, policy, udp("10.0.0.3", 5000, "192.0.2.7", 53), lan, wan)
	original := udp("10.0.0.2", 4000, "203.0.113.2", b.DstPort)
	reply, held := open(t, policy, original, lan, lan)
	if reply != udp("10.0.0.3", 5000, "203.0.113.2", 4000) {
		t.Errorf("A to B: answers are %v", reply)
	}
	if got := pool.BindingOf(original, reply); got != held || held.source.space == noPorts || held.destination.space == noPorts {
		t.Errorf("it holds %+v, BindingOf gives %+v", held, got)
	}
	// Another port of B to B itself: B sees its own external address.
	if reply, _ := open(t, policy, udp("10.0.0.3", 6000, "203.0.113.2", b.DstPort), lan, lan); reply != udp("10.0.0.3", 5000, "203.0.113.2", 6000) {
		t.Errorf("B to B: answers are %v", reply)
	}
	// The very endpoint to itself: both tuples are one, which no table takes.
	same := udp("10.0.0.3", 5000, "203.0.113.2", b.DstPort)
	if reply, _ := open(t, policy, same, lan, lan); reply != same {
		t.Errorf("an endpoint to itself: %v", reply)
	}
}

// TestI10_HoldDown: a released port waits for another endpoint, and not for its own.
func TestI10_HoldDown(t *testing.T) {
	policy, pool := compiled(t, udpMasquerade(func(m *Translation) { m.HoldDown = 120e9 }))
	now := int64(1000e9)
	pool.Tick(now)
	mine, other := udp("10.0.0.2", 40000, "192.0.2.7", 53), udp("10.0.0.3", 40000, "192.0.2.7", 53)
	_, b := open(t, policy, mine, lan, wan)
	pool.Release(b)
	if reply, b := open(t, policy, other, lan, wan); reply.DstPort == 40000 {
		t.Error("the port was given at once")
	} else {
		pool.Release(b)
	}
	if reply, b := open(t, policy, mine, lan, wan); reply.DstPort != 40000 {
		t.Errorf("its own endpoint got %d", reply.DstPort)
	} else {
		now += 100e9
		pool.Tick(now)
		pool.Release(b) // anew: 120 s from here
	}
	for i, row := range []struct {
		after int64
		free  bool
	}{{100e9, false}, {19e9, false}, {3e9, true}} {
		now += row.after
		pool.Tick(now)
		other.Src = inside(100+i, 0).Addr // one that has no port to come back to
		reply, b := open(t, policy, other, lan, wan)
		if (reply.DstPort == 40000) != row.free {
			t.Errorf("at %d s: port %d", now/1e9, reply.DstPort)
		}
		if row.free {
			pool.Release(b)
			break
		}
		if !pool.Release(b) {
			t.Error("not held")
		}
	}
	now += 1000e9
	pool.Tick(now)
	if u := pool.Usage(); u[0].Used != 0 {
		t.Errorf("%d ports are still held", u[0].Used)
	}
}

// TestI22_PortsPerSource: an inside address gets so many ports and no more, others are
// not affected, and connections on ports that it has go on beginning.
func TestI22_PortsPerSource(t *testing.T) {
	policy, pool := compiled(t, udpMasquerade(func(m *Translation) { m.PortsPerSource = 3 }))
	var held []Binding
	for port := uint16(1); port <= 3; port++ {
		_, b := open(t, policy, udp("10.0.0.2", 2000+port, "192.0.2.7", 53), lan, wan)
		held = append(held, b)
	}
	fourth := udp("10.0.0.2", 2004, "192.0.2.7", 53)
	if _, _, outcome := propose(policy, fourth, wan, 0); outcome != Exhausted {
		t.Fatalf("a fourth port: %v", outcome)
	}
	open(t, policy, udp("10.0.0.2", 2001, "192.0.2.8", 53), lan, wan)
	open(t, policy, udp("10.0.0.3", 2004, "192.0.2.7", 53), lan, wan)
	open(t, policy, tuple(packet.TCP, "10.0.0.2", 2004, "192.0.2.7", 53), lan, wan)
	pool.Release(held[2])
	open(t, policy, fourth, lan, wan)
	// A standby counts what it takes.
	standby, pool2 := compiled(t, udpMasquerade(func(m *Translation) { m.PortsPerSource = 3 }))
	for port := uint16(1); port <= 3; port++ {
		original := udp("10.0.0.2", 2000+port, "192.0.2.7", 53)
		reply := original.Reply()
		reply.Dst = addr("203.0.113.2")
		pool2.Take(original, reply)
	}
	if _, _, outcome := propose(standby, fourth, wan, 0); outcome != Exhausted {
		t.Errorf("after promotion: %v", outcome)
	}
}

// TestI4_OverloadingWhenConfigured: only with a mapping that depends on address and port
// do two endpoints share a port, where none is free, and every tuple stays one connection's.
func TestI4_OverloadingWhenConfigured(t *testing.T) {
	rule := udpMasquerade(func(m *Translation) {
		m.Mapping, m.TargetPorts = AddressAndPortDependent, through(40000, 40001)
	})
	policy, pool := compiled(t, rule)
	_, standby := compiled(t, rule)
	originals := []packet.Tuple{
		udp("10.0.0.2", 40000, "192.0.2.7", 53), udp("10.0.0.3", 40000, "192.0.2.8", 53), udp("10.0.0.4", 40000, "192.0.2.9", 53),
	}
	var all []Binding
	used := map[uint16]bool{}
	for i, original := range originals {
		reply, b := open(t, policy, original, lan, wan)
		all, used[reply.DstPort] = append(all, b), true
		if i == 0 && reply.DstPort != 40000 || i == 1 && reply.DstPort != 40001 {
			t.Errorf("a free port is not given: %v", reply)
		}
		if got, ok := standby.Take(original, reply); !ok || !got.Held() {
			t.Error("the standby refuses a shared port")
		}
	}
	if len(used) != 2 {
		t.Errorf("ports %v", used)
	}
	// The same remote end: the table refuses, and a later attempt has the other port.
	seen := map[uint16]bool{}
	for range 64 {
		reply, b, outcome := propose(policy, udp("10.0.0.5", 40000, "192.0.2.7", 53), wan, 1)
		if outcome != Translated {
			t.Fatalf("after a clash: %v", outcome)
		}
		seen[reply.DstPort], all = true, append(all, b)
	}
	if len(seen) != 2 {
		t.Errorf("after clashes: %v", seen)
	}
	for _, held := range all {
		if !pool.Release(held) {
			t.Error("not held")
		}
	}
	if m := pool.find(ptr(addr("203.0.113.2"))).portMap(udpPorts); m.Used() != 0 {
		t.Errorf("%d ports used", m.Used())
	}
}

// TestI19_ImplicitClash: a source that nothing translates gets another port of its class
// when its reply tuple is taken, and holds nothing.
func TestI19_ImplicitClash(t *testing.T) {
	policy, pool := compiled(t, web())
	for _, row := range []struct {
		original  packet.Tuple
		low, high uint16
	}{
		{tcp("192.0.2.7", 40000, "203.0.113.2", 80), 1024, 65535},
		{tcp("192.0.2.7", 700, "203.0.113.2", 80), 600, 1023},
		{tcp("192.0.2.7", 7, "172.16.0.80", 8080), 1, 511},
		{tuple(packet.ICMP, "192.0.2.7", 7, "172.16.0.80", packet.ICMPEchoRequest<<8), 1, 65535},
	} {
		seen := map[uint16]bool{}
		for attempt := 1; attempt < 8; attempt++ {
			turn := policy.Destination(&row.original, wan)
			reply, b, outcome := policy.Source(&turn, dmz, attempt)
			inside, outside := sourceOf(&row.original, &reply)
			if outcome != Translated || b.Held() || inside.Addr != outside.Addr || outside.Port < row.low || outside.Port > row.high {
				t.Fatalf("%v, attempt %d: %v %v %+v", row.original, attempt, reply, outcome, b)
			}
			if taken, ok := pool.Take(row.original, reply); !ok || taken.Held() {
				t.Errorf("a standby takes %+v %v", taken, ok)
			}
			seen[outside.Port] = true
		}
		if len(seen) < 5 {
			t.Errorf("%v: only %d ports were tried", row.original, len(seen))
		}
	}
	if turn := policy.Destination(ptr(tuple(packet.GRE, "192.0.2.7", 0, "172.16.0.80", 0)), wan); true {
		if _, _, outcome := policy.Source(&turn, dmz, 1); outcome != Exhausted {
			t.Errorf("GRE: %v", outcome)
		}
	}
}

// TestI11_TermsFollowThePolicy: another policy changes what is given from now on, not what
// connections have.
func TestI11_TermsFollowThePolicy(t *testing.T) {
	policy, pool := compiled(t, masquerade("10.0.0.0/8"))
	reply, b := open(t, policy, tcp("10.0.0.2", 80, "192.0.2.7", 443), lan, wan)
	again, err := Compile([]Translation{web(), masquerade("10.0.0.0/8")}, testSite(), pool)
	if err != nil {
		t.Fatal(err)
	}
	if second, _ := open(t, again, tcp("10.0.0.2", 80, "192.0.2.8", 443), lan, wan); second.DstPort != reply.DstPort {
		t.Errorf("the endpoint moved from %d to %d", reply.DstPort, second.DstPort)
	}
	pool.Release(b)
	pool.Release(b)
	if third, _ := open(t, again, tcp("10.0.0.2", 80, "192.0.2.8", 443), lan, wan); third.DstPort == 80 {
		t.Error("a port that is forwarded by now was given")
	}
	if _, err := Compile([]Translation{masquerade("10.0.0.0/8")}, testSite(), pool); err != nil {
		t.Fatal(err)
	}
	if reply, _ := open(t, policy, tcp("10.0.0.3", 80, "192.0.2.8", 443), lan, wan); reply.DstPort != 80 {
		t.Errorf("the port that is forwarded no more: got %d", reply.DstPort)
	}
}

// TestI18_NeverLinkLocal: NAT66 is masquerade over IPv6, and what is valid on one link only
// is never its external address, nor a target.
func TestI18_NeverLinkLocal(t *testing.T) {
	m := masquerade("fd00::/8")
	policy, err := Compile([]Translation{m}, siteOf("fe80::2", "2001:db8::2"), newPool(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	if reply, _ := open(t, policy, udp("fd00::2", 5353, "2001:db8:1::7", 53), lan, wan); reply.Dst != addr("2001:db8::2") {
		t.Errorf("external address %v", reply.Dst)
	}
	for _, kind := range []Kind{Source, Destination} {
		bad := Translation{Kind: kind, Targets: []Target{target("fe80::9")}}
		if _, err := Compile([]Translation{bad}, Site{}, newPool(testSecret)); err == nil {
			t.Errorf("%v to a link-local address was accepted", kind)
		}
	}
}
