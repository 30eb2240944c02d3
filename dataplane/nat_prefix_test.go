package dataplane

import (
	"net/netip"
	"slices"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// newPrefixRig translates fd01:203:405::/48 to 2001:db8:1::/48 on its way out.
func newPrefixRig(t *testing.T) *rig {
	t.Helper()
	r := rigOf(t, `
[ports.lan]
addresses = ["fd01:203:405:1::1/64"]
[ports.wan]
addresses = ["2001:db8:7::2/64"]
[groups.main]
ports = ["lan", "wan"]
[[nat]]
kind = "nptv6"
out = "wan"
from = "fd01:203:405::/48"
target = "2001:db8:1::/48"
[[rules]]
id = "out"
action = "pass"
in = "lan"
out = "wan"
`, []fib.Route{
		{Prefix: netip.MustParsePrefix("fd01:203:405::/48"), Kind: fib.Forward, Port: lan},
		{Prefix: netip.MustParsePrefix("2001:db8:7::/64"), Kind: fib.Forward, Port: wan},
	}, []fib.Neighbor{
		{Port: wan, Addr: ip("2001:db8:7::7"), MAC: macServer}, {Port: lan, Addr: ip("fd01:203:405:1::1234"), MAC: macClient},
	}, 100)
	r.w.shares[lan].Addresses = []packet.Addr{ip("fd01:203:405:1::1")}
	return r
}

// prefixUDP is a UDP packet of the prefix rig, from port 99 to port 53 of 2001:db8:7::7.
func prefixUDP(src string) []byte {
	f := make([]byte, 14+40+8)
	copy(f, macLan[:])
	copy(f[6:], macClient[:])
	f[12], f[13], f[14], f[19], f[20], f[21] = 0x86, 0xdd, 0x60, 8, 17, 64
	from, to := ip(src), ip("2001:db8:7::7")
	copy(f[22:], from[:])
	copy(f[38:], to[:])
	f[55], f[57], f[59] = 99, 53, 8
	sum := uint32(17 + 8 + 8 + 99 + 53)
	for i := 22; i < 54; i += 2 {
		sum += uint32(f[i])<<8 | uint32(f[i+1])
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	f[60], f[61] = ^byte(sum>>8), ^byte(sum)
	return f
}

// TestJ5_UntranslatableIsTold: an address without an image is dropped, counted, and its
// sender is told.
func TestJ5_UntranslatableIsTold(t *testing.T) {
	r := newPrefixRig(t)
	sent := prefixUDP("fd01:203:405:1::1234")
	left := r.feed(lan, sent)
	p := r.one(left, wan, macServer, macWan)
	if p.Tuple.Src != ip("2001:db8:1:d550::1234") || !slices.Equal(left[0].frame[60:62], sent[60:62]) {
		t.Errorf("left as %v, checksum % x, was % x", p.Tuple, left[0].frame[60:62], sent[60:62]) // J3
	}
	p = r.one(r.feed(lan, prefixUDP("fd01:203:405:ffff::1")), lan, macClient, macLan)
	if p.Tuple.Proto != packet.ICMPv6 || p.ICMPType != 1 {
		t.Errorf("the sender was told %v", p.Tuple)
	}
	if why := r.dropped(lan); !slices.Equal(why, []drop.Reason{drop.NATUntranslatable}) {
		t.Errorf("died of %v", why)
	}
}

// TestJ6_ErrorsAboutTranslatedPrefixes: a packet too big about the translated packet
// reaches the inside host, quoting what that has sent, with its MTU.
func TestJ6_ErrorsAboutTranslatedPrefixes(t *testing.T) {
	r := newPrefixRig(t)
	sent := prefixUDP("fd01:203:405:1::1234")
	left := r.feed(lan, sent)
	r.one(left, wan, macServer, macWan)
	for name, write := range map[string]writer{"packet too big": errorKinds["fragmentation needed"], "no route": errorKinds["no route"]} {
		e := errorAbout(t, left[0].frame, ip("2001:db8:7::7"), write, macWan, macServer)
		want := crossed(t, errorAbout(t, crossed(t, sent, macServer, macWan), ip("2001:db8:7::7"), write, macLan, macClient), macClient, macLan)
		r.expect(name, r.feed(wan, e), lan, want)
	}
}

// TestJ6_RoutersInsideHaveTheirOwnImage: an error from the router before a host comes from
// the router's address as the outside sees it; where that has no image, from the host's.
func TestJ6_RoutersInsideHaveTheirOwnImage(t *testing.T) {
	for router, want := range map[string]string{
		"fd01:203:405:1::77": "2001:db8:1:d550::77", "fd01:203:405:ffff::77": "2001:db8:1:d550::1234",
	} {
		r := newPrefixRig(t)
		r.discardOne(r.feed(lan, prefixUDP("fd01:203:405:1::1234")))
		answer := prefixUDP("2001:db8:7::7")
		copy(answer, macWan[:])
		copy(answer[6:], macServer[:])
		to := ip("2001:db8:1:d550::1234")
		copy(answer[38:], to[:])
		answer[55], answer[57], answer[60], answer[61] = 53, 99, 0, 1 // what an error quotes is not verified
		left := r.feed(wan, answer)
		if len(left) != 1 {
			t.Fatalf("%d left: %v", len(left), r.dropped(wan))
		}
		e := errorAbout(t, left[0].frame, ip(router), errorKinds["time exceeded"], macLan, macClient)
		if p := r.one(r.feed(lan, e), wan, macServer, macWan); p.Tuple.Src != ip(want) || p.Tuple.Dst != ip("2001:db8:7::7") {
			t.Errorf("an error from %s left as %v, want from %s", router, p.Tuple, want)
		}
	}
}
