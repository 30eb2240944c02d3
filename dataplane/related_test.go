package dataplane

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/internal/race"
)

// A router on the way outside, and one inside.
var (
	outsideRouter = ip("203.0.113.77")
	insideRouter  = ip("10.0.0.77")
)

// writer makes an error about a frame, from an address.
type writer func(dst, frame []byte, p *packet.Parsed, from packet.Addr) int

var errorKinds = map[string]writer{
	"time exceeded": packet.AppendTimeExceeded,
	"no route": func(d, f []byte, p *packet.Parsed, a packet.Addr) int {
		return packet.AppendUnreachable(d, f, p, a, packet.UnreachableRoute)
	},
	"port unreachable": func(d, f []byte, p *packet.Parsed, a packet.Addr) int {
		return packet.AppendUnreachable(d, f, p, a, packet.UnreachablePort)
	},
	"prohibited": func(d, f []byte, p *packet.Parsed, a packet.Addr) int {
		return packet.AppendUnreachable(d, f, p, a, packet.UnreachableProhibited)
	},
	"fragmentation needed": func(d, f []byte, p *packet.Parsed, a packet.Addr) int {
		return packet.AppendTooBig(d, f, p, a, 1400)
	},
}

// errorAbout returns what a router at from sends about a frame, to the station to.
func errorAbout(t *testing.T, frame []byte, from packet.Addr, write writer, to, by packet.MAC) []byte {
	t.Helper()
	var p packet.Parsed
	if why := packet.Decode(frame, &p); why != drop.Pass {
		t.Fatal(why)
	}
	buf := make([]byte, 2048)
	n := write(buf, frame, &p, from)
	if n == 0 {
		t.Fatal("no error was made")
	}
	packet.SetMACs(buf, to, by)
	return buf[:n]
}

// crossed returns a frame as it is after the firewall, where nothing is translated.
func crossed(t *testing.T, frame []byte, to, by packet.MAC) []byte {
	t.Helper()
	var p packet.Parsed
	frame = bytes.Clone(frame)
	if why := packet.Decode(frame, &p); why != drop.Pass {
		t.Fatal(why)
	}
	packet.DecrementTTL(frame, &p)
	packet.SetMACs(frame, to, by)
	return frame
}

// expect asserts that exactly this frame left by a port.
func (r *rig) expect(what string, got []out, port packet.PortID, want []byte) {
	r.t.Helper()
	if len(got) != 1 || got[0].port != port {
		r.t.Errorf("%s: %d frames left, want one by port %d; dropped: %v %v", what, len(got), port, r.dropped(lan), r.dropped(wan))
		return
	}
	if !bytes.Equal(got[0].frame, want) {
		r.t.Errorf("%s: left, want\n% x\n% x", what, got[0].frame, want)
	}
}

// TestH1_ErrorsReachTheSender: what the client gets about its masqueraded packet is, byte
// for byte, what it would get had nobody translated the packet; from the router that made
// it (H4).
func TestH1_ErrorsReachTheSender(t *testing.T) {
	for name, write := range errorKinds {
		for _, in := range []packetIn{
			{sport: 4000, dport: 80, flags: "S", seq: 100},
			{proto: packet.UDP, sport: 4000, dport: 53, payload: 100},
			{proto: packet.UDP, sport: 4000, dport: 33434, ttl: 2},
			{proto: packet.ICMP, icmpType: 8, icmpID: 77, payload: 1000},
		} {
			r := newRig(t)
			// Another host holds the port that this one would like: it gets another.
			other := in
			other.from, other.to, other.fromMAC, other.toMAC = ip("10.0.0.11"), server, macClient, macLan
			r.feed(lan, other.frame(t))
			sent := fromClient(in).frame(t)
			left := r.feed(lan, sent)
			p := r.one(left, wan, macServer, macWan)
			if p.Tuple.SrcPort == 4000 || p.Tuple.SrcPort == 77 {
				t.Fatal("the port was not translated")
			}
			e := errorAbout(t, left[0].frame, outsideRouter, write, macWan, macServer)
			// The client's own packet had one hop more to go.
			want := crossed(t, errorAbout(t, crossed(t, sent, macServer, macWan), outsideRouter, write, macLan, macClient), macClient, macLan)
			r.expect(name+" about "+p.Tuple.String(), r.feed(wan, e), lan, want)
		}
	}
}

// connect enters a connection with any translation into the table, and gives it an answer.
func (r *rig) connect(original, reply packet.Tuple, in, out packet.PortID) {
	r.t.Helper()
	var result conntrack.Result
	table := r.w.snapshot.Table
	for i, tuple := range []packet.Tuple{original, reply} {
		p := packet.Parsed{Tuple: tuple, Kind: packet.KindIP, Version: 4, L3: 14, L4: 34, Payload: 42, End: 60, TTL: 64}
		if i == 0 {
			pr := conntrack.Proposal{Original: original, Reply: reply, Class: conntrack.Class{Rule: 1, Ingress: in, Egress: out}}
			if got := table.Insert(&pr, &p, r.w.now, &result); got != conntrack.Inserted {
				r.t.Fatal(got, result.Reason)
			}
			continue
		}
		hits := make([]conntrack.Hit, 1)
		table.Lookup([]packet.Parsed{p}, hits)
		if got := table.Track(&p, &hits[0], r.w.now, &result); got != conntrack.OutcomePass {
			r.t.Fatal(got, result.Reason)
		}
	}
}

func udpTuple(src packet.Addr, sport uint16, dst packet.Addr, dport uint16) packet.Tuple {
	return packet.Tuple{Src: src, Dst: dst, SrcPort: sport, DstPort: dport, Proto: packet.UDP}
}

// TestH3_ErrorsFromInside: an inside host, or a router before it, complains of a packet
// that came in to an external address: the sender hears of it from that address.
func TestH3_ErrorsFromInside(t *testing.T) {
	for _, from := range []packet.Addr{client, insideRouter} {
		r := newRig(t)
		r.connect(udpTuple(server, 5000, wanAddr, 80), udpTuple(client, 8080, server, 5000), wan, lan)
		sent := fromServer(packetIn{proto: packet.UDP, sport: 5000, dport: 80, payload: 20}).frame(t)
		left := r.feed(wan, sent)
		if p := r.one(left, lan, macClient, macLan); p.Tuple.Dst != client || p.Tuple.DstPort != 8080 {
			t.Fatalf("left as %v", p.Tuple)
		}
		write := errorKinds["port unreachable"]
		e := errorAbout(t, left[0].frame, from, write, macLan, macClient)
		want := crossed(t, errorAbout(t, crossed(t, sent, macClient, macLan), wanAddr, write, macLan, macClient), macServer, macWan)
		r.expect("from "+from.String(), r.feed(lan, e), wan, want)
	}
	// And of an answer to a masqueraded packet.
	r := newRig(t)
	r.connect(udpTuple(client, 4000, server, 53), udpTuple(server, 53, wanAddr, 50000), lan, wan)
	sent := fromServer(packetIn{proto: packet.UDP, sport: 53, dport: 50000, payload: 20}).frame(t)
	left := r.feed(wan, sent)
	r.one(left, lan, macClient, macLan)
	write := errorKinds["port unreachable"]
	e := errorAbout(t, left[0].frame, client, write, macLan, macClient)
	want := crossed(t, errorAbout(t, crossed(t, sent, macClient, macLan), wanAddr, write, macLan, macClient), macServer, macWan)
	r.expect("about an answer", r.feed(lan, e), wan, want)
}

// TestH8_HairpinnedErrors: A speaks to B by B's external address, and B complains.
func TestH8_HairpinnedErrors(t *testing.T) {
	r := newRig(t)
	b := ip("10.0.0.20")
	macB := packet.MAC{2, 0, 0, 0, 0, 0x20}
	snapshot := *r.snapshot.Load()
	snapshot.Routes = fib.NewTable(rigRoutes, append(slices.Clone(rigNeighbors), fib.Neighbor{Port: lan, Addr: b, MAC: macB}))
	r.w.snapshot = &snapshot
	r.connect(udpTuple(client, 4000, wanAddr, 80), udpTuple(b, 8080, wanAddr, 50000), lan, lan)
	in := fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 80, payload: 20})
	in.to = wanAddr
	sent := in.frame(t)
	left := r.feed(lan, sent)
	if p := r.one(left, lan, macB, macLan); p.Tuple.Src != wanAddr || p.Tuple.Dst != b {
		t.Fatalf("left as %v", p.Tuple)
	}
	write := errorKinds["port unreachable"]
	e := errorAbout(t, left[0].frame, b, write, macLan, macB)
	want := crossed(t, errorAbout(t, crossed(t, sent, macB, macLan), wanAddr, write, macLan, macClient), macClient, macLan)
	r.expect("hairpin", r.feed(lan, e), lan, want)
}

// TestH5_ErrorsThatAreRefused: and TestH6, H7: each dies of its own reason, and nothing
// leaves.
func TestH5_ErrorsThatAreRefused(t *testing.T) {
	write := errorKinds["time exceeded"]
	type change func(e []byte) []byte
	icmpAt := 14 + 20
	again := func(e []byte) []byte { // the checksum right again
		e[icmpAt+2], e[icmpAt+3] = 0, 0
		m := append(bytes.Clone(e[icmpAt:14+int(binary.BigEndian.Uint16(e[16:]))]), 0)
		sum := checksum(m[:len(m)&^1])
		e[icmpAt+2], e[icmpAt+3] = byte(sum>>8), byte(sum)
		sumIPv4(e)
		return e
	}
	for _, row := range []struct {
		name   string
		port   packet.PortID
		change change
		want   drop.Reason
	}{
		{"H5 another port", wan, func(e []byte) []byte { e[icmpAt+8+21]++; return again(e) }, drop.ToSelf},
		{"H5 another protocol", wan, func(e []byte) []byte { e[icmpAt+8+9] = 17; return again(e) }, drop.ToSelf},
		{"H5 to somebody else", wan, func(e []byte) []byte { copy(e[30:34], client[12:]); return again(e) }, drop.ICMPErrorMismatched},
		{"H5 quotes what only the inside knows", wan, func(e []byte) []byte {
			copy(e[30:34], client[12:])
			copy(e[icmpAt+8+12:], client[12:])
			return again(e)
		}, drop.ICMPErrorUnmatched},
		{"H5 from the side that the packet came from", lan, func(e []byte) []byte {
			copy(e[26:30], insideRouter[12:])
			packet.SetMACs(e, macLan, macClient)
			return again(e)
		}, drop.ICMPErrorMismatched},
		{"H5 a segment that was never sent", wan, func(e []byte) []byte { e[icmpAt+8+20+4] ^= 0x40; return again(e) }, drop.ICMPErrorSequence},
		{"I13 from an inside address", wan, func(e []byte) []byte { copy(e[26:30], insideRouter[12:]); return again(e) }, drop.SourceInvalid},
		{"from the firewall itself", wan, func(e []byte) []byte { copy(e[26:30], lanAddr[12:]); return again(e) }, drop.SourceInvalid},
		{"H6 checksum", wan, func(e []byte) []byte { e[icmpAt+2]++; return e }, drop.ICMPBadChecksum},
		{"H6 about an error", wan, func(e []byte) []byte { e[icmpAt+8+9] = 1; e[icmpAt+8+20] = 3; return again(e) }, drop.ICMPErrorQuote},
		{"H7 about a later fragment", wan, func(e []byte) []byte { e[icmpAt+8+7] = 1; return again(e) }, drop.ICMPErrorQuote},
		{"L5 redirect", wan, func(e []byte) []byte { e[icmpAt] = 5; return again(e) }, drop.ICMPErrorType},
		{"source quench", wan, func(e []byte) []byte { e[icmpAt] = 4; return again(e) }, drop.ICMPErrorType},
		{"hop limit", wan, func(e []byte) []byte { e[22] = 1; return again(e) }, drop.TTLExceededQuiet},
	} {
		r := newRig(t)
		left := r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t))
		e := row.change(errorAbout(t, left[0].frame, outsideRouter, write, macWan, macServer))
		got := r.feed(row.port, e)
		if reasons := r.dropped(row.port); len(got) != 0 || !slices.Equal(reasons, []drop.Reason{row.want}) {
			t.Errorf("%s: %d frames left, died of %v, want %v", row.name, len(got), reasons, row.want)
		}
	}
}

// TestH7_ErrorAboutAFirstFragment: it has the ports, so it finds its connection.
func TestH7_ErrorAboutAFirstFragment(t *testing.T) {
	r := newRig(t)
	left := r.feed(lan, fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53, payload: 64}).frame(t))
	r.one(left, wan, macServer, macWan)
	e := errorAbout(t, left[0].frame, outsideRouter, errorKinds["time exceeded"], macWan, macServer)
	quote := e[14+20+8:]
	quote[6] = 0x20 // more fragments
	m := e[34 : 14+int(binary.BigEndian.Uint16(e[16:]))]
	m[2], m[3] = 0, 0
	sum := checksum(m)
	m[2], m[3] = byte(sum>>8), byte(sum)
	if p := r.one(r.feed(wan, e), lan, macClient, macLan); p.Tuple.Dst != client {
		t.Errorf("went to %v", p.Tuple.Dst)
	}
}

// TestH10_ErrorsAreNotCounted: an error that goes through changes nothing of its
// connection, not even the counters, and opens none.
func TestH10_ErrorsAreNotCounted(t *testing.T) {
	r := newRig(t)
	left := r.feed(lan, fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53}).frame(t))
	table := r.w.snapshot.Table
	var before, after conntrack.View
	r.w.now += 5e9
	if !table.View(0, r.w.now, &before) {
		t.Fatal("no connection")
	}
	sent := r.lane.Sent()
	for _, write := range errorKinds {
		r.one(r.feed(wan, errorAbout(t, left[0].frame, outsideRouter, write, macWan, macServer)), lan, macClient, macLan)
	}
	if !table.View(0, r.w.now, &after) || after != before || table.Len() != 1 || r.lane.Sent() != sent {
		t.Errorf("before %+v\nafter  %+v, %d connections", before, after, table.Len())
	}
}

// TestErrorWaitsForItsNeighbor: an error whose receiver's MAC is not known yet waits as any
// packet does, and is translated once.
func TestErrorWaitsForItsNeighbor(t *testing.T) {
	r := newRig(t)
	left := r.feed(lan, fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53}).frame(t))
	e := errorAbout(t, left[0].frame, outsideRouter, errorKinds["time exceeded"], macWan, macServer)
	snapshot := *r.snapshot.Load()
	snapshot.Routes = fib.NewTable(rigRoutes, rigNeighbors[1:]) // the client is not known
	r.w.snapshot = &snapshot
	if got := r.feed(wan, e); len(got) != 0 {
		t.Fatal("left for nobody")
	}
	snapshot.Routes = fib.NewTable(rigRoutes, rigNeighbors)
	r.w.parked.generation = 0
	r.w.retryParked()
	if p := r.one(r.take(), lan, macClient, macLan); p.Tuple.Dst != client {
		t.Errorf("went to %v", p.Tuple.Dst)
	}
}

// TestR4_ErrorFloodAllocatesNothing: a flood of errors makes no work for the collector.
func TestR4_ErrorFloodAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	r := newRig(t)
	left := r.feed(lan, fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53}).frame(t))
	e := errorAbout(t, left[0].frame, outsideRouter, errorKinds["time exceeded"], macWan, macServer)
	b := &r.w.burst
	if n := testing.AllocsPerRun(100, func() {
		b.in, b.n = r.w.shares[wan], r.w.umem.Alloc(b.desc[:1])
		buf := r.w.umem.Bytes(b.desc[0])
		b.desc[0].Len = uint32(copy(buf[:cap(buf)], e))
		r.w.forward(b)
		if r.discard() != 1 {
			t.Fatal("nothing left")
		}
	}); n != 0 {
		t.Errorf("%v allocations an error", n)
	}
}

// TestH4_WhoTheErrorComesFrom: a router outside keeps its address on the way in; one inside
// has none that the outside may see, and speaks as the external address.
func TestH4_WhoTheErrorComesFrom(t *testing.T) {
	r := newRig(t)
	r.connect(udpTuple(client, 4000, server, 53), udpTuple(server, 53, wanAddr, 50000), lan, wan)
	out := r.feed(lan, fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53}).frame(t))
	e := errorAbout(t, out[0].frame, outsideRouter, errorKinds["time exceeded"], macWan, macServer)
	if p := r.one(r.feed(wan, e), lan, macClient, macLan); p.Tuple.Src != outsideRouter || p.Tuple.Dst != client {
		t.Errorf("inwards: %v", p.Tuple)
	}
	in := r.feed(wan, fromServer(packetIn{proto: packet.UDP, sport: 53, dport: 50000}).frame(t))
	e = errorAbout(t, in[0].frame, insideRouter, errorKinds["time exceeded"], macLan, macClient)
	if p := r.one(r.feed(lan, e), wan, macServer, macWan); p.Tuple.Src != wanAddr || p.Tuple.Dst != server {
		t.Errorf("outwards: %v", p.Tuple)
	}
}

// TestH1_ErrorsAboutTheNodesOwn: an error about a packet of the node itself reaches its
// kernel as it is, and one about a packet that the node never sent does not.
func TestH1_ErrorsAboutTheNodesOwn(t *testing.T) {
	r := newRig(t)
	r.connect(udpTuple(wanAddr, 4000, server, 53), udpTuple(server, 53, wanAddr, 4000), packet.NoPort, wan)
	for _, row := range []struct {
		sport uint16
		want  int // frames in the kernel's hands
	}{{4000, 1}, {4001, 0}} {
		r.kernel[wan].got = nil
		in := fromClient(packetIn{proto: packet.UDP, sport: row.sport, dport: 53})
		in.from = wanAddr
		e := errorAbout(t, in.frame(t), outsideRouter, errorKinds["port unreachable"], macWan, macServer)
		got := r.feed(wan, e)
		if len(got) != 0 || len(r.kernel[wan].got) != row.want || row.want == 1 && !bytes.Equal(r.kernel[wan].got[0], e) {
			t.Errorf("port %d: %d left, the kernel got %d, died of %v", row.sport, len(got), len(r.kernel[wan].got), r.dropped(wan))
		}
	}
}

// TestH4_LinkLocalRouters: a router outside has no other address than its link-local one,
// as routers of IPv6 may. What it says of the node's own packets reaches the kernel, if it
// comes by the link that they left by; of others it must not be passed on (RFC 4291 section
// 2.5.6).
func TestH4_LinkLocalRouters(t *testing.T) {
	own, far, inside, router := ip("2001:db8::2"), ip("2001:db8:7::7"), ip("fd00::10"), ip("fe80::77")
	r := rigOf(t, rigPolicy, []fib.Route{
		{Prefix: netip.MustParsePrefix("2001:db8::2/128"), Kind: fib.Local},
		{Prefix: netip.MustParsePrefix("fd00::/64"), Kind: fib.Forward, Port: lan},
		{Prefix: netip.MustParsePrefix("::/0"), Kind: fib.Forward, Port: wan, Via: ip("2001:db8::1")},
	}, []fib.Neighbor{{Port: lan, Addr: inside, MAC: macClient}, {Port: wan, Addr: ip("2001:db8::1"), MAC: macServer}}, 100)
	r.connect(udpTuple(own, 99, far, 53), udpTuple(far, 53, own, 99), packet.Self, wan)
	r.connect(udpTuple(inside, 99, far, 53), udpTuple(far, 53, own, 100), lan, wan)
	for _, row := range []struct {
		what  string
		in    packet.PortID
		sport byte
		why   drop.Reason // Unset: the kernel gets it
	}{
		{"its own", wan, 99, drop.Unset},
		{"its own, by another link", lan, 99, drop.LinkLocal},
		{"a host's", wan, 100, drop.LinkLocal},
		{"nobody's", wan, 101, drop.ToSelf},
	} {
		mac := r.w.shares[row.in].MAC
		e := errorAbout(t, ownDatagram(own, row.sport, far), router, errorKinds["no route"], mac, macServer)
		if got := r.feed(row.in, e); len(got) != 0 {
			t.Errorf("%s: %d frames left", row.what, len(got))
		}
		handed, why := r.handed(row.in), r.dropped(row.in)
		if row.why == drop.Unset {
			r.same(row.what, handed, e)
		} else if len(handed) != 0 || !slices.Equal(why, []drop.Reason{row.why}) {
			t.Errorf("%s: %d to the kernel, died of %v", row.what, len(handed), why)
		}
	}
}

// ownDatagram is an empty UDP datagram over IPv6, from a port below 256 to port 53.
func ownDatagram(src packet.Addr, sport byte, dst packet.Addr) []byte {
	f := prefixUDP(src.String())
	copy(f[38:], dst[:])
	f[55] = sport // the checksum is not looked at in a quote
	return f
}
