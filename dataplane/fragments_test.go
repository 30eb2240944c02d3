package dataplane

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// cutting says how a test cuts a packet.
type cutting struct {
	size int // bytes of each piece but the last
	id   uint16
	df   bool
}

// cut4 cuts an IPv4 frame without options in the plainest way.
func cut4(frame []byte, c cutting) (pieces [][]byte) {
	body := frame[34 : 14+int(binary.BigEndian.Uint16(frame[16:]))]
	for at := 0; at < len(body); at += c.size {
		end := min(at+c.size, len(body))
		f := append(bytes.Clone(frame[:34]), body[at:end]...)
		field := uint16(at / 8)
		if end < len(body) {
			field |= 0x2000
		}
		if c.df {
			field |= 0x4000
		}
		binary.BigEndian.PutUint16(f[16:], uint16(20+end-at))
		binary.BigEndian.PutUint16(f[18:], c.id)
		binary.BigEndian.PutUint16(f[20:], field)
		sumIPv4(f)
		pieces = append(pieces, f)
	}
	return pieces
}

// whole4 puts pieces that left in order together again, and says what identification they had.
func whole4(t *testing.T, left []out) (frame []byte, id uint16) {
	t.Helper()
	var body []byte
	for i, o := range left {
		n := int(binary.BigEndian.Uint16(o.frame[16:]))
		field := binary.BigEndian.Uint16(o.frame[20:])
		if int(field&0x1fff)*8 != len(body) || (field&0x2000 == 0) != (i == len(left)-1) {
			t.Fatalf("piece %d of %d after %d bytes: %#x", i, len(left), len(body), field)
		}
		if got := binary.BigEndian.Uint16(o.frame[18:]); i > 0 && got != id {
			t.Fatalf("piece %d has identification %d, the first %d", i, got, id)
		}
		id = binary.BigEndian.Uint16(o.frame[18:])
		var p packet.Parsed
		if why := packet.Decode(o.frame, &p); why != drop.Fragment && len(left) > 1 {
			t.Fatalf("piece %d: %v", i, why)
		}
		body = append(body, o.frame[34:14+n]...)
	}
	frame = append(bytes.Clone(left[0].frame[:34]), body...)
	binary.BigEndian.PutUint16(frame[16:], uint16(20+len(body)))
	frame[20], frame[21] = 0, 0
	sumIPv4(frame)
	return frame, id
}

// parse decodes a frame and demands that its transport checksum is right.
func parse(t *testing.T, frame []byte) *packet.Parsed {
	t.Helper()
	p := &packet.Parsed{}
	if why := packet.Decode(frame, p); why != drop.Pass {
		t.Fatalf("%v: %x", why, frame[:min(len(frame), 80)])
	}
	if !packet.VerifyChecksum(frame, p) {
		t.Fatalf("wrong checksum: %x", frame[:min(len(frame), 80)])
	}
	return p
}

// shuffled returns frames in another order.
func shuffled(r *rand.Rand, frames [][]byte) [][]byte {
	all := slices.Clone(frames)
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// feedAll takes frames through the path one burst each, and returns all that left.
func (r *rig) feedAll(port packet.PortID, frames [][]byte) (left []out) {
	for _, f := range frames {
		left = append(left, r.feed(port, f)...)
	}
	return left
}

// only is what a view of the only connection says.
func (r *rig) only() (v conntrack.View) {
	r.t.Helper()
	if r.w.snapshot.Table.Len() != 1 || !r.w.snapshot.Table.View(0, r.w.now, &v) {
		r.t.Fatalf("%d connections", r.w.snapshot.Table.Len())
	}
	return v
}

// TestK1_ThroughMasquerade: datagrams in pieces in any order, in one burst or many, leave in
// the same pieces with one translation, and so do the answers.
func TestK1_ThroughMasquerade(t *testing.T) {
	r, random := newRig(t), rand.New(rand.NewPCG(1, 1))
	there := fromClient(packetIn{proto: packet.UDP, sport: 5000, dport: 2049, payload: 8192}).frame(t)
	sizes := []int{}
	for _, f := range cut4(there, cutting{size: 1480}) {
		sizes = append(sizes, len(f))
	}
	for round := range 50 {
		pieces := shuffled(random, cut4(there, cutting{size: 1480, id: uint16(round)}))
		var left []out
		if round%2 == 0 {
			left = r.feed(lan, pieces...)
		} else {
			left = r.feedAll(lan, pieces)
		}
		if len(left) != len(sizes) {
			t.Fatalf("%d pieces left of %d; dropped %v", len(left), len(sizes), r.dropped(lan))
		}
		for i, o := range left {
			if o.port != wan || len(o.frame) != sizes[i] || packet.DstMAC(o.frame) != macServer || packet.SrcMAC(o.frame) != macWan {
				t.Fatalf("piece %d: port %d, %d bytes of %d", i, o.port, len(o.frame), sizes[i])
			}
		}
		frame, _ := whole4(t, left)
		p := parse(t, frame)
		if p.Tuple.Src != wanAddr || p.Tuple.SrcPort != 5000 || p.TTL != 63 || !bytes.Equal(frame[42:], there[42:]) {
			t.Fatalf("%v, TTL %d", p.Tuple, p.TTL)
		}
	}
	back := fromServer(packetIn{proto: packet.UDP, sport: 2049, dport: 5000, payload: 4000}).frame(t)
	left := r.feed(wan, shuffled(random, cut4(back, cutting{size: 800, id: 9}))...)
	frame, _ := whole4(t, left)
	if p := parse(t, frame); p.Tuple.Dst != client || left[0].port != lan || len(left) != 6 {
		t.Errorf("the answer: %v in %d pieces by port %d", p.Tuple, len(left), left[0].port)
	}
	// O9: a datagram is one packet to the connection, with its bytes.
	if v := r.only(); v.Packets != [2]uint64{50, 1} || v.Bytes != [2]uint64{50 * 8220, 4028} {
		t.Errorf("%v packets, %v bytes", v.Packets, v.Bytes)
	}
	if d := append(r.dropped(lan), r.dropped(wan)...); len(d) > 0 {
		t.Errorf("dropped %v", d)
	}
}

// TestK9_Protocols: each protocol crosses the masquerade in pieces, with right checksums.
func TestK9_Protocols(t *testing.T) {
	body := make([]byte, 3000)
	for i := range body {
		body[i] = byte(i * 3)
	}
	for name, row := range map[string]struct {
		proto  packet.Proto
		header []byte
	}{
		"echo":                 {packet.ICMP, []byte{8, 0, 0, 0, 0, 7, 0, 1}},
		"UDP without checksum": {packet.UDP, []byte{0x13, 0x88, 0, 53, 0xb, 0xc0, 0, 0}},
		"SCTP":                 {packet.SCTP, []byte{0x13, 0x88, 0, 53, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0xb, 0xb4, 0, 0, 0, 9, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1}},
		"GRE":                  {packet.GRE, []byte{0x20, 0, 8, 0, 0, 0, 0, 5}},
		"ESP":                  {packet.ESP, []byte{0, 0, 0, 9, 0, 0, 0, 1}},
	} {
		r := newRig(t)
		f := fromClient(packetIn{proto: packet.UDP}).frame(t)[:34]
		f = append(append(f, row.header...), body[:3008-len(row.header)]...)
		f[20], f[23] = 0, uint8(row.proto)
		binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
		sumIPv4(f)
		if row.proto == packet.ICMP || row.proto == packet.SCTP {
			setTransportSum(f)
		}
		left := r.feed(lan, cut4(f, cutting{size: 1000, id: 3})...)
		if len(left) != 4 {
			t.Errorf("%s: %d pieces left, dropped %v", name, len(left), r.dropped(lan))
			continue
		}
		frame, _ := whole4(t, left)
		if p := parse(t, frame); p.Tuple.Src != wanAddr || p.Tuple.Proto != row.proto {
			t.Errorf("%s: %v", name, p.Tuple)
		}
	}
}

// setTransportSum sets the checksum of an ICMP message or SCTP packet.
func setTransportSum(f []byte) {
	if f[23] == byte(packet.SCTP) {
		binary.LittleEndian.PutUint32(f[42:], castagnoli(f[34:]))
		return
	}
	var total uint32
	for at := 34; at+1 < len(f); at += 2 {
		total += uint32(binary.BigEndian.Uint16(f[at:]))
	}
	for total > 0xffff {
		total = total&0xffff + total>>16
	}
	binary.BigEndian.PutUint16(f[36:], ^uint16(total))
}

// castagnoli is the CRC-32C bit by bit.
func castagnoli(b []byte) uint32 {
	crc := ^uint32(0)
	for _, v := range b {
		crc ^= uint32(v)
		for range 8 {
			crc = crc>>1 ^ 0x82f63b78&-(crc&1)
		}
	}
	return ^crc
}

// TestK3_NothingLeaves: of a datagram that is bad in whatever way nothing leaves, it
// begins no connection, and each piece counts.
func TestK3_NothingLeaves(t *testing.T) {
	udp := fromClient(packetIn{proto: packet.UDP, sport: 5000, dport: 53, payload: 3000}).frame(t)
	tcp := fromClient(packetIn{flags: "S", sport: 5000, dport: 80, payload: 100}).frame(t)
	tiny := cut4(tcp, cutting{size: 16, id: 1})
	good := cut4(udp, cutting{size: 1000, id: 1})
	wrong := bytes.Clone(good[2])
	wrong[100] ^= 1
	overlap := cut4(udp, cutting{size: 1008, id: 1})[1]
	telnet := cut4(fromClient(packetIn{flags: "S", sport: 5000, dport: 23, payload: 3000}).frame(t), cutting{size: 1000, id: 1})
	old := bytes.Clone(good[1])
	old[22] = 1
	sumIPv4(old)
	for _, row := range []struct {
		name   string
		frames [][]byte
		why    drop.Reason
		count  int
	}{
		{"overlap", [][]byte{good[0], good[2], overlap, good[1], good[3]}, drop.FragmentOverlap, 5},
		{"tiny", tiny, drop.FragmentTiny, len(tiny)},
		{"checksum", [][]byte{good[0], good[1], wrong, good[3]}, drop.FragmentChecksum, 4},
		{"a rule", telnet, drop.RuleReject, 4},
		{"one whose TTL is used up", [][]byte{good[0], old, good[2], good[3]}, drop.TTLExceeded, 4},
	} {
		r := newRig(t)
		left := r.feed(lan, row.frames...)
		for _, o := range left {
			if o.port == wan {
				t.Errorf("%s: %x left", row.name, o.frame[:60])
			}
		}
		if d := r.dropped(lan); len(d) != row.count || d[0] != row.why || d[len(d)-1] != row.why {
			t.Errorf("%s: dropped %v", row.name, d)
		}
		if n := r.w.snapshot.Table.Len(); n != 0 {
			t.Errorf("%s: %d connections", row.name, n)
		}
	}
}

// TestK2_RestIsDropped: without its first piece a datagram waits, and dies in its time.
func TestK2_RestIsDropped(t *testing.T) {
	r := newRig(t)
	pieces := cut4(fromClient(packetIn{proto: packet.UDP, sport: 5000, dport: 53, payload: 3000}).frame(t), cutting{size: 1000, id: 1})
	if left := r.feed(lan, pieces[1:]...); len(left) > 0 || len(r.dropped(lan)) > 0 {
		t.Fatalf("%d left", len(left))
	}
	r.w.now += 31e9
	r.w.sweep()
	if d := r.dropped(lan); len(d) != 3 || d[0] != drop.FragmentTimeout {
		t.Errorf("dropped %v", d)
	}
	if left := r.feed(lan, pieces[0]); len(left) > 0 {
		t.Error("a late first piece opened the way")
	}
}

// TestK7_SameIdentification: two hosts behind one address send datagrams of the same
// identification at the same time; the server can tell their pieces apart.
func TestK7_SameIdentification(t *testing.T) {
	r := newRig(t)
	other := ip("10.0.0.11")
	var cuts [2][][]byte
	for i, from := range []packet.Addr{client, other} {
		p := fromClient(packetIn{proto: packet.UDP, sport: uint16(5000 + i), dport: 53, payload: 2000})
		p.from = from
		cuts[i] = cut4(p.frame(t), cutting{size: 1480, id: 77})
	}
	one, two := r.feed(lan, cuts[0][0], cuts[1][1], cuts[0][1]), r.feed(lan, cuts[1][0])
	f1, id1 := whole4(t, one)
	f2, id2 := whole4(t, two)
	if p := parse(t, f1); p.Tuple.SrcPort != 5000 {
		t.Errorf("%v", p.Tuple)
	}
	if p := parse(t, f2); p.Tuple.SrcPort != 5001 {
		t.Errorf("%v", p.Tuple)
	}
	if id1 == id2 || id1 == 77 && id2 == 77 {
		t.Errorf("identifications %d and %d", id1, id2)
	}
	// What is not translated at its source keeps its own.
	back := r.feed(wan, cut4(fromServer(packetIn{proto: packet.UDP, sport: 53, dport: 5000, payload: 2000}).frame(t), cutting{size: 1480, id: 78})...)
	if _, id := whole4(t, back); id != 78 {
		t.Errorf("the answer's identification is %d", id)
	}
}

// TestK8_SmallerLink: a packet that the next link cannot carry is cut where its sender
// allows that, and refused with the link's MTU where not; what came in pieces likewise.
func TestK8_SmallerLink(t *testing.T) {
	for _, row := range []struct {
		name  string
		size  int // of pieces; 0: one frame
		df    bool
		mtu   int
		sizes []int // of the IP packets that leave; nil: refused
	}{
		{"cut", 0, false, 1000, []int{996, 452}},
		{"not to be cut", 0, true, 1000, nil},
		{"pieces cut further", 1200, false, 1000, []int{996, 244, 228}},
		{"pieces that fit", 800, true, 1000, []int{820, 628}},
		{"pieces not to be cut", 1200, true, 1000, nil},
		{"it fits", 0, false, 1428, []int{1428}},
		{"one byte too long", 0, false, 1427, []int{1420, 28}},
	} {
		r := newRig(t)
		r.w.shares[wan].Port = &Port{ID: wan, Name: "wan", MAC: macWan, MTU: row.mtu, Addresses: []packet.Addr{wanAddr}, Kernel: r.kernel[1]}
		f := fromClient(packetIn{proto: packet.UDP, sport: 5000, dport: 53, payload: 1400}).frame(t)
		frames := cut4(f, cutting{size: max(row.size, 2000*(1-min(row.size, 1))), id: 7, df: row.df})
		left := r.feed(lan, frames...)
		if row.sizes == nil {
			if len(left) != 1 || left[0].port != lan {
				t.Errorf("%s: %d left", row.name, len(left))
				continue
			}
			p := parse(t, left[0].frame)
			if icmp := left[0].frame[p.L4:]; p.Tuple.Dst != client || icmp[0] != 3 || icmp[1] != 4 || int(binary.BigEndian.Uint16(icmp[6:])) != row.mtu {
				t.Errorf("%s: %v, %x", row.name, p.Tuple, icmp[:8])
			}
			if d := r.dropped(lan); len(d) != len(frames) || d[0] != drop.TooBig {
				t.Errorf("%s: dropped %v", row.name, d)
			}
			if v := r.only(); v.Packets[0] != 0 || v.Bytes[0] != 0 {
				t.Errorf("%s: it counts: %v packets", row.name, v.Packets)
			}
			continue
		}
		var sizes []int
		for _, o := range left {
			sizes = append(sizes, int(binary.BigEndian.Uint16(o.frame[16:])))
			if got := o.frame[20]&0x40 != 0; got != row.df {
				t.Errorf("%s: DF %v", row.name, got)
			}
		}
		if !slices.Equal(sizes, row.sizes) {
			t.Errorf("%s: packets of %v bytes, want %v; dropped %v", row.name, sizes, row.sizes, r.dropped(lan))
			continue
		}
		frame, id := whole4(t, left)
		if p := parse(t, frame); p.Tuple.Src != wanAddr || !bytes.Equal(frame[42:], f[42:]) {
			t.Errorf("%s: %v", row.name, p.Tuple)
		}
		if (id != 7) != (len(left) > 1) {
			t.Errorf("%s: identification %d", row.name, id)
		}
	}
}

// TestK1_Parked: a datagram whose neighbour is not known yet waits as a whole.
func TestK1_Parked(t *testing.T) {
	r := newRig(t)
	unknown := *r.w.snapshot
	unknown.Routes = fib.NewTable(rigRoutes, nil)
	known := r.w.snapshot
	r.w.snapshot = &unknown
	pieces := cut4(fromClient(packetIn{proto: packet.UDP, sport: 5000, dport: 53, payload: 60000}).frame(t), cutting{size: 1480, id: 1})
	for _, f := range pieces {
		if left := r.feed(lan, f); len(left) > 0 {
			t.Fatal("it left")
		}
	}
	if r.w.parked.n != len(pieces) || len(r.resolver.asked) != 1 || r.w.snapshot.Table.Len() != 0 {
		t.Fatalf("%d parked of %d, asked for %v", r.w.parked.n, len(pieces), r.resolver.asked)
	}
	r.w.snapshot = known
	r.w.parked.generation = 99 // the routes have changed
	r.w.retryParked()
	left := r.take()
	if len(left) != len(pieces) {
		t.Fatalf("%d pieces left of %d", len(left), len(pieces))
	}
	frame, _ := whole4(t, left)
	parse(t, frame)
	if r.w.parked.n != 0 || r.w.umem.Account().Held != 0 {
		t.Errorf("%d parked, %+v", r.w.parked.n, r.w.umem.Account())
	}
	// And where the neighbour never answers, all of it goes.
	r.w.snapshot = &unknown
	r.feed(lan, cut4(fromClient(packetIn{proto: packet.UDP, sport: 5001, dport: 53, payload: 3000}).frame(t), cutting{size: 1480, id: 2})...)
	r.w.now += parkedNanos
	r.w.retryParked()
	if d := r.dropped(lan); len(d) != 3 || d[0] != drop.NeighborUnresolved || r.w.umem.Account().Held != 0 {
		t.Errorf("dropped %v, %+v", d, r.w.umem.Account())
	}
}

// TestK10_TwoWorkers: the pieces of a datagram come in by the queues of two workers.
func TestK10_TwoWorkers(t *testing.T) {
	r := newRig(t)
	umem, err := xsk.NewUmem(256)
	if err != nil {
		t.Fatal(err)
	}
	defer umem.Close()
	second := &rig{t: t, kernel: r.kernel, lane: r.lane}
	second.w = &Worker{config: r.w.config, umem: umem, wake: -1, active: true, now: r.w.now, snapshot: r.w.snapshot}
	for _, s := range r.w.shares {
		second.w.shares = append(second.w.shares, &share{Port: s.Port})
	}
	queues := []*rig{r, second}
	f := fromClient(packetIn{proto: packet.UDP, sport: 5000, dport: 53, payload: 12000}).frame(t)
	for round := range 20 {
		var left []out
		for i, piece := range cut4(f, cutting{size: 1480, id: uint16(round)}) {
			left = append(left, queues[(i+round)%2].feed(lan, piece)...)
		}
		frame, _ := whole4(t, left)
		if p := parse(t, frame); p.Tuple.Src != wanAddr || !bytes.Equal(frame[42:], f[42:]) {
			t.Fatalf("%v", p.Tuple)
		}
	}
	if v := r.only(); v.Packets[0] != 20 {
		t.Errorf("%d packets", v.Packets[0])
	}
}

// TestL8_EchoInPieces: an echo request to the node itself reaches the kernel in one piece.
func TestL8_EchoInPieces(t *testing.T) {
	r := newRig(t)
	p := packetIn{from: client, to: lanAddr, fromMAC: macClient, toMAC: macLan, proto: packet.ICMP, icmpType: 8, icmpID: 5, payload: 3000}
	if left := r.feed(lan, cut4(p.frame(t), cutting{size: 1480, id: 1})...); len(left) > 0 {
		t.Fatalf("%d frames left", len(left))
	}
	got := r.kernel[lan].got
	if len(got) != 1 {
		t.Fatalf("%d frames to the kernel; dropped %v", len(got), r.dropped(lan))
	}
	if q := parse(t, got[0]); q.Len() != 3028 || q.ICMPType != 8 || q.TTL != 64 {
		t.Errorf("%+v", q)
	}
}

// TestK11_FloodHurtsNobody: while pieces come from everywhere that never become whole,
// segments of a connection pass, and so do whole datagrams. Each piece of the flood is
// accounted for.
func TestK11_FloodHurtsNobody(t *testing.T) {
	f := newFlood(t, 20)
	world := rand.New(rand.NewPCG(11, 11))
	pieces := 0
	for round := range 400 {
		var burst [][]byte
		for range 40 {
			src := netip.AddrFrom4([4]byte{byte(11 + world.IntN(80)), byte(world.Uint32()), byte(world.Uint32()), 9})
			p := fromServer(packetIn{proto: packet.UDP, sport: 53, dport: uint16(world.Uint32()), payload: 100})
			p.from = packet.AddrFrom(src)
			piece := cut4(p.frame(t), cutting{size: 64, id: uint16(world.Uint32())})[world.IntN(2)]
			burst = append(burst, piece)
			pieces++
		}
		if n := f.sendAll(wan, burst...); n != 0 {
			t.Fatalf("%d pieces passed", n)
		}
		f.talk(&f.established[round%len(f.established)])
		whole := fromClient(packetIn{proto: packet.UDP, sport: 5000, dport: 2049, payload: 8192}).frame(t)
		if n := f.sendAll(lan, cut4(whole, cutting{size: 1480, id: uint16(round)})...); n != 6 {
			t.Fatalf("round %d: %d pieces of 6 left: %v", round, n, f.dropped(lan))
		}
		f.w.now += 1e6
		f.w.sweep()
	}
	if f.lost > 0 {
		t.Errorf("%d of %d segments were lost", f.lost, f.sent)
	}
	f.w.now += 31e9
	for range 1000 {
		f.w.now += 1e6
		f.w.sweep()
	}
	counts := map[drop.Reason]int{}
	for _, why := range f.dropped(wan) {
		counts[why]++
	}
	if n := counts[drop.FragmentTimeout] + counts[drop.FragmentPressure] + counts[drop.FragmentOverlap]; n != pieces || counts[drop.FragmentPressure] == 0 {
		t.Errorf("%d of %d pieces accounted for: %v", n, pieces, counts)
	}
	if waiting, held := f.w.config.Fragments.Waiting(); waiting+held != 0 {
		t.Errorf("%d datagrams and %d bytes are left", waiting, held)
	}
}
