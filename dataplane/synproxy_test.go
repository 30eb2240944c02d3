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
)

// proxyPolicy translates the source (from lan) or the destination (from wan).
const proxyPolicy = `
[ports.lan]
addresses = ["10.0.0.1/24"]
[ports.wan]
addresses = ["203.0.113.2/24"]
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

// The ends of a connection from inside that is masqueraded, and of one from outside that is
// turned to a host inside.
var proxied = map[string]struct{ client, server host }{
	"masquerade": {
		host{lan, macClient, macLan, client, server, 40000, 80},
		host{wan, macServer, macWan, server, wanAddr, 80, 40000},
	},
	"dnat": {
		host{wan, macServer, macWan, server, wanAddr, 40000, 8080},
		host{lan, macClient, macLan, client, server, 80, 40000},
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
	r := &proxyRig{rig: rigOf(t, fmt.Sprintf(proxyPolicy, when), rigRoutes, rigNeighbors, 1000)}
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

// TestB16_Handshake: the firewall answers, the server hears of the client when that has
// proven itself, data goes both ways with the numbers that each end knows over their wraps,
// SACK blocks too, and the connection closes.
func TestB16_Handshake(t *testing.T) {
	for name := range proxied {
		t.Run(name, func(t *testing.T) {
			r := newProxyRig(t, name, "always")
			c := r.open(clientOffers, serverOffers)
			cl, sv := &r.client, &r.server
			cs, ss := uint32(clientFirst+1), uint32(serverFirst+1)
			for range 40 { // past both wraps
				if p := r.says(cl, sv, tcp{flags: packet.FlagACK, seq: cs, ack: c + ss - serverFirst, window: 1000, payload: 100}); p.Seq != cs || p.Ack != ss || p.Window != 1000 {
					t.Fatalf("the server got %+v, want seq %d ack %d", p, cs, ss)
				}
				cs += 100
				if p := r.says(sv, cl, tcp{flags: packet.FlagACK, seq: ss, ack: cs, window: 512, payload: 100}); p.Seq != c+ss-serverFirst || p.Ack != cs || p.Window != 512<<9>>7 {
					t.Fatalf("the client got %+v, want seq %d ack %d", p, c+ss-serverFirst, cs)
				}
				ss += 100
			}
			// A segment is lost: the client selects what it has, one block whole, at an odd offset.
			r.says(sv, cl, tcp{flags: packet.FlagACK, seq: ss + 100, ack: cs, window: 512, payload: 100})
			know := c + ss - serverFirst
			sack := append([]byte{1, 1, 1, 5, 10}, word4(know+100)...)
			sack = append(append(sack, word4(know+200)...), 1, 1, 0)
			left := r.feed(cl.at, cl.frame(tcp{flags: packet.FlagACK, seq: cs, ack: know, window: 1000, options: sack}))
			p := r.only(sv, left)
			if p.Ack != ss || p.SACKRight != ss+200 {
				t.Errorf("the server learns of %d up to %d, want %d and %d", p.Ack, p.SACKRight, ss, ss+200)
			}
			r.says(sv, cl, tcp{flags: packet.FlagACK, seq: ss, ack: cs, window: 512, payload: 100}) // again
			ss += 200
			r.says(sv, cl, tcp{flags: packet.FlagACK | packet.FlagFIN, seq: ss, ack: cs, window: 512})
			ss++
			r.says(cl, sv, tcp{flags: packet.FlagACK | packet.FlagFIN, seq: cs, ack: c + ss - serverFirst, window: 1000})
			r.says(sv, cl, tcp{flags: packet.FlagACK, seq: ss, ack: cs + 1, window: 512})
			if r.w.result.TCP != conntrack.TimeWait {
				t.Errorf("it is %v, want TIME_WAIT", r.w.result.TCP)
			}
		})
	}
}

func word4(n uint32) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }

// TestB16_Offers: the server is offered what the client offered, and where it does not scale
// the client's windows are unscaled for it.
func TestB16_Offers(t *testing.T) {
	for name, row := range map[string]struct {
		client, server     []byte
		toServer, toClient uint16 // windows of 1000 and 512
	}{
		"both scale":       {clientOffers, serverOffers, 1000, 512 << 9 >> 7},
		"client alone":     {clientOffers, nil, 1000 << 6, 512 >> 7},
		"client nothing":   {nil, nil, 1000, 512},
		"server scale 0":   {clientOffers, []byte{1, 3, 3, 0}, 1000, 512 >> 7},
		"client scale 14":  {[]byte{1, 3, 3, 14}, serverOffers, 1000, 512 << 9 >> 7},
		"client SACK only": {[]byte{1, 1, 4, 2}, serverOffers[:8], 1000, 512},
	} {
		t.Run(name, func(t *testing.T) {
			r := newProxyRig(t, "masquerade", "always")
			c := r.knock(row.client)
			var asked packet.Parsed
			packet.Decode(r.client.frame(tcp{flags: packet.FlagSYN, options: row.client}), &asked)
			syn := r.says(&r.client, &r.server, tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 1, window: 1004})
			const kept = packet.HasWScale | packet.HasSACKPermitted
			if syn.TCPOptions&kept != asked.TCPOptions&kept || syn.WScale != asked.WScale || syn.MSS > 1460 || asked.MSS == 0 && syn.MSS != 536 {
				t.Errorf("the server is offered %+v, the client said %+v", syn, asked)
			}
			r.accept(c, row.server)
			if p := r.says(&r.client, &r.server, tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 1, window: 1000, payload: 1}); p.Window != row.toServer {
				t.Errorf("the server sees a window of %d, want %d", p.Window, row.toServer)
			}
			if p := r.says(&r.server, &r.client, tcp{flags: packet.FlagACK, seq: serverFirst + 1, ack: clientFirst + 2, window: 512, payload: 1}); p.Window != row.toClient {
				t.Errorf("the client sees a window of %d, want %d", p.Window, row.toClient)
			}
		})
	}
}

// TestB16_Forged: an acknowledgement without a right cookie begins nothing and dies as any
// segment without a connection does; nor does a right one of another port or time.
func TestB16_Forged(t *testing.T) {
	r := newProxyRig(t, "masquerade", "always")
	c := r.knock(clientOffers)
	other := r.client
	other.own++
	for name, frame := range map[string][]byte{
		"guess":      r.client.frame(tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 2}),
		"other port": other.frame(tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 1}),
		"other seq":  r.client.frame(tcp{flags: packet.FlagACK, seq: clientFirst + 9, ack: c + 1}),
		"reset":      r.client.frame(tcp{flags: packet.FlagACK | packet.FlagRST, seq: clientFirst + 1, ack: c + 1}),
	} {
		if left := r.feed(lan, frame); len(left) != 0 || !slices.Equal(r.dropped(lan), []drop.Reason{drop.TCPNoConnection}) {
			t.Errorf("%s: %d frames left", name, len(left))
		}
	}
	r.w.proxying.generation += 3 // some minutes later
	if left := r.feed(lan, r.client.frame(tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 1})); len(left) != 0 {
		t.Error("an old cookie is accepted")
	}
	if n := r.w.snapshot.Table.Len(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// TestB16_Probe: where the client's acknowledgement was lost its probe of the closed window
// begins the connection, with its number one before.
func TestB16_Probe(t *testing.T) {
	r := newProxyRig(t, "dnat", "always")
	c := r.knock(clientOffers)
	if p := r.says(&r.client, &r.server, tcp{flags: packet.FlagACK, seq: clientFirst, ack: c + 1, window: 1004}); p.Seq != clientFirst || p.TCPFlags != packet.FlagSYN {
		t.Fatalf("the server got %+v", p)
	}
	r.accept(c, serverOffers)
}

// TestB16_Retransmitted: the SYN to the server is sent again once a second, by the clock and
// by what the client says, until the server answers; in the end the client is reset.
func TestB16_Retransmitted(t *testing.T) {
	begin := func(t *testing.T) (*proxyRig, uint32, *packet.Parsed) {
		r := newProxyRig(t, "masquerade", "always")
		c := r.knock(clientOffers)
		first := *r.says(&r.client, &r.server, tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 1, window: 1004})
		return r, c, &first
	}
	t.Run("clock", func(t *testing.T) {
		r, c, first := begin(t)
		r.w.askServers()
		if n := r.discard(); n != 0 {
			t.Fatal("it is sent again at once")
		}
		for range waitTries {
			r.w.now += waitEvery
			r.w.askServers()
			again := r.only(&r.server, r.take())
			if again.Seq != first.Seq || again.TCPFlags != packet.FlagSYN || again.Tuple != first.Tuple || again.MSS != first.MSS ||
				again.WScale != first.WScale || again.TCPOptions != first.TCPOptions || again.Window != first.Window {
				t.Fatalf("again %+v, first %+v", again, first)
			}
		}
		r.w.now += waitEvery
		r.w.askServers()
		if p := r.only(&r.client, r.take()); p.TCPFlags&packet.FlagRST == 0 || p.Seq != c+1 {
			t.Errorf("the client is told %+v, want a reset of %d", p, c+1)
		}
		if n := r.w.snapshot.Table.Len(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
	t.Run("client", func(t *testing.T) {
		r, c, first := begin(t)
		data := r.client.frame(tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 1, window: 1004, payload: 1})
		if left := r.feed(lan, data); len(left) != 0 || !slices.Equal(r.dropped(lan), []drop.Reason{drop.SYNProxyWaiting}) {
			t.Fatal("data of the client leaves, or asks again at once")
		}
		r.w.now += waitEvery
		if p := r.only(&r.server, r.feed(lan, data)); p.TCPFlags != packet.FlagSYN || p.Seq != first.Seq {
			t.Fatalf("the server got %+v", p)
		}
		if left := r.feed(lan, data); len(left) != 0 {
			t.Fatal("twice in a second")
		}
		r.accept(c, serverOffers)
		r.w.now += waitEvery
		r.w.askServers()
		if n := r.discard(); n != 0 {
			t.Error("it is sent although the server has answered")
		}
		if p := r.says(&r.client, &r.server, tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 1, window: 1004, payload: 1}); p.Ack != serverFirst+1 {
			t.Errorf("the data is lost: %+v", p)
		}
	})
}

// TestB16_Refused: a server's refusal reaches the client with the number that it believes,
// and a SYN after it is answered by the firewall again.
func TestB16_Refused(t *testing.T) {
	for name := range proxied {
		t.Run(name, func(t *testing.T) {
			r := newProxyRig(t, name, "always")
			c := r.knock(clientOffers)
			r.says(&r.client, &r.server, tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 1, window: 1004})
			p := r.says(&r.server, &r.client, tcp{flags: packet.FlagRST | packet.FlagACK, ack: clientFirst + 1})
			if p.TCPFlags&packet.FlagRST == 0 || p.Seq != c+1 {
				t.Errorf("the client got %+v, want a reset of %d", p, c+1)
			}
			p = r.says(&r.client, &r.client, tcp{flags: packet.FlagSYN, seq: clientFirst + 1000, options: clientOffers})
			if p.TCPFlags != packet.FlagSYN|packet.FlagACK {
				t.Errorf("a new SYN is answered by %+v", p)
			}
		})
	}
}

// TestB16_Stale: a server that still has an older connection of the same ports answers the
// SYN with an acknowledgement of that: it is reset, and the SYN sent again (B7).
func TestB16_Stale(t *testing.T) {
	r := newProxyRig(t, "masquerade", "always")
	c := r.knock(clientOffers)
	r.says(&r.client, &r.server, tcp{flags: packet.FlagACK, seq: clientFirst + 1, ack: c + 1, window: 1004})
	p := r.says(&r.server, &r.server, tcp{flags: packet.FlagACK, seq: 77, ack: 4711})
	if p.TCPFlags != packet.FlagRST || p.Seq != 4711 {
		t.Errorf("the server got %+v, want a reset of 4711", p)
	}
	r.w.now += waitEvery
	r.w.askServers()
	if p := r.only(&r.server, r.take()); p.TCPFlags != packet.FlagSYN {
		t.Errorf("the server got %+v", p)
	}
	r.accept(c, serverOffers)
}

// TestB16_Error: an ICMP error about a server's segment comes to it with its own number.
func TestB16_Error(t *testing.T) {
	r := newProxyRig(t, "masquerade", "always")
	r.open(clientOffers, serverOffers)
	left := r.feed(wan, r.server.frame(tcp{flags: packet.FlagACK, seq: serverFirst + 1, ack: clientFirst + 1, window: 512, payload: 100}))
	r.only(&r.client, left)
	sent := r.parsed
	var buf [256]byte
	packet.SetMACs(left[0].frame, macLan, macClient) // as if the client's side had made it
	n := packet.AppendTooBig(buf[:], left[0].frame, &sent, client, 1300)
	packet.SetMACs(buf[:n], macLan, macClient)
	back := r.feed(lan, buf[:n])
	p := r.only(&r.server, back)
	var q packet.Quote
	if why := packet.DecodeQuote(back[0].frame, p, &q); why != drop.Pass || q.Seq != serverFirst+1 {
		t.Errorf("%v: the server is told of %d, want %d", why, q.Seq, uint32(serverFirst+1))
	}
}

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
	if answered, proven := r.w.Cookies(); answered != uint64(floodPackets()/10+1) || proven != 1 {
		t.Errorf("%d answered, %d proven", answered, proven)
	}
}

// TestB16_NoAllocs: neither an answer nor a spliced segment allocates.
func TestB16_NoAllocs(t *testing.T) {
	if racing {
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
