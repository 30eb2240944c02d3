package dataplane

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/sync/wire"
)

// one asserts that exactly one frame left, by port, from and to these stations, with
// right checksums, and returns it decoded.
func (r *rig) one(got []out, port packet.PortID, dst, src packet.MAC) packet.Parsed {
	r.t.Helper()
	if len(got) != 1 || got[0].port != port {
		r.t.Fatalf("%d frames left (%+v), want one by port %d; dropped: %v %v", len(got), got, port, r.dropped(lan), r.dropped(wan))
	}
	f := got[0].frame
	if packet.DstMAC(f) != dst || packet.SrcMAC(f) != src {
		r.t.Fatalf("frame goes from %v to %v, want from %v to %v", packet.SrcMAC(f), packet.DstMAC(f), src, dst)
	}
	var p packet.Parsed
	if why := packet.Decode(f, &p); why != drop.Pass {
		r.t.Fatalf("what left does not decode: %v", why)
	}
	if !packet.VerifyChecksum(f, &p) {
		r.t.Fatal("what left has a wrong checksum")
	}
	return p
}

// open opens a TCP connection through the rig and returns the external port.
func (r *rig) open(sport uint16) uint16 {
	r.t.Helper()
	p := r.one(r.feed(lan, fromClient(packetIn{sport: sport, dport: 80, flags: "S", seq: 100}).frame(r.t)), wan, macServer, macWan)
	port := p.Tuple.SrcPort
	r.one(r.feed(wan, fromServer(packetIn{sport: 80, dport: port, flags: "SA", seq: 500, ack: 101}).frame(r.t)), lan, macClient, macLan)
	r.one(r.feed(lan, fromClient(packetIn{sport: sport, dport: 80, flags: "A", seq: 101, ack: 501}).frame(r.t)), wan, macServer, macWan)
	return port
}

func TestI1_MasqueradedConnectionBothWays(t *testing.T) {
	r := newRig(t)
	p := r.one(r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t)), wan, macServer, macWan)
	if p.Tuple.Src != wanAddr || p.Tuple.SrcPort != 4000 || p.Tuple.Dst != server {
		t.Errorf("left as %v:%d to %v, want the external address and the client's own port", p.Tuple.Src, p.Tuple.SrcPort, p.Tuple.Dst)
	}
	p = r.one(r.feed(wan, fromServer(packetIn{sport: 80, dport: 4000, flags: "SA", seq: 500, ack: 101}).frame(t)), lan, macClient, macLan)
	if p.Tuple.Dst != client || p.Tuple.Src != server {
		t.Errorf("the answer came back as %v to %v", p.Tuple.Src, p.Tuple.Dst)
	}
}

func TestI20_TTLOnceAndNothingElseChanges(t *testing.T) {
	r := newRig(t)
	got := r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "S", ttl: 17}).frame(t))
	r.one(got, wan, macServer, macWan)
	ip4 := gopacket.NewPacket(got[0].frame, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if ip4.TTL != 16 || ip4.TOS != 0x2e || ip4.Id != 7 || ip4.Flags != layers.IPv4DontFragment {
		t.Errorf("TTL %d TOS %#x id %d flags %v, want 16 0x2e 7 DF", ip4.TTL, ip4.TOS, ip4.Id, ip4.Flags)
	}
}

func TestL1_TTLExceededIsToldFromTheIngressAddress(t *testing.T) {
	r := newRig(t)
	p := r.one(r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "S", ttl: 1}).frame(t)), lan, macClient, macLan)
	if p.Tuple.Src != lanAddr || p.ICMPType != 11 {
		t.Errorf("from %v, ICMP type %d; want time exceeded from %v", p.Tuple.Src, p.ICMPType, lanAddr)
	}
	if r.w.snapshot.Table.Len() != 0 {
		t.Error("a packet that did not pass made a connection")
	}
}

func TestPathDropsWithAReason(t *testing.T) {
	for _, row := range []struct {
		name string
		port packet.PortID
		in   packetIn
		why  drop.Reason
		left int // frames of our own
	}{
		{"unsolicited from outside (default block)", wan, packetIn{from: server, to: client, sport: 1, dport: 2, flags: "S", fromMAC: macServer, toMAC: macWan}, drop.RuleBlock, 0},
		{"I13 inside source on the outside port", wan, packetIn{from: client, to: ip("10.0.0.77"), sport: 1, dport: 2, flags: "S", fromMAC: macServer, toMAC: macWan}, drop.SourceInvalid, 0},
		{"B2 ACK without a connection", lan, fromClient(packetIn{sport: 5, dport: 80, flags: "A"}), drop.TCPNoConnection, 0},
		{"B3 RST without a connection", lan, fromClient(packetIn{sport: 5, dport: 80, flags: "R"}), drop.TCPNoConnection, 0},
		{"L2 no route", lan, packetIn{from: client, to: ip("198.51.100.1"), sport: 5, dport: 80, flags: "S", fromMAC: macClient, toMAC: macLan}, drop.NoRoute, 1},
		{"reject answers with a reset", lan, fromClient(packetIn{sport: 5, dport: 23, flags: "S"}), drop.RuleReject, 1},
		{"for another station", lan, packetIn{from: client, to: server, sport: 5, dport: 80, flags: "S", fromMAC: macClient, toMAC: macServer}, drop.NotForThisMAC, 0},
		{"TCP to the node itself", lan, packetIn{from: client, to: lanAddr, sport: 5, dport: 22, flags: "S", fromMAC: macClient, toMAC: macLan}, drop.ToSelf, 0},
		{"G4 echo reply without a request", lan, fromClient(packetIn{proto: packet.ICMP, icmpType: 0, icmpID: 9}), drop.ICMPNoRequest, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t)
			got := r.feed(row.port, row.in.frame(t))
			if reasons := r.dropped(row.port); !slices.Equal(reasons, []drop.Reason{row.why}) {
				t.Errorf("died of %v, want %v", reasons, row.why)
			}
			if len(got) != row.left {
				t.Errorf("%d frames left, want %d", len(got), row.left)
			}
			if r.w.snapshot.Table.Len() != 0 {
				t.Error("it made a connection")
			}
		})
	}
}

func TestL8_ARPAndEchoReachTheKernel(t *testing.T) {
	r := newRig(t)
	var arp [64]byte
	n := packet.AppendGratuitousARP(arp[:], macClient, client)
	r.feed(lan, arp[:n])
	r.feed(lan, packetIn{from: client, to: lanAddr, proto: packet.ICMP, icmpType: 8, icmpID: 1, fromMAC: macClient, toMAC: macLan}.frame(t))
	if len(r.kernel[lan].got) != 2 {
		t.Errorf("the kernel was handed %d frames, want 2; dropped: %v", len(r.kernel[lan].got), r.dropped(lan))
	}
}

func TestFirstPacketWaitsForItsNeighbor(t *testing.T) {
	r := newRig(t)
	snapshot := *r.snapshot.Load()
	snapshot.Routes = fib.NewTable(rigRoutes, rigNeighbors[:1]) // the server is not known yet
	r.w.snapshot = &snapshot
	if got := r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "S"}).frame(t)); len(got) != 0 {
		t.Fatalf("%d frames left before the neighbour was known", len(got))
	}
	if snapshot.Table.Len() != 0 || r.lane.Sent() != 0 {
		t.Error("tracked or replicated before the next hop was known")
	}
	if len(r.resolver.asked) != 1 || r.resolver.asked[0] != server {
		t.Errorf("asked for %v", r.resolver.asked)
	}
	snapshot.Routes = fib.NewTable(rigRoutes, rigNeighbors)
	r.w.parked.generation = ^uint64(0) // another table: it has changed
	r.w.retryParked()
	r.one(r.take(), wan, macServer, macWan)

	// And one whose neighbour never answers is given up.
	snapshot.Routes = fib.NewTable(rigRoutes, rigNeighbors[:1])
	r.feed(lan, fromClient(packetIn{sport: 4001, dport: 80, flags: "S"}).frame(t))
	r.w.now += parkedNanos
	r.w.retryParked()
	if reasons := r.dropped(lan); !slices.Equal(reasons, []drop.Reason{drop.NeighborUnresolved}) {
		t.Errorf("died of %v", reasons)
	}
}

func TestTwoPacketsOfOneNewConnectionInOneBurst(t *testing.T) {
	r := newRig(t)
	syn := fromClient(packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t)
	if got := r.feed(lan, syn, syn); len(got) != 2 {
		t.Fatalf("%d frames left, want both", len(got))
	}
	if n := r.w.snapshot.Table.Len(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestI12_TakenPortGetsAnother(t *testing.T) {
	r := newRig(t)
	other := ip("10.0.0.11")
	snapshot := *r.snapshot.Load()
	snapshot.Routes = fib.NewTable(rigRoutes, append(slices.Clone(rigNeighbors), fib.Neighbor{Port: lan, Addr: other, MAC: macClient}))
	r.w.snapshot = &snapshot
	first := r.open(4000)
	in := fromClient(packetIn{sport: 4000, dport: 80, flags: "S"})
	in.from = other
	p := r.one(r.feed(lan, in.frame(t)), wan, macServer, macWan)
	if first != 4000 || p.Tuple.SrcPort == 4000 {
		t.Errorf("ports %d and %d: the second client must get another", first, p.Tuple.SrcPort)
	}
}

// The peers are told of a connection in the turn that admits it, and before its packet
// leaves: flush sends the journal first.
func TestInsertIsJournaledInline(t *testing.T) {
	r := newRig(t)
	r.feed(lan, fromClient(packetIn{sport: 4000, dport: 80, flags: "S"}).frame(t))
	r.lane.Flush()
	batch, ok := r.lane.Batch(1, nil)
	if !ok {
		t.Fatal("no batch after the turn")
	}
	_, body, err := wire.DecodeHeader(batch)
	if err != nil {
		t.Fatal(err)
	}
	var f wire.Frame
	frames := wire.Frames{Rest: body}
	if !frames.Next(&f) || f.Type != wire.TypeInsert {
		t.Fatalf("first message is %v", f.Type)
	}
}

func TestPathAllocatesNothing(t *testing.T) {
	r := newRig(t)
	port := r.open(4000)
	up := fromClient(packetIn{sport: 4000, dport: 80, flags: "PA", seq: 101, ack: 501, payload: 10}).frame(t)
	down := fromServer(packetIn{sport: 80, dport: port, flags: "A", seq: 501, ack: 111}).frame(t)
	b := &r.w.burst
	turn := func() {
		for _, x := range []struct {
			port  packet.PortID
			frame []byte
		}{{lan, up}, {wan, down}} {
			b.in, b.n = r.w.shares[x.port], r.w.umem.Alloc(b.desc[:32])
			for i := range b.n {
				buf := r.w.umem.Bytes(b.desc[i])
				b.desc[i].Len = uint32(copy(buf[:cap(buf)], x.frame))
			}
			r.w.forward(b)
		}
		r.lane.Flush()
		if n := r.discard(); n != 64 {
			t.Fatalf("%d frames staged; dropped %v %v", n, r.dropped(lan), r.dropped(wan))
		}
	}
	turn()
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("%v allocations per turn of 64 packets", n)
	}
	syn, sport := fromClient(packetIn{dport: 80, flags: "S"}).frame(t), uint16(5000)
	first := func() { // and new connections, each of them a miss, an insert and a message
		b.in, b.n = r.w.shares[lan], r.w.umem.Alloc(b.desc[:32])
		for i := range b.n {
			buf := r.w.umem.Bytes(b.desc[i])
			b.desc[i].Len = uint32(copy(buf[:cap(buf)], syn))
			sport++
			binary.BigEndian.PutUint16(buf[34:36], sport) // the wrong checksum stays wrong (A4)
		}
		r.w.forward(b)
		r.lane.Flush()
		r.discard()
	}
	first()
	before := r.w.snapshot.Table.Len()
	if n := testing.AllocsPerRun(10, first); n != 0 {
		t.Errorf("%v allocations per burst of new connections", n)
	}
	if after := r.w.snapshot.Table.Len(); after != before+11*32 {
		t.Errorf("%d connections, want %d; dropped %v", after, before+11*32, r.dropped(lan))
	}
}

// E10 in the data plane: what is idle for longer than its timeout goes, with its port,
// and the peers are told.
func TestE10_SweepExpiresReleasesAndTells(t *testing.T) {
	r := newRig(t)
	port := r.open(4000)
	r.lane.Flush()
	sent := r.lane.Sent()
	for range 100 { // less than a day later it stays
		r.w.now += 10e9
		r.w.sweep()
	}
	if r.w.snapshot.Table.Len() != 1 {
		t.Fatal("an established connection expired within 1000 s")
	}
	r.w.now += 8000e9 // RFC 5382 REQ-5: 7440 s where translated
	for range 4 {
		r.w.now += sweepPeriod
		r.w.sweep()
	}
	if n := r.w.snapshot.Table.Len(); n != 0 {
		t.Fatalf("%d connections left", n)
	}
	if r.lane.Flush(); r.lane.Sent() != sent+1 {
		t.Error("the peers were not told")
	}
	for _, u := range r.w.snapshot.Ports.Usage() {
		if u.Used != 0 {
			t.Errorf("port %d is still held: %+v", port, u)
		}
	}
}

// Several workers' shares together are the whole table, whatever its size.
func TestSharesOfTheSweepCoverTheTable(t *testing.T) {
	const workers, connections = 3, 900
	r := newRig(t)
	for i := range connections {
		r.feed(lan, fromClient(packetIn{sport: uint16(2000 + i), dport: 80, flags: "S"}).frame(t))
	}
	if n := r.w.snapshot.Table.Len(); n != connections {
		t.Fatalf("%d connections", n)
	}
	r.w.now += 1e15
	for id := range workers {
		r.w.config.ID, r.w.config.Workers = id, workers
		r.w.sweepAt = uint32(id * sweepStep)
		for range 10 {
			r.w.now += sweepPeriod
			r.w.sweep()
		}
	}
	if n := r.w.snapshot.Table.Len(); n != 0 {
		t.Errorf("%d connections in nobody's share", n)
	}
}
