package conntrack

import (
	"math/rand/v2"
	"testing"

	"holdfast/dataplane/packet"
)

// TestEstablishedIsTheLongWay sends random segments, most of them sane, through copies of
// one connection, by the short way and by the long one, and compares what became of them.
func TestEstablishedIsTheLongWay(t *testing.T) {
	rounds := 4000
	if raceBuild {
		rounds = 400
	}
	var short, long, due int
	for seed := range rounds {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		c := &Conn{proto: packet.TCP, flags: Replied | Assured}
		near := []uint32{0, 1 << 31, 1<<32 - 3000, r.Uint32()}
		pos := [2]uint32{near[r.IntN(4)] + r.Uint32N(2000), near[r.IntN(4)] + r.Uint32N(2000)}
		offer := Seen(r.IntN(4)) * SeenScale & (SeenScale | SeenSACK)
		for d := range c.edge {
			c.sets[d] = SeenSYN | SeenSYNAcked | offer
			c.edge[d].setPosition(1<<32 + uint64(pos[d]))
			c.edge[d].maxEnd = pos[d] + 60000
			c.edge[d].maxAck = pos[d^1]
			c.edge[d].maxWin = 60000
			c.setScale(Direction(d), uint8(r.IntN(15))*uint8(offer&SeenScale>>5))
		}
		for range 60 {
			dir := Direction(r.IntN(2))
			s, peer := &c.edge[dir], &c.edge[dir^1]
			wiggle := func(from uint32, by uint32) uint32 {
				switch r.IntN(8) {
				case 0:
					return from + r.Uint32N(2*by) - by
				case 1:
					return from + r.Uint32N(5)
				}
				return from
			}
			p := tcpPacket(tuple(packet.TCP, "10.0.0.1", 1, "10.0.0.2", 2), packet.FlagACK, wiggle(uint32(s.end), 70000), wiggle(uint32(peer.end), 70000))
			p.End += 1460
			p.Payload = uint16(p.End) - uint16([]int{0, 0, 1, 500, 1460}[r.IntN(5)])
			p.Window = uint16([]uint32{0, 1, 1000, 65535, r.Uint32()}[r.IntN(5)])
			p.SACKRight = p.Ack
			if r.IntN(6) == 0 {
				p.TCPOptions |= packet.HasSACK
				p.SACKRight += r.Uint32N(3000)
			}
			switch r.IntN(60) {
			case 0:
				p.TCPFlags |= packet.FlagFIN
			case 1:
				p.TCPFlags = packet.FlagRST | packet.FlagACK
			case 2:
				p.TCPFlags |= packet.FlagURG
			case 3:
				c.setAhead(Direction(r.IntN(2)))
			case 4:
				c.remember(memo{kind: memoSYN, pos: r.Uint32()})
			default:
				p.TCPFlags |= packet.FlagPSH * packet.TCPFlags(r.IntN(2))
			}
			a, b := clone(c), clone(c)
			before := b.shape()
			v := b.trackTCP(&p, dir, ModeStrict)
			bDue := v.effect == effectTrack && b.due(&before)
			known, aDue := a.trackEstablished(&p, dir)
			if !known {
				if long++; *conview(a) != *conview(c) {
					t.Fatalf("seed %d: changed a connection that it does not know", seed)
				}
			} else {
				short++
				if v.effect != effectTrack || *conview(a) != *conview(b) || aDue != bDue {
					t.Fatalf("seed %d: %v %+v\nfrom  %+v\nshort %+v due %v\nlong  %+v due %v, %v", seed, dir, p, conview(c), conview(a), aDue, conview(b), bDue, v)
				}
				if aDue {
					due++
				}
			}
			c = b
		}
	}
	t.Logf("%d by the short way, %d of them due; %d by the long one", short, due, long)
	if short < long/10 || due == 0 {
		t.Error("the test does not reach what it is for")
	}
}

// plainConn is what of a Conn can be compared.
type plainConn struct {
	flags  Flags
	marks  marks
	scale  scales
	sets   [2]Seen
	memoIs uint8
	edge   [2]edge
}

func conview(c *Conn) *plainConn {
	return &plainConn{c.flags, c.marks, c.scale, c.sets, c.memoIs, c.edge}
}

func clone(c *Conn) *Conn {
	return &Conn{
		proto: c.proto, flags: c.flags, marks: c.marks, scale: c.scale, sets: c.sets, edge: c.edge,
		memoIs: c.memoIs, memoPos: c.memoPos, memoWindow: c.memoWindow,
	}
}
