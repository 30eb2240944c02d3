package seal

// Outcome says what became of a received datagram. The zero value is illegal.
type Outcome uint8

// The outcomes of Receive.
const (
	Rejected   Outcome = 1 + iota // refused and counted; Result.Reject says why
	Progressed                    // part of a handshake: nothing in it for the caller
	Opened                        // Result.Plaintext was sealed by the peer
)

// Result is what Receive made of a datagram.
type Result struct {
	Outcome   Outcome
	Reject    Reject // Accepted, or why not
	Lane      Lane   // of an opened datagram
	Counter   uint64 // of an opened datagram, on its lane of the session
	Plaintext []byte // of an opened datagram; stands in the datagram's own bytes
	Reply     []byte // to send back now if not empty; also with a rejection (a knock)

	// Session is what an opened datagram was sealed under: not always the current one.
	Session *Session
	// Established is the session that this datagram made current, nil with all others.
	Established *Session
}

// Receive takes one datagram that came from the peer's address. It opens in place: the
// bytes of datagram are changed. The reply is appended to reply.
func (p *Peer) Receive(now int64, datagram, reply []byte) Result {
	r := p.receive(now, datagram, reply)
	p.rejects.add(r.Reject)
	return r
}

// receive is Receive without the count.
func (p *Peer) receive(now int64, datagram, reply []byte) Result {
	h, why := ParseHeader(datagram)
	if why != Accepted {
		return rejected(why)
	}
	switch h.Kind {
	case KindSealed:
		return p.receiveSealed(now, h, datagram, reply)
	case KindHandshake1:
		return p.receiveQuestion(now, h, datagram, reply)
	case KindHandshake2:
		return p.receiveAnswer(now, h, datagram, reply)
	}
	return p.receiveKnock(now, h, datagram, reply)
}

func rejected(why Reject) Result { return Result{Outcome: Rejected, Reject: why} }

func progressed(reply []byte) Result {
	return Result{Outcome: Progressed, Reject: Accepted, Reply: reply}
}

// receiveSealed opens datagram, and takes the first one of a session as its proof.
func (p *Peer) receiveSealed(now int64, h Header, datagram, reply []byte) Result {
	s := p.find(h.Session)
	if s == nil {
		r := rejected(RejectUnknownSession)
		last := &p.repliedAt
		if h.Lane == ConfirmLane {
			last = &p.disprovedAt
		}
		if len(datagram) >= Overhead && now-*last >= retryFirst {
			*last = now
			r.Reply = knock(h.Session, reply)
		}
		return r
	}
	plaintext, why := s.open(h, datagram[HeaderSize:HeaderSize], datagram)
	if why != Accepted {
		return rejected(why)
	}
	s.heard = now
	r := Result{Outcome: Opened, Reject: Accepted, Lane: h.Lane, Counter: h.Counter, Plaintext: plaintext, Session: s}
	if s == p.pending || s == p.next {
		p.promote(s, now)
		r.Established = s
	}
	if h.Lane == ConfirmLane && len(plaintext) == 0 {
		r.Outcome, r.Plaintext = Progressed, nil
		if s.part == Responder {
			r.Reply = s.Seal(ConfirmLane, reply, nil)
		}
	}
	return r
}

// receiveQuestion answers a handshake1 with a pending session.
func (p *Peer) receiveQuestion(now int64, h Header, datagram, reply []byte) Result {
	if why := checkHandshake(h, datagram); why != Accepted {
		return rejected(why)
	}
	if h.Session != 0 {
		return rejected(RejectMalformed)
	}
	body := datagram[HeaderSize:]
	if p.seen.has(body) {
		return rejected(RejectHandshakeReplayed)
	}
	for _, key := range p.keys {
		remote, state, why := readQuestion(p.random, key, body)
		if why == RejectUnauthentic {
			continue // perhaps under the other key
		}
		if why != Accepted {
			return rejected(why)
		}
		own := identity{session: p.freshID(), payload: p.payload}
		reply = appendHeader(reply, Header{Kind: KindHandshake2, Session: remote.session})
		reply, keys, why := answer(state, own, reply)
		if why != Accepted {
			return rejected(why)
		}
		p.seen.add(body)
		p.pending = p.begin(keys, key, own, remote, now)
		p.pending.part = Responder
		return progressed(reply)
	}
	return rejected(RejectUnauthentic)
}

// receiveAnswer takes the handshake2 that answers the outstanding question, and proves
// itself with the first datagram of the new session.
func (p *Peer) receiveAnswer(now int64, h Header, datagram, reply []byte) Result {
	if why := checkHandshake(h, datagram); why != Accepted {
		return rejected(why)
	}
	q := p.question
	if q == nil || h.Session != q.own.session {
		return rejected(RejectHandshakeUnasked)
	}
	remote, keys, why := q.readAnswer(datagram[HeaderSize:])
	if why != Accepted {
		return rejected(why)
	}
	p.question = nil
	p.attempts = 0
	p.next = p.begin(keys, q.key, q.own, remote, now)
	p.next.part = Initiator
	return progressed(p.confirm(now, reply))
}

// receiveKnock starts a handshake if the knock can be the peer's and none has just begun.
func (p *Peer) receiveKnock(now int64, h Header, datagram, reply []byte) Result {
	if len(datagram) != HeaderSize || !h.bare() {
		return rejected(RejectMalformed)
	}
	named := p.next
	if named == nil {
		named = p.current.Load()
	}
	ours := named == nil || h.Session == named.remoteID
	soon := now-p.obeyedAt < retryFirst || p.question != nil && now-p.question.at < retryFirst
	if !ours || soon || p.part == Responder {
		return rejected(RejectKnockIgnored)
	}
	p.obeyedAt = now
	p.next = nil
	return progressed(p.ask(now, reply))
}

// checkHandshake checks what can be checked of a handshake message before it is read.
func checkHandshake(h Header, datagram []byte) Reject {
	switch {
	case len(datagram) < handshakeMinSize:
		return RejectTruncated
	case len(datagram) > handshakeMaxSize || !h.bare():
		return RejectMalformed
	}
	return Accepted
}

// begin returns the session that a handshake led to.
func (p *Peer) begin(keys recordKeys, key Key, own, remote identity, now int64) *Session {
	s := newSession(keys)
	s.id, s.remoteID = own.session, remote.session
	s.key, s.remote = key, remote.payload
	s.created, s.heard = now, now
	if p.log != nil {
		s.logged = keys
	}
	return s
}
