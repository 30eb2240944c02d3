package dataplane

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

const foreignPolicy = `
[ports.lan]
addresses = ["10.0.0.1/24", "fd01:0:0:1::1/64"]
[ports.wan]
addresses = ["203.0.113.2/24", "2001:db8::2/64"]
[groups.main]
ports = ["lan", "wan"]
[[nat]]
kind = "static"
out = "wan"
from = "10.0.0.10"
target = "203.0.113.5"
[[nat]]
kind = "dnat"
to = "203.0.113.6"
proto = "tcp"
to_port = 80
target = "10.0.0.10"
[[nat]]
kind = "snat"
out = "wan"
from = "10.0.0.0/24"
target = "203.0.113.64-203.0.113.163"
[[nat]]
kind = "nptv6"
out = "wan"
from = "fd01:0:0:1::/64"
target = "2001:db8::/64"
[[rules]]
id = "all"
action = "pass"
`

func newForeignRig(t *testing.T) *rig {
	return rigOf(t, foreignPolicy, append(rigRoutes[:len(rigRoutes):len(rigRoutes)], fib.Route{Prefix: netip.MustParsePrefix("2001:db8::/64"), Kind: fib.Forward, Port: wan}),
		append(rigNeighbors[:2:2], fib.Neighbor{Port: wan, Addr: ip("2001:db8::1"), MAC: macServer}), 1000)
}

// asks is an ARP request of a host on wan.
func asks(t *testing.T, operation uint16, sender, target packet.Addr) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{},
		&layers.Ethernet{SrcMAC: macServer[:], DstMAC: packet.Broadcast[:], EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: 1, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: operation,
			SourceHwAddress: macServer[:], SourceProtAddress: sender[12:], DstHwAddress: make([]byte, 6), DstProtAddress: target[12:]}); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// solicits is a neighbour solicitation of a host on wan.
func solicits(t *testing.T, hops uint8, sender, target packet.Addr) []byte {
	t.Helper()
	group := net.IP{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: target[13], 14: target[14], 15: target[15]}
	ip6 := &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolICMPv6, SrcIP: sender[:], DstIP: group}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(135, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip6)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: macServer[:], DstMAC: net.HardwareAddr{0x33, 0x33, 0xff, target[13], target[14], target[15]}, EthernetType: layers.EthernetTypeIPv6},
		ip6, icmp, &layers.ICMPv6NeighborSolicitation{TargetAddress: target[:]}); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestForeignAddressesAreAnsweredFor: the active node answers for external addresses of a
// port's own network,
// to probes too, and the kernel hears of all other questions.
func TestForeignAddressesAreAnsweredFor(t *testing.T) {
	none := packet.AddrFrom(netip.IPv4Unspecified())
	for _, row := range []struct {
		name     string
		in       packet.PortID
		frame    []byte
		answered bool
	}{
		{"static", wan, asks(t, 1, server, ip("203.0.113.5")), true},
		{"dnat", wan, asks(t, 1, server, ip("203.0.113.6")), true},
		{"snat", wan, asks(t, 1, server, ip("203.0.113.100")), true},
		{"a probe", wan, asks(t, 1, none, ip("203.0.113.5")), true},
		{"an announcement", wan, asks(t, 1, ip("203.0.113.5"), ip("203.0.113.5")), false},
		{"a reply", wan, asks(t, 2, server, ip("203.0.113.5")), false},
		{"its own", wan, asks(t, 1, server, wanAddr), false},
		{"nobody's", wan, asks(t, 1, server, ip("203.0.113.7")), false},
		{"on another port", lan, asks(t, 1, client, ip("203.0.113.5")), false},
		{"nptv6", wan, solicits(t, 255, ip("fe80::9"), ip("2001:db8::77")), true},
		{"a probe of IPv6", wan, solicits(t, 255, packet.Addr{}, ip("2001:db8::77")), true},
		{"from behind a router", wan, solicits(t, 254, ip("2001:db8:9::9"), ip("2001:db8::77")), false},
		{"its own of IPv6", wan, solicits(t, 255, ip("fe80::9"), ip("2001:db8::2")), false},
		{"a router that lives there", wan, solicits(t, 255, ip("fe80::9"), ip("2001:db8::1")), false},
	} {
		r := newForeignRig(t)
		got, handed := r.feed(row.in, row.frame), 0
		handed = len(r.handed(row.in))
		if !row.answered {
			if len(got) != 0 || handed != 1 {
				t.Errorf("%s: %d frames left, %d to the kernel; %v", row.name, len(got), handed, r.dropped(row.in))
			}
			continue
		}
		if len(got) != 1 || got[0].port != wan || handed != 0 {
			t.Errorf("%s: %d frames left, %d to the kernel; %v", row.name, len(got), handed, r.dropped(row.in))
			continue
		}
		checkAnswer(t, row.name, got[0].frame, row.frame)
	}
}

// checkAnswer reads an answer as gopacket does.
func checkAnswer(t *testing.T, name string, got, asked []byte) {
	t.Helper()
	answer, question := gopacket.NewPacket(got, layers.LayerTypeEthernet, gopacket.Default), gopacket.NewPacket(asked, layers.LayerTypeEthernet, gopacket.Default)
	eth := answer.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if !bytes.Equal(eth.SrcMAC, macWan[:]) {
		t.Errorf("%s: answered by %v", name, eth.SrcMAC)
	}
	if q, ok := question.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		a := answer.Layer(layers.LayerTypeARP).(*layers.ARP)
		if a.Operation != 2 || !bytes.Equal(a.SourceHwAddress, macWan[:]) || !bytes.Equal(a.SourceProtAddress, q.DstProtAddress) ||
			!bytes.Equal(a.DstHwAddress, macServer[:]) || !bytes.Equal(a.DstProtAddress, q.SourceProtAddress) || !bytes.Equal(eth.DstMAC, macServer[:]) {
			t.Errorf("%s: %+v", name, a)
		}
		return
	}
	q := question.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
	a := answer.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	from, to := question.NetworkLayer().(*layers.IPv6).SrcIP, answer.NetworkLayer().(*layers.IPv6).DstIP
	flags := uint8(0xe0)
	if from.IsUnspecified() {
		from, flags = net.ParseIP("ff02::1"), 0xa0
	}
	var p packet.Parsed
	if why := packet.Decode(got, &p); why != drop.Pass || !packet.VerifyChecksum(got, &p) || !to.Equal(from) || a.Flags != flags ||
		!a.TargetAddress.Equal(q.TargetAddress) || len(a.Options) != 1 || !bytes.Equal(a.Options[0].Data, macWan[:]) {
		t.Errorf("%s: %v to %v, %+v", name, why, to, a)
	}
}

// TestForeignAddressesAreAnnounced: at a promotion, each once, some in each turn; not those
// at which somebody lives; nothing from a node that has become mute meanwhile.
func TestForeignAddressesAreAnnounced(t *testing.T) {
	r := newForeignRig(t)
	say := func() (all []string) {
		r.w.announce.Store(1)
		for range 100 {
			more := r.w.makeAnnouncements()
			got := r.take()
			if len(got) > announceStep+2 {
				t.Errorf("%d frames in a turn", len(got))
			}
			for _, o := range got {
				all = append(all, fmt.Sprint(o.port, net.IP(o.frame[28:32])))
			}
			if !more {
				return all
			}
		}
		t.Fatal("it never ends")
		return nil
	}
	all := say()
	slices.Sort(all)
	if n := len(slices.Compact(slices.Clone(all))); n != len(all) || n != 2+1+1+100 {
		t.Errorf("%d announced, %d of them different", len(all), n)
	}
	for _, want := range []string{"0 10.0.0.1", "1 203.0.113.2", "1 203.0.113.5", "1 203.0.113.6", "1 203.0.113.64", "1 203.0.113.163"} {
		if !slices.Contains(all, want) {
			t.Errorf("%s was not announced", want)
		}
	}
	r.w.announce.Store(1)
	r.w.makeAnnouncements()
	r.discard()
	r.w.active = false
	if r.w.makeAnnouncements() || r.discard() != 0 {
		t.Error("a mute node announces")
	}
	r.w.active = true
	if r.w.makeAnnouncements() || r.discard() != 0 {
		t.Error("an old announcement goes on")
	}
}

// TestForeignAddressesAreNobodys: a packet to an external address that no translation takes
// is dropped by name, and asks for no neighbour; one from there cannot be.
func TestForeignAddressesAreNobodys(t *testing.T) {
	r := newForeignRig(t)
	for _, row := range []struct {
		in       packet.PortID
		from, to packet.Addr
		why      drop.Reason
	}{
		{wan, server, ip("203.0.113.6"), drop.NATUnclaimed},
		{lan, client, ip("203.0.113.6"), drop.NATUnclaimed},
		{wan, server, ip("203.0.113.100"), drop.NATUnclaimed},
		{wan, ip("203.0.113.5"), ip("203.0.113.5"), drop.AddressInvalid},
		{wan, ip("203.0.113.6"), ip("203.0.113.5"), drop.SourceInvalid},
	} {
		in := packetIn{from: row.from, to: row.to, fromMAC: macServer, toMAC: r.w.shares[row.in].MAC, sport: 4000, dport: 81, flags: "S"}
		if got := r.feed(row.in, in.frame(t)); len(got) != 0 || len(r.handed(row.in)) != 0 {
			t.Errorf("%v to %v: %d frames left", row.from, row.to, len(got))
		}
		if why := r.dropped(row.in); !slices.Equal(why, []drop.Reason{row.why}) {
			t.Errorf("%v to %v died of %v, want %v", row.from, row.to, why, row.why)
		}
	}
	if len(r.resolver.asked) != 0 {
		t.Errorf("asked for %v", r.resolver.asked)
	}
	web := packetIn{from: server, to: ip("203.0.113.6"), fromMAC: macServer, toMAC: macWan, sport: 4000, dport: 80, flags: "S"}
	if p := r.one(r.feed(wan, web.frame(t)), lan, macClient, macLan); p.Tuple.Dst != client {
		t.Errorf("dnat: %v", p.Tuple)
	}
}
