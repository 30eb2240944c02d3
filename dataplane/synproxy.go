package dataplane

import (
	"sync/atomic"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/cookie"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
	"holdfast/rules"
	"holdfast/rules/config"
)

// A rule with syn_proxy has the firewall answer SYNs itself, in the server's name, with a
// cookie (dataplane/cookie), so that a SYN with a forged source takes no room anywhere. What
// the client's acknowledgement brings back begins the connection: the frame is turned into
// the SYN that the client must have sent, and goes on as one, through limits, translation
// and table. conntrack/proxied.go draws the whole handshake.
//
// The SYN/ACK closes the window, as pf's does: the client has nothing to lose and to send
// again before its server has said that it is there. It offers what the client offered,
// but timestamps, whose values would be the server's to choose. A lost SYN/ACK, like any
// lost before, costs the client's SYN again; nothing of ours is kept that could repeat it.

// SynProxy is what all workers share of it.
type SynProxy struct {
	Secret   cookie.Secret
	flooded  atomic.Bool // adaptive rules proxy
	measured int64       // when; worker 0's own
}

// Adaptive rules proxy from the first share of half-open connections until the second, in
// percent of the room that the complete ones leave in the table, looked at every floodedEvery
// ns. The numbers are those of pf's syncookies adaptive, which takes them of all room: then a
// table that is mostly full of complete connections is never flooded, since the flood's drive
// out each other long before.
//
// A flood can fill a small table between two looks, so a worker that has let floodedAfter
// SYNs pass looks, too. That costs 0.2 us a SYN.
const (
	floodedFrom  = 25
	floodedUntil = 12
	floodedEvery = int64(50e6)
	floodedAfter = 256
)

// measure looks when it is time. Worker 0 calls it.
func (s *SynProxy) measure(t *conntrack.Table, now int64) {
	if now-s.measured >= floodedEvery {
		s.measured = now
		s.look(t)
	}
}

// suspects reports whether adaptive rules proxy a SYN at hand.
func (w *Worker) suspects() bool {
	s, q := w.config.SynProxy, &w.proxying
	if s.Flooded() {
		return true
	}
	if q.passed++; q.passed < floodedAfter {
		return false
	}
	q.passed = 0
	s.look(w.snapshot.Table)
	return s.Flooded()
}

// look compares the share of half-open connections with the bounds. Safe from any goroutine.
func (s *SynProxy) look(t *conntrack.Table) {
	half, others := t.HalfOpen()
	room := t.Capacity() - others
	switch {
	case half*100 > floodedFrom*room:
		s.flooded.Store(true)
	case half*100 < floodedUntil*room:
		s.flooded.Store(false)
	}
}

// Flooded reports whether adaptive rules proxy. Safe from any goroutine.
func (s *SynProxy) Flooded() bool { return s.flooded.Load() }

// proxying is what one worker has of it.
type proxying struct {
	generation cookie.Generation
	until      int64 // it is right up to here
	passed     int   // SYNs of adaptive rules since the last look
	proof      proof // of the connection that is being begun
	answered   atomic.Uint64
	proven     atomic.Uint64
	refused    atomic.Uint64
	waiting    waiting
}

// proof is a cookie that came back.
type proof struct {
	valid  bool
	first  uint32 // the client's first number
	cookie uint32
}

// factsOf returns what the rules are told of a packet: one with a cookie stands for a SYN.
func (f *proof) factsOf(frame []byte, p *packet.Parsed) rules.Facts {
	facts := rules.FactsOf(frame, p)
	if f.valid {
		facts.TCPFlags = packet.FlagSYN
	}
	return facts
}

// generationNow returns the generation of cookies. The world's clock is read once a second
// at most: nodes of a cluster have no other in common.
func (w *Worker) generationNow() cookie.Generation {
	if q := &w.proxying; w.now >= q.until {
		q.generation, q.until = cookie.GenerationAt(time.Now().Unix()), w.now+int64(time.Second)
	}
	return w.proxying.generation
}

// proofOf looks for a cookie in a segment without a connection that begins none. Next to
// the client's acknowledgement, and its data, that is a probe of the closed window, whose
// number lies one before (RFC 9293 section 3.8.6.1).
func (w *Worker) proofOf(p *packet.Parsed, why drop.Reason) (found proof) {
	if why != drop.TCPNoConnection || !w.snapshot.Rules.Proxies() || !conntrack.MayPickUp(p) {
		return found
	}
	now, secret := w.generationNow(), &w.config.SynProxy.Secret
	for _, first := range [2]uint32{p.Seq - 1, p.Seq} {
		if secret.Check(&p.Tuple, first, p.Ack-1, now) {
			return proof{valid: true, first: first, cookie: p.Ack - 1}
		}
	}
	w.proxying.refused.Store(w.proxying.refused.Load() + 1)
	return found
}

// spared reports whether a packet without a connection is admitted however many are waiting:
// its sender has proven itself, and has nothing that it would send again.
func (w *Worker) spared(p *packet.Parsed) bool { return w.proofOf(p, conntrack.MayOpen(p)).valid }

// proxies reports whether the verdict on a SYN is that the firewall answers it.
func (w *Worker) proxies(b *burst, p *packet.Parsed, verdict *rules.Verdict) bool {
	if verdict.SynProxy == config.SynProxyNever || p.Tuple.Proto != packet.TCP || b.origin != fromWire || verdict.Mode == config.Sloppy {
		return false
	}
	return verdict.SynProxy == config.SynProxyAlways || w.suspects()
}

// answerSYN turns a SYN that a rule passes into the SYN/ACK that answers it, in its frame.
func (w *Worker) answerSYN(b *burst, i int, hop *fib.Hop) fate {
	if b.whole != nil {
		return dropped(drop.Fragment) // a SYN in pieces is no frame of ours
	}
	p, frame := &b.parsed[i], b.frame[i]
	out := w.shares[hop.Port]
	offer := cookie.Fit(p, min(b.in.bound(out, p.Version), segmentRoom(out, p.Version)))
	s := packet.Segment{
		To: packet.SrcMAC(frame), From: b.in.MAC, Tuple: p.Tuple.Reply(),
		Seq: w.config.SynProxy.Secret.Make(&p.Tuple, p.Seq, &offer, w.generationNow()), Ack: p.Seq + 1,
		Flags: packet.FlagSYN | packet.FlagACK, Offer: offer,
	}
	s.Offer.WScale = conntrack.ProxyScale
	if !w.overwrite(b, i, &s) {
		return dropped(drop.AddressInvalid)
	}
	w.proxying.answered.Store(w.proxying.answered.Load() + 1)
	b.in.stage(b.desc[i])
	w.logLater(b, i)
	return passed
}

// segmentRoom returns what the MTU of a port leaves for a segment.
func segmentRoom(out *share, version uint8) uint16 {
	headers := headers4
	if version == 6 {
		headers = headers6
	}
	return uint16(min(max(out.MTU-headers, 0), 1<<16-1))
}

// overwrite writes a segment of our own over a frame, and reports whether it could.
func (w *Worker) overwrite(b *burst, i int, s *packet.Segment) bool {
	buf := w.umem.Bytes(b.desc[i])
	buf = buf[:cap(buf)]
	n := packet.AppendSegment(buf, s)
	if n == 0 {
		return false
	}
	b.desc[i].Len = uint32(n)
	b.frame[i] = buf[:n]
	return true
}

// beginProven begins the connection of a client that has brought back its cookie: the frame
// becomes the SYN that it stands for.
func (w *Worker) beginProven(b *burst, i int, verdict *rules.Verdict, hop *fib.Hop, found *proof) (f fate, admitted bool) {
	if b.whole != nil {
		return dropped(drop.Fragment), false
	}
	p, offer := &b.parsed[i], cookie.OfferOf(found.cookie)
	window := uint32(p.Window)
	if offer.Has&packet.HasWScale != 0 {
		window <<= offer.WScale
	}
	s := packet.Segment{
		To: b.in.MAC, From: packet.SrcMAC(b.frame[i]), Tuple: p.Tuple, Seq: found.first,
		Flags: packet.FlagSYN, Window: uint16(min(window, 1<<16-1)), Offer: offer,
	}
	if !w.overwrite(b, i, &s) {
		return dropped(drop.AddressInvalid), false
	}
	if why := packet.Decode(b.frame[i], p); why != drop.Pass {
		return dropped(why), false
	}
	q := &w.proxying
	q.proof = *found
	f, admitted = w.beginWithin(b, i, verdict, hop)
	q.proof = proof{}
	if admitted && w.result.Change == conntrack.ChangeNew {
		q.proven.Store(q.proven.Load() + 1)
		q.waiting.add(w.result.Index, w.result.Incarnation, w.now)
	}
	return f, admitted
}

// proxyOf returns what the client of the connection that is being begun was answered.
func (w *Worker) proxyOf() conntrack.Proxy {
	return conntrack.Proxy{Cookie: w.proxying.proof.cookie, Proxied: w.proxying.proof.valid}
}

// deny is what becomes of a packet that its connection drops. What a client sends before
// its server has answered shows that it waits, so the server is asked again; and a server
// that answers for an older connection is told that nobody knows it, as the client itself
// would do (RFC 9293 section 3.10.7.3).
func (w *Worker) deny(b *burst, i int) fate {
	r := &w.result
	switch r.Reason {
	case drop.SYNProxyWaiting:
		w.askAgain(r.Index, r.Incarnation)
	case drop.SYNProxyStale:
		w.answer(b, i, packet.AppendReset)
	}
	return dropped(r.Reason)
}

// join completes a proxied connection, whose server's SYN/ACK is at hand: the server gets
// the acknowledgement, and the client the window that it waits for.
func (w *Worker) join(b *burst, i int) fate {
	p, r := &b.parsed[i], &w.result
	s := &r.State
	back, there := s.Class.Way(conntrack.Reply), s.Class.Way(conntrack.Original)
	toClient, toServer := s.Original.Reply(), s.Reply.Reply()
	w.sendTo(&there, &toServer, func(dst []byte, hop *fib.Hop, out *share) int {
		return packet.AppendSegment(dst, &packet.Segment{To: hop.MAC, From: out.MAC, Tuple: toServer,
			Seq: p.Ack, Ack: p.Seq + 1, Flags: packet.FlagACK, Window: r.Window})
	})
	w.sendTo(&back, &toClient, func(dst []byte, hop *fib.Hop, out *share) int {
		return packet.AppendSegment(dst, &packet.Segment{To: hop.MAC, From: out.MAC, Tuple: toClient,
			Seq: p.Seq + 1 + r.Splice.Seq, Ack: p.Ack, Flags: packet.FlagACK, Window: p.Window >> r.Splice.Down})
	})
	return fate{why: drop.Pass}
}

// Cookies counts what has become of a worker's cookies.
type Cookies struct {
	Answered uint64 // SYNs that got one
	Proven   uint64 // came back right and began a connection
	Refused  uint64 // segments without a connection, and without a right cookie
}

// Cookies returns the counts since the start. Safe from any goroutine.
func (w *Worker) Cookies() Cookies {
	q := &w.proxying
	return Cookies{q.answered.Load(), q.proven.Load(), q.refused.Load()}
}
