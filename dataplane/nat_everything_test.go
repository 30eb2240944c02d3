package dataplane

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// everyKind has a translation of each kind that IPv4 has between hosts.
const everyKind = natHead + `
[[nat]]
kind = "dnat"
to = "203.0.113.3"
target = "10.0.0.81"
[[nat]]
kind = "dnat"
to = "198.51.100.99"
target = "203.0.113.10"
[[nat]]
kind = "static"
out = "wan"
from = "10.0.0.80/32"
target = "203.0.113.80/32"
[[nat]]
kind = "snat"
out = "wan"
from = "10.0.0.11"
target = "203.0.113.4"
[[nat]]
kind = "masquerade"
out = "wan"
from = "10.0.0.10"
[[rules]]
id = "all"
action = "pass"
`

// between is a connection as its client's side sees it, and as its server's side does.
type between struct {
	in, out                packet.PortID
	client, there          packet.MAC // of the client, and of whom the packet goes to
	from, to, source, dest packet.Addr
}

// everyKindOfNAT returns the connections that everyKind translates, and their names in order.
func everyKindOfNAT() (*[6]string, map[string]between) {
	other := ip("10.0.0.11")
	return &[6]string{"masquerade", "snat", "static out", "static in", "dnat", "twice"}, map[string]between{
		"masquerade": {lan, wan, macClient, macServer, client, server, wanAddr, server},
		"snat":       {lan, wan, macClient, macServer, other, server, ip("203.0.113.4"), server},
		"static out": {lan, wan, macInner, macServer, inner, server, ip("203.0.113.80"), server},
		"static in":  {wan, lan, macServer, macInner, server, ip("203.0.113.80"), server, inner},
		"dnat":       {wan, lan, macServer, macInner2, server, ip("203.0.113.3"), server, inner2},
		"twice":      {lan, wan, macClient, macServer, client, ip("198.51.100.99"), wanAddr, server},
	}
}

func newEveryKindRig(t *testing.T) *rig {
	routes := append(slices.Clone(rigRoutes),
		fib.Route{Prefix: netip.MustParsePrefix("203.0.113.3/32"), Kind: fib.Local},
		fib.Route{Prefix: netip.MustParsePrefix("203.0.113.4/32"), Kind: fib.Local})
	neighbors := append(slices.Clone(rigNeighbors), fib.Neighbor{Port: lan, Addr: inner, MAC: macInner},
		fib.Neighbor{Port: lan, Addr: inner2, MAC: macInner2}, fib.Neighbor{Port: lan, Addr: ip("10.0.0.11"), MAC: macClient})
	return rigOf(t, everyKind, routes, neighbors, 100)
}

// face is the node's address on a port's link.
func face(port packet.PortID) packet.MAC { return [...]packet.MAC{lan: macLan, wan: macWan}[port] }

// frames are a packet of the client's, and of its server's as the node receives it.
func (b between) frames(t *testing.T, p packetIn) (there, back []byte) {
	p.from, p.to, p.fromMAC, p.toMAC = b.from, b.to, b.client, face(b.in)
	there = p.frame(t)
	p.from, p.to, p.fromMAC, p.toMAC, p.sport, p.dport = b.dest, b.source, b.there, face(b.out), p.dport, p.sport
	if p.proto == packet.ICMP {
		p.icmpType = packet.ICMPEchoReply
	}
	return there, p.frame(t)
}

// ofProtocol makes a frame one of another protocol, whose header begins with these bytes.
func ofProtocol(frame []byte, proto packet.Proto, header ...byte) []byte {
	frame[23] = byte(proto)
	copy(frame[34:], header)
	sumIPv4(frame)
	return frame
}

// TestI17_PiecesOfEveryKind: a datagram in pieces in any order is translated as a whole
// one is, by every kind, and so is its answer.
func TestI17_PiecesOfEveryKind(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 1))
	names, kinds := everyKindOfNAT()
	for _, name := range names {
		k := kinds[name]
		for _, p := range []packetIn{
			{proto: packet.UDP, sport: 5000, dport: 2049, payload: 3000},
			{proto: packet.ICMP, icmpType: packet.ICMPEchoRequest, icmpID: 5000, payload: 3000},
		} {
			r := newEveryKindRig(t)
			there, back := k.frames(t, p)
			cross := func(in, out packet.PortID, sent []byte, src, dst packet.Addr, id uint16) {
				t.Helper()
				left := r.feedAll(in, shuffled(random, cut4(sent, cutting{size: 1000, id: id})))
				if len(left) != len(cut4(sent, cutting{size: 1000})) || left[0].port != out {
					t.Fatalf("%s: %d pieces left; dropped %v %v", name, len(left), r.dropped(lan), r.dropped(wan))
				}
				frame, _ := whole4(t, left)
				if q := parse(t, frame); q.Tuple.Src != src || q.Tuple.Dst != dst || q.TTL != 63 || !bytes.Equal(frame[42:], sent[42:]) {
					t.Errorf("%s: left as %v", name, q.Tuple)
				}
			}
			cross(k.in, k.out, there, k.source, k.dest, 1)
			cross(k.out, k.in, back, k.to, k.from, 2)
		}
	}
}

// TestI17_ErrorsOfEveryKind: the error that the far end, or a router before it, sends about
// a translated packet is what the client would get had nobody translated anything.
func TestI17_ErrorsOfEveryKind(t *testing.T) {
	names, kinds := everyKindOfNAT()
	for _, name := range names {
		k := kinds[name]
		for kind, write := range errorKinds {
			for _, p := range []packetIn{
				{proto: packet.UDP, sport: 5000, dport: 53, payload: 100},
				{sport: 5000, dport: 80, flags: "S", seq: 100},
				{proto: packet.ICMP, icmpType: packet.ICMPEchoRequest, icmpID: 5000, payload: 8},
				{proto: 200, payload: 40},
			} {
				r := newEveryKindRig(t)
				sent, _ := k.frames(t, p)
				if p.proto == 200 {
					ofProtocol(sent, 200)
				}
				left := r.feed(k.in, sent)
				r.one(left, k.out, k.there, face(k.out))
				e := errorAbout(t, left[0].frame, k.dest, write, face(k.out), k.there)
				want := crossed(t, errorAbout(t, crossed(t, sent, k.there, face(k.out)), k.to, write, face(k.in), k.client), k.client, face(k.in))
				r.expect(name+", "+kind, r.feed(k.out, e), k.in, want)
			}
		}
	}
}

// TestI17_ProtocolsWithoutPorts: GRE and protocols that nobody knows are translated by
// their addresses, both ways, and no byte behind the addresses changes.
func TestI17_ProtocolsWithoutPorts(t *testing.T) {
	names, kinds := everyKindOfNAT()
	for _, name := range names {
		k := kinds[name]
		for proto, header := range map[packet.Proto][]byte{
			packet.GRE: {0x20, 0, 8, 0, 0, 0, 0, 5}, packet.ESP: {0, 0, 0, 9, 0, 0, 0, 1}, 200: {1, 2, 3, 4},
		} {
			r := newEveryKindRig(t)
			there, back := k.frames(t, packetIn{payload: 100})
			ofProtocol(there, proto, header...)
			ofProtocol(back, proto, header...)
			left := r.feed(k.in, there)
			p := r.one(left, k.out, k.there, face(k.out))
			if p.Tuple.Src != k.source || p.Tuple.Dst != k.dest || p.Tuple.Proto != proto || !bytes.Equal(left[0].frame[34:], there[34:]) {
				t.Errorf("%s, %v: left as %v", name, proto, p.Tuple)
			}
			left = r.feed(k.out, back)
			p = r.one(left, k.in, k.client, face(k.in))
			if p.Tuple.Src != k.to || p.Tuple.Dst != k.from || p.Tuple.Proto != proto || !bytes.Equal(left[0].frame[34:], back[34:]) {
				t.Errorf("%s, %v: the answer left as %v", name, proto, p.Tuple)
			}
		}
	}
}
