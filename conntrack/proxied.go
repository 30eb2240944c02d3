package conntrack

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
)

// A proxied connection is one whose client was answered by the firewall, with a number C of
// its own (a cookie, dataplane/cookie), before its server was asked. The client's
// acknowledgement begins the connection; the server then chooses a number S.
//
//	client                     firewall                     server
//	   | SYN X                    |                            |
//	   |------------------------->| nothing is kept            |
//	   | SYN/ACK C, ack X+1, win 0|                            |
//	   |<-------------------------|                            |
//	   | ACK C+1                  | begins: waits  SYN X       |
//	   |------------------------->|--------------------------->|
//	   |                          |   SYN/ACK S, ack X+1       |
//	   | win, seq C+1             |<---------------------------|
//	   |<-------------------------| spliced        ACK S+1     |
//	   |                          |--------------------------->|
//	   |  data: seq + (C-S)  <----|----  as the server sends it|
//	   |  as the client sends it -|---->  ack and SACK - (C-S) |
//
// The table sees what the server sees: the edges hold the server's own numbers. So the
// server's segments are tracked as they come and spliced after it, the client's are spliced
// before. While the connection waits for its server its state is SYN_SENT, as that of any
// connection whose SYN has gone out; every segment of the client drops then, since the
// window is closed, and comes again.
//
// Windows: ProxyScale is what the client is told of the server's scale, before anybody
// knows it, so the server's windows are scaled anew; and those of the client where the
// server turns out not to scale.

// ProxyScale is the window scale in the SYN/ACK of a proxy, where the client offered one.
// It makes 8 MiB of 16 bits, in steps of 128 bytes.
const ProxyScale = 7

// proxyAgain is how often the proxy's SYN is sent again at most, in ms.
const proxyAgain = 1000

// Proxy is what the client of a proxied connection was answered. The zero value: nothing.
type Proxy struct {
	Cookie  uint32
	Proxied bool
}

// answered notes that the client of a connection that begins was answered.
func (c *Conn) answered(p Proxy) {
	if p.Proxied {
		c.flags |= Proxied
		c.offset = p.Cookie
	}
}

// waits reports whether the connection waits for its server's first word.
func (c *Conn) waits() bool { return c.flags&(Proxied|Spliced) == Proxied }

// trackProxied is trackTCP for a proxied connection.
func (c *Conn) trackProxied(p *packet.Parsed, dir Direction, mode Mode, r *Result) verdict {
	switch {
	case c.waits() && dir == Original:
		return c.trackWaiting(p, mode)
	case c.waits():
		return c.trackAnswer(p, mode, r)
	case dir == Reply:
		return c.trackTCP(p, dir, mode)
	case kindOf(p.TCPFlags) == kindSYN && (c.tcp() == TimeWait || c.tcp() == Close):
		return verdict{effect: effectSupersede} // the next life is answered by the firewall, too (E5)
	}
	seen := *p
	s := c.spliceOf(Original)
	s.Shift(&seen)
	return c.trackTCP(&seen, dir, mode)
}

// trackWaiting judges what a client sends before its server has answered.
func (c *Conn) trackWaiting(p *packet.Parsed, mode Mode) verdict {
	switch kindOf(p.TCPFlags) {
	case kindRST:
		return c.trackTCP(p, Original, mode)
	case kindSYN:
		// A new attempt is answered by the firewall again; what asks for the same life is old.
		if c.tcp() == Close || after(p.Seq, c.edge[Reply].maxAck) {
			return verdict{effect: effectSupersede}
		}
	}
	return dropped(drop.SYNProxyWaiting)
}

// trackAnswer judges what comes from a server before its SYN/ACK. With that the firewall
// acknowledges in the client's place, so the connection is complete.
func (c *Conn) trackAnswer(p *packet.Parsed, mode Mode, r *Result) verdict {
	switch kindOf(p.TCPFlags) {
	case kindRST:
		return c.trackTCP(p, Reply, mode)
	case kindACK:
		if c.tcp() == SynSent {
			return dropped(drop.SYNProxyStale) // of a connection that it has not forgotten (B7)
		}
	case kindSYNACK:
		v := c.trackTCP(p, Reply, mode)
		if v.effect != effectTrack || c.tcp() != SynRecv {
			return dropped(drop.TCPStateInvalid)
		}
		c.offset -= p.Seq
		c.flags |= Spliced
		r.Window = c.window16()
		ack := packet.Parsed{
			Tuple: packet.Tuple{Proto: packet.TCP}, TCPFlags: packet.FlagACK,
			Seq: p.Ack, Ack: p.Seq + 1, SACKRight: p.Seq + 1, Window: r.Window,
		}
		c.trackTCP(&ack, Original, mode)
		return v
	}
	return dropped(drop.TCPStateInvalid)
}

// window16 returns the window of the client's SYN as the next segment has to write it.
func (c *Conn) window16() uint16 {
	win := c.edge[Original].maxWin
	if c.sets[Original]&c.sets[Reply]&SeenScale != 0 {
		win >>= c.scale.of(Original)
	}
	return uint16(min(max(win, 1), 1<<16-1))
}

// splice fills in what the segments of a direction need, p at hand. The caller holds the
// home lock.
func (c *Conn) splice(p *packet.Parsed, dir Direction, r *Result) {
	switch {
	case c.flags&Spliced != 0:
		r.Splice, r.Spliced = c.spliceOf(dir), true
	case dir == Reply && p.TCPFlags&packet.FlagRST != 0:
		// A refusal: the client expects the number after the cookie.
		r.Splice, r.Spliced = packet.Splice{Seq: c.offset + 1 - p.Seq}, true
	}
}

// spliceOf returns what the segments of a direction of a spliced connection need.
func (c *Conn) spliceOf(dir Direction) (s packet.Splice) {
	if dir == Reply {
		s.Seq = c.offset
	} else {
		s.Ack = -c.offset
	}
	if c.sets[Original]&SeenScale == 0 {
		return s // nobody scales
	}
	scales := c.sets[Reply]&SeenScale != 0
	switch {
	case dir == Reply && scales:
		s.Up, s.Down = c.scale.of(Reply), ProxyScale
	case dir == Reply:
		s.Down = ProxyScale
	case !scales:
		s.Up = c.scale.of(Original)
	}
	return s
}

// Joined reports whether the packet of a result was the SYN/ACK that completed a proxied
// connection: it goes no further, and both ends are told by the firewall.
func (r *Result) Joined() bool { return r.Flags&^r.WasFlags&Spliced != 0 }

// Waiting is a proxied connection whose server has not answered.
type Waiting struct {
	Tuple  packet.Tuple // of the SYN, as it leaves
	Class  Class
	Seq    uint32 // of the SYN
	Cookie uint32
	Window uint16
}

// Again fills in what the SYN of a proxied connection must say that is to be sent again, and
// reports whether it is: nobody has answered, nor sent it for a second. sent says so too.
func (t *Table) Again(index uint32, incarnation Incarnation, now int64, w *Waiting) (waits, send bool) {
	c := t.entry(index)
	if c == nil {
		return false, false
	}
	home, live := t.lockLive(c)
	if !live {
		return false, false
	}
	defer t.unlock(home)
	if c.incarnation != incarnation || !c.waits() || c.tcp() != SynSent || t.dead(c) {
		return false, false
	}
	ms := milliseconds(now)
	if ms-c.memoPos < proxyAgain || ms-c.seen < proxyAgain { // no memo is kept while it waits: its place holds when
		return true, false
	}
	c.memoPos = ms
	reply := t.tupleOf(c, index, Reply)
	*w = Waiting{
		Tuple: reply.Reply(), Class: t.classOf(c), Seq: c.edge[Reply].maxAck, Cookie: c.offset,
		Window: uint16(min(c.edge[Original].maxWin, 1<<16-1)),
	}
	return true, true
}

// ClientShift returns what must be added to the server's numbers, as edges have them, for
// the client to know them.
func (s *State) ClientShift(edges *[2]Edge) uint32 {
	switch s.Flags & (Proxied | Spliced) {
	case Proxied | Spliced:
		return s.Offset
	case Proxied:
		return s.Offset + 1 - edges[Original].Acked
	}
	return 0
}
