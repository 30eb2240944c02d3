package oracle

import (
	"math/rand/v2"
	"testing"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// victim is a live connection that a blind attacker knows the addresses and ports of.
type victim struct {
	flow  flow
	index uint32 // its connection in the table
	live  bool
	next  [2]uint32 // the next sequence number of each side
}

// siege is 100 victims in one table.
type siege struct {
	subject *subject
	victims [100]victim
	frame   []byte
}

// send sends a packet of a victim's flow.
func (g *siege) send(v *victim, p *segment) observation {
	s := g.subject
	s.index, s.live = v.index, v.live
	g.frame = p.frame(g.frame[:0], &v.flow, 0)
	o := s.send(g.frame, p.from, false)
	v.index, v.live = s.index, s.live
	return o
}

// open opens a victim's connection.
func (g *siege) open(t *testing.T, v *victim) {
	c, d := v.next[lan], v.next[wan]
	for _, p := range []segment{
		{from: lan, flags: syn, seq: c, win: 64240, scale: 7, sackOK: true},
		{from: wan, flags: syn | ack, seq: d, ack: c + 1, win: 65160, scale: 7, sackOK: true},
		{from: lan, flags: ack, seq: c + 1, ack: d + 1, win: 502, scale: -1},
	} {
		if o := g.send(v, &p); !o.passed {
			t.Fatalf("%v did not pass", &p)
		}
	}
	v.next = [2]uint32{c + 1, d + 1}
}

// alive reports whether a victim still carries data both ways, as an established
// connection.
func (g *siege) alive(t *testing.T, v *victim) bool {
	c, d := v.next[lan], v.next[wan]
	for _, p := range []segment{
		{from: lan, flags: ack | psh, seq: c, ack: d, win: 502, scale: -1, length: 100},
		{from: wan, flags: ack | psh, seq: d, ack: c + 100, win: 502, scale: -1, length: 1000},
		{from: lan, flags: ack, seq: c + 100, ack: d + 1000, win: 502, scale: -1},
	} {
		if o := g.send(v, &p); !o.passed || !o.refreshed || o.state != conntrack.Established || !o.assured {
			t.Errorf("lost: %v => %v [%v]", &p, &o, o.reason)
			return false
		}
	}
	return true
}

// TestREL35_BlindPackets sends resets, SYNs, SYN/ACKs and ICMP errors with the right
// addresses and ports and random numbers, from both sides, into 100 live connections.
// None is lost.
func TestREL35_BlindPackets(t *testing.T) {
	const packets = 100_000
	r := rand.New(rand.NewPCG(35, *seedFlag))
	g := &siege{subject: newSubject(t, 200)}
	for i := range g.victims {
		v := &g.victims[i]
		v.flow = flow{client: [4]byte{10, 0, 1, byte(i)}, server: [4]byte{198, 18, 0, 1}, clientPort: uint16(40000 + i), serverPort: 443, proto: packet.TCP}
		v.next = [2]uint32{r.Uint32(), r.Uint32()}
		g.open(t, v)
	}
	passed := map[string]int{}
	flags := []packet.TCPFlags{rst, rst, rst, rst | ack, syn, syn, syn | ack, 0}
	for range packets {
		v := &g.victims[r.IntN(len(g.victims))]
		p := segment{from: side(r.IntN(2)), flags: flags[r.IntN(len(flags))], seq: r.Uint32(), ack: r.Uint32(), win: uint16(r.Uint32()), scale: -1}
		if p.flags != 0 {
			if g.send(v, &p).passed {
				passed[kindNames[kindOf(p.flags)]]++
			}
			continue
		}
		bogus := victim{flow: v.flow}
		bogus.flow.proto = packet.ICMP
		p = segment{from: p.from, icmp: []uint8{3, 4, 5, 11, 12}[r.IntN(5)], length: 30, quote: true, scale: -1}
		if g.send(&bogus, &p).passed {
			t.Fatalf("an ICMP error of type %d passed", p.icmp)
		}
	}
	lost := 0
	for i := range g.victims {
		if !g.alive(t, &g.victims[i]) {
			lost++
		}
	}
	t.Logf("%d blind packets, %d of %d connections lost; passed without harm, by kind: %v", packets, lost, len(g.victims), passed)
}
