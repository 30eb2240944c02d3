package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/internal/race"
)

// TestB16_Adaptive: adaptive rules answer while more than a quarter of the table's room is
// half-open, until less than 12 % is.
func TestB16_Adaptive(t *testing.T) {
	r := newProxyRig(t, "masquerade", "adaptive")
	syn := func(n int) (answered bool) {
		h := r.client
		h.own = uint16(1000 + n)
		left := r.feed(lan, h.frame(tcp{flags: packet.FlagSYN, seq: 1, options: clientOffers}))
		r.w.now += floodedEvery
		r.w.config.SynProxy.measure(r.w.snapshot.Table, r.w.now)
		return len(left) == 1 && left[0].port == lan
	}
	for i := range 251 {
		if syn(i) {
			t.Fatalf("SYN %d is answered by the firewall", i)
		}
	}
	half := func() int {
		n, others := r.w.snapshot.Table.HalfOpen()
		if others != 0 {
			t.Fatalf("%d are complete", others)
		}
		return n
	}
	if !syn(251) || half() != 251 {
		t.Fatalf("with %d half-open of 1000 nothing is proxied", half())
	}
	var last conntrack.Ended
	for half() >= 120 {
		if !syn(300) {
			t.Fatalf("with %d half-open it has ended", half())
		}
		if !r.w.snapshot.Table.Evict(r.w.now, &last) {
			t.Fatal("nothing to evict")
		}
	}
	syn(300)
	if syn(301) {
		t.Error("with less than 12 % half-open it has not ended")
	}
}

// TestB16_AdaptiveBesideOthers: what counts is the share of the room that the complete
// connections leave, so few half-open ones are a flood where nearly all is taken.
func TestB16_AdaptiveBesideOthers(t *testing.T) {
	r := newProxyRig(t, "masquerade", "adaptive")
	var a conntrack.Applied
	for i := range 900 {
		s := conntrack.State{Incarnation: conntrack.Incarnation(i + 1), Class: conntrack.Class{Egress: wan}}
		s.Original = packet.Tuple{Src: client, Dst: server, SrcPort: uint16(i + 1), DstPort: 53, Proto: packet.UDP}
		s.Reply = s.Original.Reply()
		if out := r.w.snapshot.Table.Apply(&s, r.w.now, &a); out != conntrack.AppliedNew {
			t.Fatalf("connection %d: %v", i, out)
		}
	}
	for i := range 40 {
		h := r.client
		h.own = uint16(1000 + i)
		left := r.feed(lan, h.frame(tcp{flags: packet.FlagSYN, seq: 1, options: clientOffers}))
		if answered := len(left) == 1 && left[0].port == lan; answered != (i > 25) {
			t.Fatalf("with %d half-open beside 900: answered %v", i, answered)
		}
		r.w.now += floodedEvery
		r.w.config.SynProxy.measure(r.w.snapshot.Table, r.w.now)
	}
}

// TestB16_NextLife: a SYN of the same ports after the end is answered by the firewall like
// the first, and nothing of it comes to the server (E5).
func TestB16_NextLife(t *testing.T) {
	r := newProxyRig(t, "masquerade", "always")
	c := r.open(clientOffers, serverOffers)
	cl, sv := &r.client, &r.server
	r.says(sv, cl, tcp{flags: packet.FlagACK | packet.FlagFIN, seq: serverFirst + 1, ack: clientFirst + 1, window: 512})
	r.says(cl, sv, tcp{flags: packet.FlagACK | packet.FlagFIN, seq: clientFirst + 1, ack: c + 2, window: 1000})
	r.says(sv, cl, tcp{flags: packet.FlagACK, seq: serverFirst + 2, ack: clientFirst + 2, window: 512})
	if r.w.result.TCP != conntrack.TimeWait {
		t.Fatalf("it is %v", r.w.result.TCP)
	}
	p := r.says(cl, cl, tcp{flags: packet.FlagSYN, seq: clientFirst + 100000, window: 64240, options: clientOffers})
	if p.TCPFlags != packet.FlagSYN|packet.FlagACK || p.Window != 0 {
		t.Fatalf("the SYN was answered by %+v", p)
	}
	syn := r.says(cl, sv, tcp{flags: packet.FlagACK, seq: clientFirst + 100001, ack: p.Seq + 1, window: 1004})
	if syn.TCPFlags != packet.FlagSYN || syn.Seq != clientFirst+100000 {
		t.Errorf("the server got %+v", syn)
	}
}

// TestB16_NoPickUp: where SYNs are answered no acknowledgement without a cookie begins a
// connection, though a match rule would pick it up.
func TestB16_NoPickUp(t *testing.T) {
	const policy = `
[ports.lan]
addresses = ["10.0.0.1/24"]
[ports.wan]
addresses = ["203.0.113.2/24"]
[[rules]]
id = "resume"
action = "match"
state = { pick-up = true }
[[rules]]
id = "out"
action = "pass"
syn_proxy = "%s"
`
	for _, when := range []string{"never", "adaptive", "always"} {
		r := rigOf(t, fmt.Sprintf(policy, when), rigRoutes, rigNeighbors, 1000)
		cl := proxied["masquerade"].client
		left := r.feed(lan, cl.frame(tcp{flags: packet.FlagACK, seq: 5, ack: 6, window: 1000, payload: 3}))
		if picked := len(left) == 1; picked == (when == "always") {
			t.Errorf("%s: picked up %v; %v", when, picked, r.dropped(lan))
		}
	}
}

// TestB16_Failover: what the first node tells of a proxied connection is enough for another
// to go on with it, and a cookie of the first begins a connection on the second.
func TestB16_Failover(t *testing.T) {
	first, second := newProxyRig(t, "dnat", "always"), newProxyRig(t, "dnat", "always")
	c := first.open(clientOffers, serverOffers)
	var s conntrack.State
	index := first.w.result.Index
	if !first.w.snapshot.Table.Export(index, first.w.now, &s) {
		t.Fatal("no state")
	}
	var a conntrack.Applied
	if out := second.w.snapshot.Table.Apply(&s, second.w.now, &a); out != conntrack.AppliedNew {
		t.Fatalf("it was not taken over: %v", out)
	}
	if p := second.says(&second.client, &second.server, tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 1, window: 1004, payload: 9}); p.Ack != serverFirst+1 {
		t.Errorf("the server got %+v", p)
	}
	if p := second.says(&second.server, &second.client, tcp{flags: packet.FlagACK, seq: serverFirst + 1, ack: clientFirst + 10, window: 1004, payload: 9}); p.Seq != c+1 {
		t.Errorf("the client got %+v", p)
	}
	third := newProxyRig(t, "dnat", "always")
	third.says(&third.client, &third.server, tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 1, window: 1004})
	third.accept(c, serverOffers)
}

// TestB16_Flood: a flood of SYNs with forged sources is answered one by one and leaves
// nothing in the table; an honest client gets through between them.
func TestB16_Flood(t *testing.T) {
	f := newFlood(t, 1)
	r := newProxyRig(t, "dnat", "always")
	world := append(slices.Clone(rigRoutes), fib.Route{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Kind: fib.Forward, Port: wan, Via: server})
	snapshot := *r.w.snapshot
	snapshot.Routes = fib.NewTable(world, rigNeighbors)
	r.snapshot.Store(&snapshot)
	r.w.snapshot = &snapshot
	var buf [128]byte
	for range floodPackets() / 10 {
		frame := segment(buf[:], wan, 100<<24|f.r.Uint32()>>8, wanAddrWord, uint16(f.r.Uint32()), 8080, 0x02, f.r.Uint32(), 0, 6)
		b := &r.w.burst
		b.in, b.n = r.w.shares[wan], r.w.umem.Alloc(b.desc[:1])
		in := r.w.umem.Bytes(b.desc[0])
		b.desc[0].Len = uint32(copy(in[:cap(in)], frame))
		r.w.forward(b)
		if n := r.discard(); n != 1 {
			t.Fatalf("%d frames answer a SYN: %v", n, r.dropped(wan))
		}
	}
	if n := r.w.snapshot.Table.Len(); n != 0 {
		t.Errorf("%d connections", n)
	}
	r.open(clientOffers, serverOffers)
	if c := r.w.Cookies(); c != (Cookies{Answered: uint64(floodPackets()/10 + 1), Proven: 1}) {
		t.Errorf("%+v", c)
	}
}

// TestB16_ProofIsNotShed: however many first packets wait, whoever has proven itself gets in;
// acknowledgements without a right cookie are shed as SYNs are.
func TestB16_ProofIsNotShed(t *testing.T) {
	r := newProxyRig(t, "masquerade", "always")
	c := r.knock(clientOffers)
	var frames [][]byte
	other := r.client
	for i := range 40 {
		other.own = uint16(1000 + i)
		flags := packet.FlagSYN
		if i >= 20 {
			flags = packet.FlagACK
		}
		frames = append(frames, other.frame(tcp{flags: flags, seq: 9, ack: uint32(i)}))
	}
	frames = append(frames, r.client.frame(tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 1, window: 1004}))
	r.w.burst.admissions = 8
	left := r.feed(lan, frames...)
	r.w.burst.admissions = 0
	shed := 0
	for _, why := range r.dropped(lan) {
		if why == drop.AdmissionShed {
			shed++
		}
	}
	if shed != 32 || len(left) != 9 {
		t.Errorf("%d shed and %d left, want 32 and 9", shed, len(left))
	}
	if syn := r.decoded(left[len(left)-1].frame); syn.TCPFlags != packet.FlagSYN || syn.Seq != clientFirst {
		t.Errorf("the server got %+v", syn)
	}
	r.accept(c, serverOffers)
}

// TestB16_NoAllocs: neither an answer nor a spliced segment allocates.
func TestB16_NoAllocs(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	r := newProxyRig(t, "masquerade", "always")
	syn := r.client.frame(tcp{flags: packet.FlagSYN, seq: clientFirst, options: clientOffers})
	push := func(in packet.PortID, frame []byte) {
		b := &r.w.burst
		b.in, b.n = r.w.shares[in], r.w.umem.Alloc(b.desc[:1])
		buf := r.w.umem.Bytes(b.desc[0])
		b.desc[0].Len = uint32(copy(buf[:cap(buf)], frame))
		r.w.forward(b)
		if r.discard() != 1 {
			t.Fatal("nothing left")
		}
	}
	if n := testing.AllocsPerRun(100, func() { push(lan, syn) }); n != 0 {
		t.Errorf("answering a SYN allocates %v times", n)
	}
	r.open(clientOffers, serverOffers)
	data := r.server.frame(tcp{flags: packet.FlagACK, seq: serverFirst + 1, ack: clientFirst + 1, window: 512, payload: 100})
	if n := testing.AllocsPerRun(100, func() { push(wan, data) }); n != 0 {
		t.Errorf("a spliced segment allocates %v times", n)
	}
}
