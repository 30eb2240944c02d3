package dataplane

import (
	"encoding/binary"
	"slices"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/rules"
	"holdfast/rules/config"
	"holdfast/rules/limit"
)

// limited gives the rig rules whose connections are limited: 2 at once to port 80 (and
// another rule's 81, together), 2 in 10 s to port 25; and a table of so many connections.
func (r *rig) limited(capacity uint32) {
	r.t.Helper()
	policy, err := config.ParsePolicy("limits", []byte(`
[ports.lan]
addresses = ["10.0.0.1/24"]
[ports.wan]
addresses = ["203.0.113.2/24"]
[limits.web]
connections = 2
[[rules]]
id = "web"
action = "pass"
in = "lan"
proto = ["tcp", "udp"]
to_port = 80
limit = "web"
[[rules]]
id = "web-too"
action = "pass"
in = "lan"
proto = ["tcp", "udp"]
to_port = 81
limit = "web"
[[rules]]
id = "mail"
action = "pass"
in = "lan"
proto = ["tcp", "udp"]
to_port = 25
limit = { rate = "2/10s" }
[[rules]]
id = "self"
action = "pass"
to = "self"
proto = ["tcp", "udp"]
to_port = 22
limit = "web"
[[rules]]
id = "from-self"
action = "pass"
from = "self"
proto = "udp"
limit = { connections = 2 }
[[rules]]
id = "free"
action = "pass"
in = "lan"
`))
	if err != nil {
		r.t.Fatal(err)
	}
	set, err := rules.Compile(policy)
	if err != nil {
		r.t.Fatal(err)
	}
	table, err := conntrack.New(conntrack.Config{Capacity: capacity, Node: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { table.Close() })
	plan := rules.Limits(policy)
	limits, err := limit.New(&plan, capacity)
	if err != nil {
		r.t.Fatal(err)
	}
	snapshot := *r.snapshot.Load()
	snapshot.Rules, snapshot.Table, snapshot.Limits = set, table, limits
	r.snapshot.Store(&snapshot)
	r.w.snapshot = &snapshot
	snapshot.Hits = NewRuleHits(1, set)
}

// dial takes a handshake from a port of the client through the path as far as it gets and
// returns the port that the wan saw it come from, and why a packet of it died.
func (r *rig) dial(sport, dport uint16) (external uint16, why drop.Reason) {
	r.t.Helper()
	first := r.feed(lan, fromClient(packetIn{sport: sport, dport: dport, flags: "S", seq: 100}).frame(r.t))
	if died := r.dropped(lan); len(died) > 0 {
		return 0, died[0]
	}
	external = binary.BigEndian.Uint16(first[0].frame[34:])
	r.feed(wan, fromServer(packetIn{sport: dport, dport: external, flags: "SA", seq: 500, ack: 101}).frame(r.t))
	return external, r.complete(sport, dport)
}

// complete sends the last packet of a handshake and returns why it died.
func (r *rig) complete(sport, dport uint16) drop.Reason {
	r.t.Helper()
	r.feed(lan, fromClient(packetIn{sport: sport, dport: dport, flags: "A", seq: 101, ack: 501}).frame(r.t))
	if died := r.dropped(lan); len(died) > 0 {
		return died[0]
	}
	return drop.Pass
}

// query sends a datagram of the client and returns why it died.
func (r *rig) query(sport, dport uint16) drop.Reason {
	r.t.Helper()
	r.feed(lan, fromClient(packetIn{proto: packet.UDP, sport: sport, dport: dport, payload: 8}).frame(r.t))
	if died := r.dropped(lan); len(died) > 0 {
		return died[0]
	}
	return drop.Pass
}

// TestO6_HandshakesCount: connections count when they are complete, for all rules that share
// the limit, and whoever opens too many at once has the last of them ended at both ends.
func TestO6_HandshakesCount(t *testing.T) {
	r := newRig(t)
	r.limited(1000)
	syn := func(sport, dport uint16) uint16 {
		out := r.feed(lan, fromClient(packetIn{sport: sport, dport: dport, flags: "S", seq: 100}).frame(t))
		if len(out) != 1 {
			t.Fatalf("a SYN from %d did not pass: %v", sport, r.dropped(lan))
		}
		return binary.BigEndian.Uint16(out[0].frame[34:])
	}
	var external [3]uint16
	for i := range external {
		external[i] = syn(uint16(1+i), uint16(80+i%2))
		r.feed(wan, fromServer(packetIn{sport: uint16(80 + i%2), dport: external[i], flags: "SA", seq: 500, ack: 101}).frame(t))
	}
	for i := range 2 {
		if why := r.complete(uint16(1+i), uint16(80+i%2)); why != drop.Pass {
			t.Fatalf("connection %d of 2: %v", i+1, why)
		}
	}
	outs := r.feed(lan, fromClient(packetIn{sport: 3, dport: 80, flags: "A", seq: 101, ack: 501}).frame(t))
	if got := r.dropped(lan); !slices.Equal(got, []drop.Reason{drop.SourceLimit}) {
		t.Errorf("the third died of %v", got)
	}
	resets := map[packet.PortID][2]uint32{lan: {501, 101}, wan: {101, 501}} // what each end expects, and has had acknowledged
	for _, o := range outs {
		var p packet.Parsed
		if why := packet.Decode(o.frame, &p); why != drop.Pass || p.TCPFlags&packet.FlagRST == 0 || [2]uint32{p.Seq, p.Ack} != resets[o.port] {
			t.Errorf("by port %d left %v: flags %x, seq %d, ack %d", o.port, why, p.TCPFlags, p.Seq, p.Ack)
		}
		if o.port == wan && p.Tuple.SrcPort != external[2] || o.port == lan && p.Tuple.DstPort != 3 {
			t.Errorf("the reset by port %d is for %v", o.port, &p.Tuple)
		}
		delete(resets, o.port)
	}
	if len(resets) != 0 || r.w.Ends(conntrack.EndLimited) != 1 {
		t.Errorf("no reset left by %v; %d ended", resets, r.w.Ends(conntrack.EndLimited))
	}
	if n := r.w.snapshot.Table.Len(); n != 2 {
		t.Errorf("%d connections", n)
	}
	if _, why := r.dial(4, 81); why != drop.SourceLimit {
		t.Errorf("another SYN: %v", why)
	}
	if _, why := r.dial(5, 8080); why != drop.Pass {
		t.Errorf("a rule without limit: %v", why)
	}
}

// TestO6_SpoofedSYNBlocksNobody: a flood of SYNs from the client's address, none of which is
// ever completed, neither uses up its connections nor its rate.
func TestO6_SpoofedSYNBlocksNobody(t *testing.T) {
	r := newRig(t)
	r.limited(1000)
	for i := range uint16(500) {
		for _, dport := range []uint16{80, 25} {
			r.feed(lan, fromClient(packetIn{sport: 1000 + i, dport: dport, flags: "S", seq: 100}).frame(t))
		}
	}
	if got := r.dropped(lan); len(got) != 0 {
		t.Fatalf("a SYN died: %v", got[0])
	}
	if n := r.w.snapshot.Limits.Sources(); n != 0 {
		t.Errorf("%d sources are counted", n)
	}
	for _, dport := range []uint16{80, 25} {
		for i := range uint16(3) {
			want := drop.Pass
			if i == 2 {
				want = map[uint16]drop.Reason{80: drop.SourceLimit, 25: drop.SourceRate}[dport]
			}
			if _, why := r.dial(1+i, dport); why != want {
				t.Errorf("connection %d to port %d: %v, want %v", i+1, dport, why, want)
			}
		}
	}
}

// TestO6_Rate: two in ten seconds, of either protocol, and a third after five.
func TestO6_Rate(t *testing.T) {
	r := newRig(t)
	r.limited(1000)
	if _, why := r.dial(1, 25); why != drop.Pass {
		t.Fatal(why)
	}
	if why := r.query(2, 25); why != drop.Pass {
		t.Fatal(why)
	}
	if _, why := r.dial(3, 25); why != drop.SourceRate {
		t.Errorf("the third, TCP: %v", why)
	}
	if why := r.query(3, 25); why != drop.SourceRate {
		t.Errorf("the third, UDP: %v", why)
	}
	r.w.now += 5e9 - 1
	if why := r.query(3, 25); why != drop.SourceRate {
		t.Errorf("a nanosecond too early: %v", why)
	}
	r.w.now++
	if why := r.query(3, 25); why != drop.Pass {
		t.Errorf("after five seconds: %v", why)
	}
	if why := r.query(2, 25); why != drop.Pass {
		t.Errorf("a packet of a connection that is there: %v", why)
	}
}

// TestO6_EveryEndGivesBack ends connections in every way that there is. Whichever it was,
// the source has exactly as many left as it had before.
func TestO6_EveryEndGivesBack(t *testing.T) {
	everything := func(*conntrack.Class) bool { return true }
	sweepAll := func(r *rig) {
		for range 100 {
			r.w.now += 1e9
			r.w.sweep()
		}
	}
	for _, row := range []struct {
		name string
		tcp  bool
		ends int // of how many the end gives back
		end  func(r *rig, external uint16)
	}{
		{"expired", false, 2, func(r *rig, _ uint16) { r.w.now += 1e12; sweepAll(r) }},
		{"expired on a standby", false, 2, func(r *rig, _ uint16) { r.w.active = false; r.w.now += 1e12; sweepAll(r); r.w.active = true }},
		{"killed by class, swept", true, 2, func(r *rig, _ uint16) { r.w.snapshot.Table.Kill(everything, 0); sweepAll(r) }},
		{"killed by class, found by a packet", true, 1, func(r *rig, _ uint16) {
			r.w.snapshot.Table.Kill(everything, 0)
			r.complete(1, 80)
			r.dropped(lan)
		}},
		{"closed, and begun anew from its own side", true, 1, func(r *rig, external uint16) {
			r.feed(lan, fromClient(packetIn{sport: 1, dport: 80, flags: "R", seq: 101}).frame(r.t))
			r.feed(lan, fromClient(packetIn{sport: 1, dport: 80, flags: "S", seq: 70000}).frame(r.t))
		}},
		{"replaced after a new SYN was answered", true, 1, func(r *rig, external uint16) {
			r.feed(lan, fromClient(packetIn{sport: 1, dport: 80, flags: "S", seq: 700000}).frame(r.t))
			r.feed(wan, fromServer(packetIn{sport: 80, dport: external, flags: "SA", seq: 900000, ack: 700001}).frame(r.t))
		}},
		{"closed, and a SYN from the other side", true, 1, func(r *rig, external uint16) {
			for _, s := range []struct {
				from     packet.PortID
				flags    string
				seq, ack uint32
			}{{lan, "FA", 101, 501}, {wan, "FA", 501, 102}, {lan, "A", 102, 502}, {wan, "S", 90000, 0}} {
				p := fromClient(packetIn{sport: 1, dport: 80, flags: s.flags, seq: s.seq, ack: s.ack})
				if s.from == wan {
					p = fromServer(packetIn{sport: 80, dport: external, flags: s.flags, seq: s.seq, ack: s.ack})
				}
				r.feed(s.from, p.frame(r.t))
			}
			r.dropped(wan)
		}},
		{"evicted", false, 2, func(r *rig, _ uint16) {
			for i := range uint16(40) { // the table has room for 20
				r.query(5000+i, 53)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t)
			r.limited(20)
			begin := func(sport uint16) (uint16, drop.Reason) {
				if row.tcp {
					return r.dial(sport, 80)
				}
				return 0, r.query(sport, 80)
			}
			external, why := begin(1)
			if why != drop.Pass {
				t.Fatal(why)
			}
			if _, why = begin(2); why != drop.Pass {
				t.Fatal(why)
			}
			if _, why = begin(3); why != drop.SourceLimit {
				t.Fatalf("before anything ended: %v", why)
			}
			row.end(r, external)
			for i := range uint16(row.ends) {
				if _, why := begin(100 + i); why != drop.Pass {
					t.Errorf("number %d after the end: %v", i+1, why)
				}
			}
			if _, why := begin(200); why != drop.SourceLimit {
				t.Errorf("one more after the end: %v", why)
			}
		})
	}
}

// TestO6_WhatDoesNotBeginCountsNot: a full table, no free port, and the second packet of one
// flow in a burst.
func TestO6_WhatDoesNotBeginCountsNot(t *testing.T) {
	r := newRig(t)
	r.limited(1000)
	again := fromClient(packetIn{proto: packet.UDP, sport: 1, dport: 80, payload: 8}).frame(t)
	if out := r.feed(lan, again, again, again); len(out) != 3 {
		t.Fatalf("%d of 3 passed: %v", len(out), r.dropped(lan))
	}
	if why := r.query(2, 80); why != drop.Pass {
		t.Errorf("the second connection: %v", why)
	}
	if why := r.query(3, 80); why != drop.SourceLimit {
		t.Errorf("the third connection: %v", why)
	}

	r = newRig(t)
	r.limited(3)
	for i := range uint16(3) { // what is established is not evicted
		if _, why := r.dial(10+i, 8080); why != drop.Pass {
			t.Fatal(why)
		}
	}
	for i := range uint16(5) {
		if why := r.query(20+i, 80); why != drop.TableFull {
			t.Errorf("full: %v", why)
		}
	}
	if n := r.w.snapshot.Limits.Sources(); n != 0 {
		t.Errorf("%d sources are counted", n)
	}
}

// TestO6_ConnectionsOfTheNodeItself count too, those that come to it and those that its own
// programs begin, and their ends give back what they took.
func TestO6_ConnectionsOfTheNodeItself(t *testing.T) {
	r := newRig(t)
	r.limited(1000)
	toSelf := func(sport uint16) []drop.Reason {
		p := fromClient(packetIn{proto: packet.UDP, sport: sport, dport: 22, payload: 8})
		p.to = lanAddr
		r.feed(lan, p.frame(t))
		return r.dropped(lan)
	}
	fromSelf := func(sport uint16) []drop.Reason {
		p := packetIn{from: lanAddr, to: client, fromMAC: macLan, toMAC: macClient, proto: packet.UDP, sport: sport, dport: 514, payload: 8}
		r.kernelSays(lan, p.frame(t))
		return r.kept(lan)
	}
	for round := range 2 {
		for _, begin := range []func(uint16) []drop.Reason{toSelf, fromSelf} {
			for i := range uint16(3) {
				want := []drop.Reason(nil)
				if i == 2 {
					want = []drop.Reason{drop.SourceLimit}
				}
				if got := begin(1000 + i); !slices.Equal(got, want) {
					t.Errorf("round %d, connection %d: %v, want %v", round, i+1, got, want)
				}
			}
		}
		r.w.now += 1e12
		for range 100 {
			r.w.now += 1e9
			r.w.sweep()
		}
		if n := r.w.snapshot.Limits.Sources(); n != 0 {
			t.Errorf("round %d: %d sources are counted after the end of all", round, n)
		}
	}
}
