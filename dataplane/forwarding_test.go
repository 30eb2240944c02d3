package dataplane

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// Hosts of the rig with IPv6, see newHostile.
var client6, server6 = packet.AddrFrom(insiders[1][0]), packet.AddrFrom(outsiders[1][0])

// udp6 returns a frame from the client to a host outside.
func udp6(dst packet.Addr, hops uint8, payload int) []byte {
	f := append(append(macLan[:len(macLan):len(macLan)], macClient[:]...), 0x86, 0xdd, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(8+payload))
	f = append(f, 17, hops)
	f = append(append(f, client6[:]...), dst[:]...)
	f = append(f, 0x0f, 0xa0, 0, 53)
	f = binary.BigEndian.AppendUint16(f, uint16(8+payload))
	return append(append(f, 0, 1), make([]byte, payload)...)
}

// complaintAbout asserts that one error came back to the client about a frame, quoting it
// as it was sent, and returns it.
func (r *rig) complaintAbout(what string, got []out, about []byte) (packet.Parsed, []byte) {
	r.t.Helper()
	if len(got) != 1 {
		r.t.Fatalf("%s: %d frames left; dropped %v %v", what, len(got), r.dropped(lan), r.dropped(wan))
	}
	p := r.one(got, lan, macClient, macLan)
	quote := got[0].frame[p.Payload:p.End]
	if !p.IsICMPError() || !bytes.Equal(quote, about[14:][:len(quote)]) {
		r.t.Errorf("%s: %+v quotes\n% x\n% x", what, p, quote, about[14:])
	}
	return p, got[0].frame
}

// TestL1_HopLimit: a packet whose hops are used up goes no further, whether or not it has a
// connection, and its sender hears of it from the address that it came in to.
func TestL1_HopLimit(t *testing.T) {
	for _, established := range []bool{false, true} {
		for _, hops := range []uint8{0, 1} {
			h := newHostile(t)
			v4 := fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53})
			if established {
				h.rig.one(h.feed(lan, v4.frame(t)), wan, macServer, macWan)
				if len(h.feed(lan, udp6(server6, 64, 0))) != 1 {
					t.Fatal("no connection")
				}
			}
			connections := h.w.snapshot.Table.Len()
			frame := v4.frame(t)
			frame[22] = hops
			sumIPv4(frame)
			p, _ := h.complaintAbout("IPv4", h.feed(lan, frame), frame)
			if p.Tuple.Src != lanAddr || p.ICMPType != 11 || p.ICMPCode != 0 {
				t.Errorf("%d hops: %+v", hops, p)
			}
			frame = udp6(server6, hops, 0)
			p, _ = h.complaintAbout("IPv6", h.feed(lan, frame), frame)
			if p.Tuple.Src.Netip() != lanAddr6 || p.ICMPType != 3 || p.ICMPCode != 0 {
				t.Errorf("%d hops: %+v", hops, p)
			}
			if reasons := h.dropped(lan); !slices.Equal(reasons, []drop.Reason{drop.TTLExceeded, drop.TTLExceeded}) {
				t.Errorf("died of %v", reasons)
			}
			if n := h.w.snapshot.Table.Len(); n != connections {
				t.Errorf("%d connections, were %d", n, connections)
			}
		}
	}
}

// TestL1_ErrorsAreLimited: in any period there are only so many, and then there are again.
func TestL1_ErrorsAreLimited(t *testing.T) {
	r := newRig(t)
	frame := fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53, ttl: 1}).frame(t)
	told := 0
	for range 3 * answersPerPeriod {
		told += len(r.feed(lan, frame))
	}
	if told != answersPerPeriod {
		t.Errorf("%d errors, want %d", told, answersPerPeriod)
	}
	if quiet := r.w.shares[lan].ReceiveDrops.Count(drop.TTLExceededQuiet); quiet != 2*answersPerPeriod {
		t.Errorf("%d died quietly, want %d", quiet, 2*answersPerPeriod)
	}
	r.w.now += answerPeriod
	if len(r.feed(lan, frame)) != 1 {
		t.Error("no error in the next period")
	}
}

// TestL2_WhatRoutesSay: no route, and routes that refuse, each with its own code; one that
// discards says nothing.
func TestL2_WhatRoutesSay(t *testing.T) {
	for _, row := range []struct {
		kind   fib.Kind
		v4, v6 int // code of destination unreachable, -1: silence
	}{
		{fib.Unroutable, 0, 0}, {fib.Unreachable, 1, 3}, {fib.Prohibited, 13, 1}, {fib.Blackhole, -1, -1},
	} {
		h := newHostile(t)
		routes := slices.Clone(rigRoutes)
		routes = append(routes, fib.Route{Prefix: netip.MustParsePrefix("2001:db8:1::/64"), Kind: fib.Forward, Port: lan})
		if row.kind != fib.Unroutable {
			routes = append(routes, fib.Route{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Kind: row.kind},
				fib.Route{Prefix: netip.MustParsePrefix("2001:db8:77::/64"), Kind: row.kind})
		}
		h.w.snapshot.Routes = fib.NewTable(routes, rigNeighbors)
		in := fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53})
		in.to = ip("198.51.100.1")
		for i, frame := range [][]byte{in.frame(t), udp6(ip("2001:db8:77::1"), 64, 0)} {
			want, got := row.v4, h.feed(lan, frame)
			if i == 1 {
				want = row.v6
			}
			if want < 0 {
				if len(got) != 0 {
					t.Errorf("%v: not silent", row.kind)
				}
				continue
			}
			p, _ := h.complaintAbout(row.kind.String(), got, frame)
			if p.ICMPType != []uint8{3, 1}[i] || int(p.ICMPCode) != want {
				t.Errorf("%v: type %d code %d, want code %d", row.kind, p.ICMPType, p.ICMPCode, want)
			}
		}
		if reasons := h.dropped(lan); !slices.Equal(reasons, []drop.Reason{drop.NoRoute, drop.NoRoute}) {
			t.Errorf("%v: died of %v", row.kind, reasons)
		}
	}
}

// TestL2_NeighborDoesNotAnswer: packets for it wait, so many at most, and when the kernel
// has asked long enough their senders hear that the host is unreachable.
func TestL2_NeighborDoesNotAnswer(t *testing.T) {
	r := newRig(t)
	in := fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53, payload: 9})
	in.to = ip("203.0.113.88")
	frame := in.frame(t)
	for range parkedEach + 3 {
		r.feed(lan, frame)
	}
	if reasons := r.dropped(lan); r.w.parked.n != parkedEach || len(reasons) != 3 || reasons[0] != drop.NeighborUnresolved {
		t.Fatalf("%d wait, died of %v", r.w.parked.n, reasons)
	}
	other := in
	other.to = ip("203.0.113.89")
	if r.feed(lan, other.frame(t)); r.w.parked.n != parkedEach+1 {
		t.Error("one silent neighbour takes another's room")
	}
	r.w.now += parkedNanos - 1
	if r.w.retryParked(); len(r.take()) != 0 || r.w.parked.n != parkedEach+1 {
		t.Error("somebody was told before the time")
	}
	r.w.now += 1
	r.w.retryParked()
	got := r.take()
	if len(got) != parkedEach+1 || r.w.parked.n != 0 {
		t.Fatalf("%d errors, %d wait", len(got), r.w.parked.n)
	}
	p, _ := r.complaintAbout("IPv4", got[:1], frame)
	if p.ICMPType != 3 || p.ICMPCode != 1 || p.Tuple.Src != lanAddr {
		t.Errorf("%+v", p)
	}
	for _, why := range r.dropped(lan) {
		if why != drop.NeighborUnresolved {
			t.Errorf("died of %v", why)
		}
	}
	if a := r.w.umem.Account(); a.Held != 0 {
		t.Errorf("%d frames are lost", a.Held)
	}
}

// TestL3_TooBig: the sender learns the MTU of the next link, with as much of its packet as
// its family allows, and the packet does not count.
func TestL3_TooBig(t *testing.T) {
	for _, mtu := range []int{1280, 1400, 1499} {
		h := newHostile(t)
		h.w.shares[wan].MTU = mtu
		v4 := fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53, payload: mtu - 28}).frame(t)
		if p := h.rig.one(h.feed(lan, v4), wan, macServer, macWan); p.Len() != mtu {
			t.Errorf("MTU %d: %d bytes", mtu, p.Len())
		}
		frame := fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53, payload: mtu - 27}).frame(t)
		p, e := h.complaintAbout("IPv4", h.feed(lan, frame), frame)
		if p.ICMPType != 3 || p.ICMPCode != 4 || int(binary.BigEndian.Uint32(e[p.L4+4:])) != mtu || p.Len() != 576 {
			t.Errorf("MTU %d: %+v, %d bytes", mtu, p, p.Len())
		}
		if got := h.feed(lan, udp6(server6, 64, mtu-48)); len(got) != 1 || got[0].port != wan {
			t.Errorf("MTU %d: %d frames", mtu, len(got))
		}
		frame = udp6(server6, 64, mtu-47)
		p, e = h.complaintAbout("IPv6", h.feed(lan, frame), frame)
		if p.ICMPType != 2 || p.ICMPCode != 0 || int(binary.BigEndian.Uint32(e[p.L4+4:])) != mtu || p.Len() != 1280 {
			t.Errorf("MTU %d: %+v, %d bytes", mtu, p, p.Len())
		}
		if reasons := h.dropped(lan); !slices.Equal(reasons, []drop.Reason{drop.TooBig, drop.TooBig}) {
			t.Errorf("died of %v", reasons)
		}
	}
}

// TestL3_SmallMTUIsPassedOn: what some router says of a link below 1280 bytes is for the
// sender to judge, and the node itself does not shrink anything by it (RFC 8201 section 4).
func TestL3_SmallMTUIsPassedOn(t *testing.T) {
	h := newHostile(t)
	big := udp6(server6, 64, 1400)
	left := h.feed(lan, big)
	if len(left) != 1 {
		t.Fatal("no connection")
	}
	small := func(d, f []byte, p *packet.Parsed, a packet.Addr) int { return packet.AppendTooBig(d, f, p, a, 600) }
	e := errorAbout(t, left[0].frame, ip("2001:db8:2::77"), small, macWan, macServer)
	want := crossed(t, e, macClient, macLan)
	h.expect("packet too big", h.feed(wan, e), lan, want)
	if got := h.feed(lan, big); len(got) != 1 || got[0].port != wan {
		t.Error("the node obeyed")
	}
}

// TestL5_Redirects: none is followed, passed on or handed to the kernel, and none is sent,
// also where a packet leaves by the port that it came in by.
func TestL5_Redirects(t *testing.T) {
	h := newHostile(t)
	left := h.feed(lan, fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53}).frame(t))
	e := errorAbout(t, left[0].frame, outsideRouter, errorKinds["no route"], macWan, macServer)
	e[34] = 5
	m := append(bytes.Clone(e[34:14+int(binary.BigEndian.Uint16(e[16:]))]), 0)
	m[2], m[3] = 0, 0
	sum := checksum(m[:len(m)&^1])
	e[36], e[37] = byte(sum>>8), byte(sum)
	if got := h.feed(wan, e); len(got) != 0 {
		t.Error("a redirect was passed on")
	}
	nd := udp6(packet.AddrFrom(lanAddr6), 255, 32)
	nd[20], nd[54] = 58, 137
	if got := h.feed(lan, nd); len(got) != 0 || len(h.kernel[lan].got)+len(h.kernel[wan].got) != 0 {
		t.Errorf("a redirect of ND reached the kernel")
	}
	if reasons := append(h.dropped(wan), h.dropped(lan)...); !slices.Equal(reasons, []drop.Reason{drop.ICMPErrorType, drop.ICMPErrorType}) {
		t.Errorf("died of %v", reasons)
	}
	h.connect(udpTuple(client, 4000, ip("10.0.0.11"), 53), udpTuple(ip("10.0.0.11"), 53, client, 4000), lan, lan)
	in := fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53})
	in.to = ip("10.0.0.11")
	if got := h.feed(lan, in.frame(t)); len(got) != 1 || got[0].port != lan {
		t.Errorf("%d frames left for a neighbour of the sender, want the packet alone", len(got))
	}
}

// TestL6_ReversePath: each way of antispoof, for each kind of source.
func TestL6_ReversePath(t *testing.T) {
	sources := []struct {
		name               string
		from               packet.Addr
		strict, loose, off bool
	}{
		{"of the port's own network", client, true, true, true},
		{"of another port's network", ip("203.0.113.55"), false, true, true},
		{"without a route", ip("198.51.100.1"), false, false, true},
		{"the node's own", lanAddr, false, false, false},
		{"the node's own, of another port", wanAddr, false, false, false},
	}
	for _, s := range sources {
		for way, want := range map[Antispoof]bool{AntispoofStrict: s.strict, AntispoofLoose: s.loose, AntispoofOff: s.off} {
			r := newRig(t)
			r.w.shares[lan].Antispoof = way
			in := fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53})
			in.from = s.from
			if got := len(r.feed(lan, in.frame(t))); got != map[bool]int{true: 1}[want] {
				t.Errorf("%s, way %d: %d left, %v", s.name, way, got, r.dropped(lan))
			}
			reasons := r.dropped(lan)
			if !want && !slices.Equal(reasons, []drop.Reason{drop.SourceInvalid}) {
				t.Errorf("%s, way %d: died of %v", s.name, way, reasons)
			}
		}
	}
}

// TestL9_RouterBasics: class E is an address as any other; link-local ones stay on their
// link, even where somebody has a route for them (RFC 3927 section 7: the TTL and the
// routes do not matter); and one address of IP by a group of Ethernet is nothing to
// forward (RFC 1812 section 5.3.4).
func TestL9_RouterBasics(t *testing.T) {
	routes := append(slices.Clone(rigRoutes),
		fib.Route{Prefix: netip.MustParsePrefix("240.0.0.0/8"), Kind: fib.Forward, Port: lan},
		fib.Route{Prefix: netip.MustParsePrefix("250.0.0.0/8"), Kind: fib.Forward, Port: wan, Via: server},
		fib.Route{Prefix: netip.MustParsePrefix("169.254.7.0/24"), Kind: fib.Forward, Port: wan, Via: server})
	group := packet.MAC{1, 0, 0x5e, 0, 0, 1}
	for _, row := range []struct {
		name     string
		from, to packet.Addr
		mac      packet.MAC
		want     drop.Reason
	}{
		{"class E source", ip("240.0.0.9"), server, macLan, drop.Pass},
		{"class E destination", client, ip("250.0.0.9"), macLan, drop.Pass},
		{"link-local destination with a route", client, ip("169.254.7.9"), macLan, drop.LinkLocal},
		{"link-local source", ip("169.254.7.9"), server, macLan, drop.LinkLocal},
		{"one host by a group of stations", client, server, group, drop.Multicast},
		{"one host by everybody", client, server, packet.Broadcast, drop.Multicast},
		{"a group", client, ip("224.0.1.1"), group, drop.Multicast},
		{"everybody", client, ip("255.255.255.255"), packet.Broadcast, drop.Multicast},
		{"another station", client, server, macServer, drop.NotForThisMAC},
	} {
		r := newRig(t)
		r.w.snapshot.Routes = fib.NewTable(routes, rigNeighbors)
		in := packetIn{proto: packet.UDP, sport: 4000, dport: 53, from: row.from, to: row.to, toMAC: row.mac, fromMAC: macClient}
		got, reasons := r.feed(lan, in.frame(t)), r.dropped(lan)
		if row.want == drop.Pass {
			if len(got) != 1 || got[0].port != wan || len(reasons) != 0 {
				t.Errorf("%s: %d left, %v", row.name, len(got), reasons)
			}
			continue
		}
		if len(got) != 0 || !slices.Equal(reasons, []drop.Reason{row.want}) {
			t.Errorf("%s: %d left, died of %v, want %v", row.name, len(got), reasons, row.want)
		}
	}
}

// TestH9_OwnErrorsQuoteBeforeTranslation: the sender of a translated packet gets its own
// packet quoted, in each direction.
func TestH9_OwnErrorsQuoteBeforeTranslation(t *testing.T) {
	r := newRig(t)
	r.connect(udpTuple(client, 4000, server, 53), udpTuple(server, 53, wanAddr, 50000), lan, wan)
	r.w.shares[lan].MTU, r.w.shares[wan].MTU = 1300, 1300
	frame := fromClient(packetIn{proto: packet.UDP, sport: 4000, dport: 53, payload: 1400}).frame(t)
	r.complaintAbout("outwards", r.feed(lan, frame), frame)
	frame = fromServer(packetIn{proto: packet.UDP, sport: 53, dport: 50000, payload: 1400}).frame(t)
	got := r.feed(wan, frame)
	p := r.one(got, wan, macServer, macWan)
	if quote := got[0].frame[p.Payload:p.End]; p.Tuple.Src != wanAddr || !bytes.Equal(quote, frame[14:][:len(quote)]) {
		t.Errorf("inwards: %+v quotes % x", p, quote)
	}
}
