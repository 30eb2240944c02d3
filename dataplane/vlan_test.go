package dataplane

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
)

// rewire puts the rig's ports on other lines: each on the device and VLAN that it is given.
func (r *rig) rewire(lines ...Port) {
	r.t.Helper()
	var ports []*Port
	for i, line := range lines {
		p := *r.w.shares[i].Port
		p.Ifindex, p.VLAN = line.Ifindex, line.VLAN
		ports = append(ports, &p)
	}
	r.w.shares, r.w.devices = nil, nil
	r.w.addPorts(ports)
}

// trunk returns a rig with both ports on one device.
func trunk(t *testing.T, lanVLAN, wanVLAN packet.VLAN) *rig {
	r := newRig(t)
	r.rewire(Port{Ifindex: 1, VLAN: lanVLAN}, Port{Ifindex: 1, VLAN: wanVLAN})
	return r
}

// arrive takes frames that a device has received through the path, as the worker does
// with what a socket gives it, and returns what its ports transmit.
func (r *rig) arrive(device int, frames ...[]byte) []out {
	r.t.Helper()
	b, d := &r.w.burst, r.w.devices[device]
	b.n = r.w.umem.Alloc(b.desc[:len(frames)])
	for i, f := range frames {
		buf := r.w.umem.Bytes(b.desc[i])
		b.desc[i].Len = uint32(copy(buf[:cap(buf)], f))
	}
	if d.byVLAN != nil {
		r.w.demultiplex(d, b)
	} else {
		r.w.take(d.ports[0], b, 0)
	}
	for _, s := range r.w.shares {
		if s.VLAN != packet.Untagged {
			r.w.tag(s) // as put does
		}
	}
	return r.take()
}

// tagged returns a frame with a tag.
func tagged(frame []byte, control uint16) []byte {
	room := append(make([]byte, packet.TagLen), frame...)
	packet.Tag(room, packet.VLAN(control))
	return room
}

// untagged checks that a frame carries the tag, with priority 0, and takes it off.
func (r *rig) untagged(got []out, want packet.VLAN) []out {
	r.t.Helper()
	for i := range got {
		id, tag, why := packet.VLANOf(got[i].frame)
		if id != want || why != drop.Pass || (tag != 0) != (want != packet.Untagged) {
			r.t.Fatalf("a frame left with VLAN %v (%v), want %v", id, why, want)
		}
		if tag == 0 {
			continue
		}
		if control := binary.BigEndian.Uint16(got[i].frame[14:]); control != uint16(want) {
			r.t.Errorf("its tag is %#x: the priority is not best effort", control)
		}
		got[i].frame = packet.Untag(got[i].frame)
	}
	return got
}

// TestA9_TaggedConnectionBothWays: a translated connection from one line to another, in
// every pairing of tagged and untagged, on one device and on two: each side sees its own
// tag, and the packet is the same, byte by byte, as between two untagged ports.
func TestA9_TaggedConnectionBothWays(t *testing.T) {
	syn := fromClient(packetIn{sport: 4000, dport: 80, flags: "S", seq: 100, payload: 100}).frame(t)
	answer := fromServer(packetIn{sport: 80, dport: 4000, flags: "SA", seq: 500, ack: 101}).frame(t)
	plain := newRig(t)
	there, back := plain.feed(lan, syn), plain.feed(wan, answer)
	for name, lines := range map[string][2]Port{
		"tagged to tagged":         {{Ifindex: 1, VLAN: 10}, {Ifindex: 1, VLAN: 20}},
		"tagged to untagged":       {{Ifindex: 1, VLAN: 10}, {Ifindex: 1}},
		"untagged to tagged":       {{Ifindex: 1}, {Ifindex: 1, VLAN: 20}},
		"two devices, one tagged":  {{Ifindex: 1}, {Ifindex: 2, VLAN: 20}},
		"two devices, one VLAN":    {{Ifindex: 1, VLAN: 10}, {Ifindex: 2, VLAN: 10}},
		"two devices, no VLAN":     {{Ifindex: 1}, {Ifindex: 2}},
		"the other device tagged":  {{Ifindex: 1, VLAN: 4094}, {Ifindex: 2}},
		"the lowest, the highest":  {{Ifindex: 1, VLAN: 1}, {Ifindex: 1, VLAN: 4094}},
		"the highest, the lowest ": {{Ifindex: 1, VLAN: 4094}, {Ifindex: 1, VLAN: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.rewire(lines[0], lines[1])
			on := func(line Port, frame []byte) []byte {
				if line.VLAN == packet.Untagged {
					return frame
				}
				return tagged(frame, uint16(line.VLAN)|0x6000) // with a priority, which is not handed on
			}
			last := len(r.w.devices) - 1
			got := r.untagged(r.arrive(0, on(lines[0], syn)), lines[1].VLAN)
			r.one(got, wan, macServer, macWan)
			if !bytes.Equal(got[0].frame, there[0].frame) {
				t.Errorf("left as\n% x\nwant\n% x", got[0].frame, there[0].frame)
			}
			got = r.untagged(r.arrive(last, on(lines[1], answer)), lines[0].VLAN)
			r.one(got, lan, macClient, macLan)
			// Short frames may be longer by padding than where no tag was taken off.
			if !bytes.Equal(got[0].frame[:len(back[0].frame)], back[0].frame) {
				t.Errorf("came back as\n% x\nwant\n% x", got[0].frame, back[0].frame)
			}
		})
	}
}

// TestA9_WhoseTag: a frame with a tag that no port has, without one where no port is
// untagged, or with two, dies for its reason on the device's first port; a priority alone
// is no tag, on a device with tagged ports and on one without.
func TestA9_WhoseTag(t *testing.T) {
	syn := fromClient(packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t)
	service := tagged(syn, 10)
	service[12], service[13] = 0x88, 0xa8
	for _, row := range []struct {
		name  string
		lan   packet.VLAN
		frame []byte
		why   drop.Reason // Pass: it goes on
	}{
		{"another VLAN", 10, tagged(syn, 11), drop.VLANUnexpected},
		{"a VLAN where the port is untagged", 0, tagged(syn, 10), drop.VLANUnexpected},
		{"the reserved VLAN", 10, tagged(syn, 4095), drop.VLANUnexpected},
		{"no tag", 10, syn, drop.VLANMissing},
		{"a priority alone, no untagged port", 10, tagged(syn, 0xe000), drop.VLANMissing},
		{"a priority alone", 0, tagged(syn, 0xe000), drop.Pass},
		{"two tags", 10, tagged(tagged(syn, 20), 10), drop.VLANStacked},
		{"two tags, the first a priority", 0, tagged(tagged(syn, 10), 0), drop.VLANStacked},
		{"a service tag", 10, service, drop.VLANStacked},
		{"cut off in the tag", 10, tagged(syn, 10)[:16], drop.FrameTruncated},
		{"no VLAN's at all", 10, syn[:10], drop.FrameTruncated},
		{"its own", 10, tagged(syn, 10), drop.Pass},
	} {
		for name, wanOn := range map[string]Port{"one device": {Ifindex: 1, VLAN: 20}, "a device of its own": {Ifindex: 2}} {
			t.Run(row.name+", "+name, func(t *testing.T) {
				r := newRig(t)
				r.rewire(Port{Ifindex: 1, VLAN: row.lan}, wanOn)
				got := r.untagged(r.arrive(0, row.frame), wanOn.VLAN)
				want := []drop.Reason{row.why}
				if row.why == drop.Pass {
					r.one(got, wan, macServer, macWan)
					want = nil
				}
				if reasons := r.dropped(lan); !slices.Equal(reasons, want) {
					t.Errorf("died of %v, want %v", reasons, want)
				}
			})
		}
	}
}

// TestA9_OneBurstOfManyPorts: the frames of a burst go each to its port, in order, and are
// counted there, with their tags.
func TestA9_OneBurstOfManyPorts(t *testing.T) {
	r := trunk(t, 10, 20)
	port := r.openTagged(4000)
	var frames [][]byte
	for i := range 10 {
		frames = append(frames,
			tagged(fromClient(packetIn{sport: 4000, dport: 80, flags: "A", seq: 101 + uint32(i), ack: 501, payload: 1}).frame(t), 10),
			tagged(fromServer(packetIn{sport: 80, dport: port, flags: "A", seq: 501 + uint32(i), ack: 101, payload: 1}).frame(t), 20),
			tagged(frames0(t), 30))
	}
	before, beforeBytes := r.w.shares[wan].Received.Read()
	got := r.arrive(0, frames...)
	next := map[packet.PortID]uint32{wan: 101, lan: 501}
	for _, o := range got {
		var p packet.Parsed
		if why := packet.Decode(packet.Untag(o.frame), &p); why != drop.Pass || p.Seq != next[o.port] {
			t.Fatalf("by %d left sequence %d (%v), want %d", o.port, p.Seq, why, next[o.port])
		}
		next[o.port]++
	}
	if len(got) != 20 {
		t.Errorf("%d frames left, want 20", len(got))
	}
	if reasons := r.dropped(lan); len(reasons) != 10 || reasons[0] != drop.VLANUnexpected {
		t.Errorf("died: %v", reasons)
	}
	packets, bytes := r.w.shares[wan].Received.Read()
	if packets-before != 10 || bytes-beforeBytes != 10*uint64(len(frames[1])) {
		t.Errorf("wan has received %d packets of %d bytes, want 10 of %d each, the tag included", packets-before, bytes-beforeBytes, len(frames[1]))
	}
}

func frames0(t *testing.T) []byte {
	return fromClient(packetIn{sport: 9, dport: 9, flags: "S"}).frame(t)
}

// openTagged opens a connection from VLAN 10 to VLAN 20.
func (r *rig) openTagged(sport uint16) uint16 {
	r.t.Helper()
	p := r.one(r.untagged(r.arrive(0, tagged(fromClient(packetIn{sport: sport, dport: 80, flags: "S", seq: 100}).frame(r.t), 10)), 20), wan, macServer, macWan)
	port := p.Tuple.SrcPort
	r.one(r.untagged(r.arrive(0, tagged(fromServer(packetIn{sport: 80, dport: port, flags: "SA", seq: 500, ack: 101}).frame(r.t), 20)), 10), lan, macClient, macLan)
	r.one(r.untagged(r.arrive(0, tagged(fromClient(packetIn{sport: sport, dport: 80, flags: "A", seq: 101, ack: 501}).frame(r.t), 10)), 20), wan, macServer, macWan)
	return port
}

// TestA9_OwnFramesCarryTheTag: errors, resets and announcements leave with the tag of
// their port, the last in one piece with the shortest frame allowed.
func TestA9_OwnFramesCarryTheTag(t *testing.T) {
	r := trunk(t, 10, 20)
	got := r.untagged(r.arrive(0, tagged(fromClient(packetIn{sport: 4000, dport: 80, flags: "S", ttl: 1}).frame(t), 10)), 10)
	if p := r.one(got, lan, macClient, macLan); p.ICMPType != 11 || p.Tuple.Src != lanAddr {
		t.Errorf("the error is %+v", p)
	}
	got = r.untagged(r.arrive(0, tagged(fromClient(packetIn{sport: 4000, dport: 23, flags: "S"}).frame(t), 10)), 10)
	if p := r.one(got, lan, macClient, macLan); p.TCPFlags&packet.FlagRST == 0 {
		t.Errorf("the answer of a reject is %+v", p)
	}
	r.w.announce.Store(1)
	r.w.makeAnnouncements()
	for _, s := range r.w.shares {
		r.w.tag(s)
	}
	all := r.take()
	if len(all) != 2 {
		t.Fatalf("%d announcements, want one on each port", len(all))
	}
	for _, o := range all {
		if len(o.frame) < frameMin+packet.TagLen {
			t.Errorf("an announcement of %d bytes", len(o.frame))
		}
		r.untagged([]out{o}, r.w.shares[o.port].VLAN)
	}
}

// TestA9_KernelFaceSeesNoTag: what the kernel is handed is untagged and of full length.
func TestA9_KernelFaceSeesNoTag(t *testing.T) {
	r := trunk(t, 10, 20)
	var arp [64]byte
	n := packet.AppendGratuitousARP(arp[:], macClient, client)
	r.arrive(0, tagged(arp[:n-packet.TagLen], 10)) // 60 bytes with its tag: as short as it may be
	if got := r.kernel[lan].got; len(got) != 1 || !bytes.Equal(got[0], arp[:n]) {
		t.Errorf("the kernel of lan was handed\n% x\nwant\n% x", got, arp[:n])
	}
	if len(r.kernel[wan].got) != 0 {
		t.Error("the kernel of wan was handed something, too")
	}
}

// TestA9_PaddingIsClear: a frame that was short because of its tag is padded with zeros,
// not with what lay in the memory before.
func TestA9_PaddingIsClear(t *testing.T) {
	r := trunk(t, 10, 0)
	var d [1]xsk.Desc
	r.w.umem.Alloc(d[:])
	buf := r.w.umem.Bytes(d[0])
	for i := range buf[:cap(buf)] {
		buf[:cap(buf)][i] = 0xee
	}
	r.w.umem.Free(d[:]) // taken again by the next frame
	syn := fromClient(packetIn{sport: 4000, dport: 80, flags: "S", seq: 100}).frame(t)[:54]
	got := r.arrive(0, tagged(syn, 10))
	r.one(got, wan, macServer, macWan)
	if f := got[0].frame; len(f) != frameMin || !bytes.Equal(f[54:], make([]byte, frameMin-54)) {
		t.Errorf("%d bytes, behind the packet % x", len(f), f[54:])
	}
}

// TestA9_MuteOnTaggedPorts: while a node is mute, what comes in by a tagged port dies as
// such, counted where it came in, and nothing leaves or reaches the kernel.
func TestA9_MuteOnTaggedPorts(t *testing.T) {
	r := trunk(t, 10, 20)
	r.w.active = false
	var arp [64]byte
	n := packet.AppendGratuitousARP(arp[:], macServer, server)
	got := r.arrive(0, tagged(frames0(t), 10), tagged(arp[:n], 20), tagged(arp[:n], 20))
	if len(got) != 0 || len(r.kernel[wan].got) != 0 {
		t.Errorf("%d frames left, the kernel saw %d", len(got), len(r.kernel[wan].got))
	}
	if l, w := r.dropped(lan), r.dropped(wan); len(l) != 1 || len(w) != 2 || l[0] != drop.Mute || w[1] != drop.Mute {
		t.Errorf("died: %v, %v", l, w)
	}
}

// TestB15_PartsOfABurst: a burst's first packets are shared out by how many frames each
// port has in it, at least one to each.
func TestB15_PartsOfABurst(t *testing.T) {
	for _, row := range []struct{ admissions, n, all, want int }{
		{0, 10, 64, 0}, {32, 64, 64, 32}, {32, 32, 64, 16}, {8, 60, 64, 7}, {8, 1, 64, 1},
	} {
		if got := part(row.admissions, row.n, row.all); got != row.want {
			t.Errorf("%d of %d, %d admissions: %d, want %d", row.n, row.all, row.admissions, got, row.want)
		}
	}
}

// TestB15_FloodInOneVLAN: what a flood in one VLAN may open is what is its part; the
// connections of another VLAN in the same bursts go on.
func TestB15_FloodInOneVLAN(t *testing.T) {
	r := trunk(t, 10, 20)
	port := r.openTagged(4000)
	var frames [][]byte
	for i := range 32 {
		frames = append(frames,
			tagged(fromClient(packetIn{sport: 5000 + uint16(i), dport: 80, flags: "S"}).frame(t), 10),
			tagged(fromServer(packetIn{sport: 80, dport: port, flags: "A", seq: 501, ack: 101}).frame(t), 20))
	}
	r.w.burst.admissions = 16
	got := r.arrive(0, frames...)
	r.w.burst.admissions = 0
	counts := map[packet.PortID]int{}
	for _, o := range got {
		counts[o.port]++
	}
	if counts[wan] != 8 || counts[lan] != 32 {
		t.Errorf("%d first packets of 32 went on, want 8; %d of the connection's 32", counts[wan], counts[lan])
	}
}

// TestVLANPathDoesNotAllocate: tags cost no garbage.
func TestVLANPathDoesNotAllocate(t *testing.T) {
	r := trunk(t, 10, 20)
	port := r.openTagged(4000)
	data := tagged(fromServer(packetIn{sport: 80, dport: port, flags: "A", seq: 501, ack: 101}).frame(t), 20)
	b, d := &r.w.burst, r.w.devices[0]
	n := testing.AllocsPerRun(100, func() {
		b.n, b.admissions = r.w.umem.Alloc(b.desc[:8]), 0
		for i := range b.n {
			buf := r.w.umem.Bytes(b.desc[i])
			b.desc[i].Len = uint32(copy(buf[:cap(buf)], data))
		}
		r.w.demultiplex(d, b)
		r.w.tag(r.w.shares[lan])
		r.discard()
	})
	if n != 0 {
		t.Errorf("%v allocations a burst", n)
	}
}
