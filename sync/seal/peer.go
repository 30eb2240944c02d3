package seal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// The times of a Peer, in nanoseconds of the caller's clock.
const (
	retryFirst = int64(100 * time.Millisecond) // first repetition of an unanswered message; knocks
	retryLast  = int64(800 * time.Millisecond) // the wait doubles up to this
	// renewAge is when a session is replaced: an hour bounds what a stolen session key
	// is worth. The responder waits longer, so that the two do not start at once.
	renewAge   = int64(time.Hour)
	renewSlack = int64(5 * time.Minute)
	// linger is how long a replaced session opens datagrams after the last one it
	// opened: what was on the way at the change is not lost.
	linger = int64(10 * time.Second)
	// pendingLife is how long an unproven session waits for its proof.
	pendingLife = int64(5 * time.Second)
)

// replacedMax is how many replaced sessions still open: after two crossed handshakes
// in a row the two ends use four sessions.
const replacedMax = 3

// Peer holds the sessions with one other node and makes new ones. It is a pure machine:
// Receive takes what came, Tick says what is due, both return what to send.
//
// A session becomes current, the one to seal under, when the first sealed datagram opens
// under it: only then is it proven that the other end holds its keys now. Both ends
// follow the same rule; until then the sessions before it stay as they are.
//
//	         Initiator                                      Responder
//
//	Tick: none, old, spent, renewed
//	or a knock
//	       |  handshake1 ------------------------------------->  |
//	   [asked]  repeated after 0.1 .. 0.8 s, each a new one      |  authentic, not seen before
//	       |  <------------------------------------- handshake2  v
//	       v                                                 [pending]   a newer one replaces it,
//	   [next]  repeated like handshake1, given up after 5 s      |       forgotten after 5 s
//	       |  sealed, empty, ConfirmLane --------------------->  |
//	       |                                                     v
//	       |  <--------------------- sealed, empty, ConfirmLane  current; the old one is replaced
//	       v
//	    current; the old one is replaced
//
// A replaced session still opens, and is gone after 10 s without a datagram or when three
// later ones are replaced.
//
// When both start at once, two sessions come to be, and each end may seal under either:
// both open both, as long as they are used.
//
// A sealed datagram of an unknown session (this node was restarted) is answered with a
// knock that repeats its session id. A knock is obeyed, at most every 100 ms, if it names
// the session being confirmed, else the current one; without either, whatever it names.
//
// Receive, Tick, Renew and SetKeys belong to one goroutine; Session and Rejects are safe
// from any.
type Peer struct {
	part    Part
	keys    []Key // first: used to ask; all: accepted
	payload []byte
	random  io.Reader

	current  atomic.Pointer[Session]
	replaced [replacedMax]*Session // former current ones, the latest first, nil at the end
	pending  *Session              // we answered, the peer has not proven itself
	next     *Session              // we asked and were answered, the same
	question *question
	seen     asked

	attempts  uint  // questions or confirmations since the last success
	attemptAt int64 // when the last one was sent
	repliedAt int64 // when we last answered an unknown session with a knock; those of Tick do
	// not count: two nodes whose waits had come into step would stop each other's for good
	// disprovedAt is the same for proofs (ConfirmLane). The initiator obeys a knock that names the
	// session that it proves, and while it does so it seals all else under the one before: were
	// the limit one, what is sent often would take all knocks, and the proof get none.
	disprovedAt int64
	obeyedAt    int64 // when we last obeyed a knock
	renew       renewal

	log     func(SessionKey)
	rejects Counters
}

// renewal says whether somebody wants a new session although the current one is good.
type renewal uint8

const (
	renewalNone renewal = iota
	renewalWanted
)

// Config is what a Peer needs to know.
type Config struct {
	Keys    []Key  // one or two: the first is used to ask, all are accepted
	Payload []byte // what this node says of itself in a handshake, at most MaxPayload bytes
	Part    Part
	Random  io.Reader // of ephemeral keys and session ids; crypto/rand.Reader where nil
	// Log, where not nil, is given both keys of every session that becomes current. It is
	// called on the goroutine of Receive and must not block.
	Log func(SessionKey)
}

// NewPeer returns a Peer without a session.
func NewPeer(c Config) (*Peer, error) {
	if len(c.Payload) > MaxPayload {
		return nil, fmt.Errorf("handshake payload of %d bytes: at most %d fit", len(c.Payload), MaxPayload)
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	p := &Peer{part: c.Part, payload: append([]byte(nil), c.Payload...), random: c.Random, log: c.Log}
	never := -retryLast // everything is due at time 0
	p.attemptAt, p.repliedAt, p.disprovedAt, p.obeyedAt = never, never, never, never
	if err := p.SetKeys(c.Keys); err != nil {
		return nil, err
	}
	return p, nil
}

// SetKeys replaces the keys, the first to use first, and makes a new session due.
// Sessions in use go on.
func (p *Peer) SetKeys(keys []Key) error {
	if len(keys) == 0 || len(keys) > MaxKeys {
		return fmt.Errorf("%d keys: one is needed, %d are possible", len(keys), MaxKeys)
	}
	for _, k := range keys {
		if k == (Key{}) {
			return errors.New("a key of zeros is no secret")
		}
	}
	p.keys = append([]Key(nil), keys...)
	p.question = nil
	p.Renew()
	return nil
}

// Renew makes a new session due.
func (p *Peer) Renew() { p.renew = renewalWanted }

// Session returns the current session, nil if there is none yet. A caller seals under
// what it returns now, and asks again for the next batch.
func (p *Peer) Session() *Session { return p.current.Load() }

// Rejects returns the counters of what was received.
func (p *Peer) Rejects() *Counters { return &p.rejects }

// Owns reports whether a datagram with this session id in its header is for p.
func (p *Peer) Owns(id uint32) bool {
	return p.find(id) != nil || p.question != nil && p.question.own.session == id
}

// find returns the session that has id on this node, or nil.
func (p *Peer) find(id uint32) *Session {
	for _, s := range [...]*Session{p.current.Load(), p.pending, p.next} {
		if s != nil && s.id == id {
			return s
		}
	}
	for _, s := range p.replaced {
		if s != nil && s.id == id {
			return s
		}
	}
	return nil
}

// freshID returns an id that none of p's sessions has. Ids are no secret; they are
// random so that those of several Peers on one socket differ, and a restart's too.
func (p *Peer) freshID() uint32 {
	for {
		var raw [4]byte
		draw(p.random, raw[:])
		if id := binary.BigEndian.Uint32(raw[:]); id != 0 && !p.Owns(id) {
			return id
		}
	}
}

// Tick forgets what has timed out, and appends to out the one datagram that is due now,
// if any. Call it often compared with 100 ms; now is monotonic, in nanoseconds.
func (p *Peer) Tick(now int64, out []byte) []byte {
	p.forget(now)
	waited := now - p.attemptAt
	switch {
	case p.next != nil:
		if waited < p.patience() {
			return out
		}
		return p.confirm(now, out)
	case !p.due(now) || waited < p.patience():
		return out
	case p.pending != nil && now-p.pending.created < retryFirst:
		return out // the peer's own handshake is about to give what we want
	case p.part == Responder:
		p.attempted(now)
		var named uint32
		if s := p.current.Load(); s != nil {
			named = s.id
		}
		return knock(named, out)
	}
	return p.ask(now, out)
}

// due reports whether a new session is wanted.
func (p *Peer) due(now int64) bool {
	s := p.current.Load()
	if s == nil || p.renew == renewalWanted || s.spent() >= renewAfter {
		return true
	}
	age := renewAge
	if s.part == Responder {
		age += renewSlack
	}
	return now-s.created >= age
}

// patience returns how long to wait after the last attempt.
func (p *Peer) patience() int64 {
	if p.attempts == 0 {
		return 0
	}
	return min(retryFirst<<min(p.attempts-1, 8), retryLast)
}

// attempted notes that something that wants an answer goes out now.
func (p *Peer) attempted(now int64) {
	p.attempts++
	p.attemptAt = now
}

// ask appends a handshake1 to out; the one before it is no longer outstanding.
func (p *Peer) ask(now int64, out []byte) []byte {
	p.attempted(now)
	p.question = ask(p.random, p.keys[0], identity{session: p.freshID(), payload: p.payload}, now)
	_, message := p.question.message()
	p.seen.add(message)
	out = appendHeader(out, Header{Kind: KindHandshake1})
	return append(out, message...)
}

// confirm appends to out the proof that this node holds the keys of the next session.
func (p *Peer) confirm(now int64, out []byte) []byte {
	p.attempted(now)
	return p.next.Seal(ConfirmLane, out, nil)
}

// knock appends to out a knock that names session, an id of this node's side.
func knock(session uint32, out []byte) []byte {
	return appendHeader(out, Header{Kind: KindKnock, Session: session})
}

// forget drops the sessions that nobody used in time.
func (p *Peer) forget(now int64) {
	if p.pending != nil && now-p.pending.created >= pendingLife {
		p.pending = nil
	}
	if p.next != nil && now-p.next.created >= pendingLife {
		p.next = nil
	}
	kept := 0
	for i, s := range p.replaced {
		p.replaced[i] = nil
		if s != nil && now-s.heard < linger {
			p.replaced[kept] = s
			kept++
		}
	}
}

// promote makes s, pending or next, the current session.
func (p *Peer) promote(s *Session, now int64) {
	if p.pending == s {
		p.pending = nil
	}
	if p.next == s {
		p.next = nil
	}
	p.question = nil
	p.attempts = 0
	if s.part == Initiator || p.part == Responder || s.key == p.keys[0] {
		p.renew = renewalNone
	}
	if old := p.current.Load(); old != nil {
		old.heard = now // it lingers from now on
		copy(p.replaced[1:], p.replaced[:])
		p.replaced[0] = old
	}
	if p.log != nil {
		p.log(SessionKey{Session: s.remoteID, Key: s.logged.seal})
		p.log(SessionKey{Session: s.id, Key: s.logged.open})
	}
	p.current.Store(s)
}
