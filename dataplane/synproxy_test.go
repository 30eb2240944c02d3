package dataplane

import (
	"slices"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

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
	if got := r.w.Cookies(); got != (Cookies{Answered: 1, Refused: 4}) { // a reset brings no cookie
		t.Errorf("%+v", got)
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
