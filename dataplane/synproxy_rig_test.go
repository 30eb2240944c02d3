package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// proxyPolicy translates the source (from lan) or the destination (from wan).
const proxyPolicy = `
[ports.lan]
addresses = ["10.0.0.1/24", "2001:db8:1::1/64"]
[ports.wan]
addresses = ["203.0.113.2/24", "2001:db8:2::2/64"]
[[nat]]
kind = "masquerade"
from = ["10.0.0.0/24"]
out = "wan"
[[nat]]
kind = "dnat"
in = "wan"
to = "203.0.113.2"
proto = "tcp"
to_port = 8080
target = "10.0.0.10"
target_port = 80
[[rules]]
id = "out"
action = "pass"
in = "lan"
out = "wan"
syn_proxy = "%s"
[[rules]]
id = "in"
action = "pass"
in = "wan"
out = "lan"
syn_proxy = "%[1]s"
`

// host is one end of a connection in the rig: where it is, and what it knows.
type host struct {
	at        packet.PortID
	mac, toUs packet.MAC
	self, far packet.Addr
	own, peer uint16 // ports
}

// The ends of a connection from inside that is masqueraded, of one from outside that is
// turned to a host inside, and of one that is not translated.
var proxied = map[string]struct{ client, server host }{
	"masquerade": {
		host{lan, macClient, macLan, client, server, 40000, 80},
		host{wan, macServer, macWan, server, wanAddr, 80, 40000},
	},
	"dnat": {
		host{wan, macServer, macWan, server, wanAddr, 40000, 8080},
		host{lan, macClient, macLan, client, server, 80, 40000},
	},
	"IPv6": {
		host{lan, macClient, macLan, client6, server6, 40000, 80},
		host{wan, macServer, macWan, server6, client6, 80, 40000},
	},
}

// tcp is a segment as a host says it.
type tcp struct {
	flags    packet.TCPFlags
	seq, ack uint32
	window   uint16
	options  []byte
	payload  int
}

// frame builds it.
func (h *host) frame(s tcp) []byte {
	tuple := packet.Tuple{Src: h.self, Dst: h.far, SrcPort: h.own, DstPort: h.peer, Proto: packet.TCP}
	return rawSegment(h.mac, h.toUs, &tuple, &s)
}

// proxyRig is a rig with the rest of what a handshake shows.
type proxyRig struct {
	*rig
	client, server host
	parsed         packet.Parsed
}

func newProxyRig(t testing.TB, name, when string) *proxyRig {
	routes := append(slices.Clone(rigRoutes),
		fib.Route{Prefix: netip.MustParsePrefix("2001:db8:1::/64"), Kind: fib.Forward, Port: lan},
		fib.Route{Prefix: netip.MustParsePrefix("2001:db8:2::/64"), Kind: fib.Forward, Port: wan})
	neighbors := append(slices.Clone(rigNeighbors),
		fib.Neighbor{Port: lan, Addr: client6, MAC: macClient}, fib.Neighbor{Port: wan, Addr: server6, MAC: macServer})
	r := &proxyRig{rig: rigOf(t, fmt.Sprintf(proxyPolicy, when), routes, neighbors, 1000)}
	r.client, r.server = proxied[name].client, proxied[name].server
	return r
}

// only decodes the one frame that left by a host's port, and checks its checksum.
func (r *proxyRig) only(to *host, left []out) *packet.Parsed {
	r.t.Helper()
	if len(left) != 1 || left[0].port != to.at {
		r.t.Fatalf("%d frames left, want one by port %d; dropped %v %v", len(left), to.at, r.dropped(lan), r.dropped(wan))
	}
	return r.decoded(left[0].frame)
}

func (r *proxyRig) decoded(frame []byte) *packet.Parsed {
	r.t.Helper()
	p := &r.parsed
	if why := packet.Decode(frame, p); why != drop.Pass {
		r.t.Fatalf("a frame that left is refused: %v", why)
	}
	if !packet.VerifyChecksum(frame, p) {
		r.t.Fatal("a frame that left has a wrong checksum")
	}
	return p
}

// says sends a segment of one host and returns what the other got.
func (r *proxyRig) says(from, to *host, s tcp) *packet.Parsed {
	r.t.Helper()
	return r.only(to, r.feed(from.at, from.frame(s)))
}

// Options as hosts write them: MSS 1460, SACK permitted, scale 6; and of the server MSS
// 1400, SACK permitted, scale 9.
var (
	clientOffers = []byte{2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 6}
	serverOffers = []byte{2, 4, 5, 120, 1, 1, 4, 2, 1, 3, 3, 9}
)

var clientFirst, serverFirst uint32 = 0xfffffff0, 0xffffff00 // both wrap soon

// knock is the handshake with the firewall: it returns the cookie.
func (r *proxyRig) knock(offers []byte) uint32 {
	r.t.Helper()
	p := r.says(&r.client, &r.client, tcp{flags: packet.FlagSYN, seq: clientFirst, window: 64240, options: offers})
	if p.TCPFlags != packet.FlagSYN|packet.FlagACK || p.Ack != clientFirst+1 || p.Window != 0 {
		r.t.Fatalf("the SYN was answered by %+v", p)
	}
	if n := r.w.snapshot.Table.Len(); n != 0 {
		r.t.Fatalf("%d connections after a SYN", n)
	}
	return p.Seq
}

// open is the whole handshake; it returns the cookie.
func (r *proxyRig) open(clientOffers, serverOffers []byte) uint32 {
	r.t.Helper()
	c := r.knock(clientOffers)
	syn := r.says(&r.client, &r.server, tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 1, window: 1004})
	if syn.TCPFlags != packet.FlagSYN || syn.Seq != clientFirst {
		r.t.Fatalf("the server got %+v", syn)
	}
	r.accept(c, serverOffers)
	return c
}

// accept is the server's half of it.
func (r *proxyRig) accept(c uint32, offers []byte) {
	r.t.Helper()
	left := r.feed(r.server.at, r.server.frame(tcp{flags: packet.FlagSYN | packet.FlagACK, seq: serverFirst, ack: clientFirst + 1, window: 65535, options: offers}))
	if len(left) != 2 {
		r.t.Fatalf("%d frames answer the SYN/ACK: %v %v", len(left), r.dropped(lan), r.dropped(wan))
	}
	for _, f := range left {
		p := r.decoded(f.frame)
		want := tcp{seq: clientFirst + 1, ack: serverFirst + 1}
		if f.port == r.client.at {
			want = tcp{seq: c + 1, ack: clientFirst + 1}
			if p.Window == 0 {
				r.t.Error("the client's window stays closed")
			}
		}
		if p.TCPFlags != packet.FlagACK || p.Seq != want.seq || p.Ack != want.ack {
			r.t.Errorf("port %d: %+v, want %+v", f.port, p, want)
		}
	}
}
