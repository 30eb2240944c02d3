package seal

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

const ms = int64(time.Millisecond)

// end is one node in a test: a Peer and what it has opened.
type end struct {
	*Peer
	t           *testing.T
	name        string
	opened      []string
	established int
}

// link carries datagrams between two ends in order, and keeps a recording of all.
type link struct {
	t        *testing.T
	now      int64
	a, b     *end
	recorded map[Kind][][]byte
}

func newEnd(t *testing.T, name string, part Part, keys ...Key) *end {
	t.Helper()
	p, err := NewPeer(Config{Keys: keys, Part: part, Payload: []byte(name)})
	if err != nil {
		t.Fatal(err)
	}
	return &end{Peer: p, t: t, name: name}
}

func newLink(t *testing.T, partA, partB Part) *link {
	k := NewKey()
	return &link{
		t: t, a: newEnd(t, "node a", partA, k), b: newEnd(t, "node b", partB, k),
		recorded: map[Kind][][]byte{},
	}
}

func (l *link) other(e *end) *end {
	if e == l.a {
		return l.b
	}
	return l.a
}

// carry takes a datagram to an end, and the replies to and fro until there are none.
func (l *link) carry(to *end, datagram []byte) Result {
	l.t.Helper()
	h, why := ParseHeader(datagram)
	if why != Accepted {
		l.t.Fatalf("made a datagram that is %v", why)
	}
	l.recorded[h.Kind] = append(l.recorded[h.Kind], bytes.Clone(datagram))
	r := to.Receive(l.now, bytes.Clone(datagram), nil)
	if r.Outcome == Opened {
		to.opened = append(to.opened, string(r.Plaintext))
	}
	if r.Established != nil {
		to.established++
		if r.Established != to.Session() {
			l.t.Fatal("the established session is not the current one")
		}
	}
	if len(r.Reply) > 0 {
		l.carry(l.other(to), r.Reply)
	}
	return r
}

// tick lets time pass and carries what either end has to say.
func (l *link) tick(step int64) {
	l.t.Helper()
	l.now += step
	for _, from := range []*end{l.a, l.b} {
		if out := from.Tick(l.now, nil); len(out) > 0 {
			l.carry(l.other(from), out)
		}
	}
}

// talk sends a word each way and demands that both arrive.
func (l *link) talk(word string) {
	l.t.Helper()
	for _, from := range []*end{l.a, l.b} {
		to := l.other(from)
		if from.Session() == nil {
			l.t.Fatalf("%s: no session", from.name)
		}
		l.carry(to, from.Session().Seal(3, nil, []byte(word)))
		if n := len(to.opened); n == 0 || to.opened[n-1] != word {
			l.t.Fatalf("%q from %s did not arrive", word, from.name)
		}
	}
}

func TestHandshake(t *testing.T) {
	for _, parts := range [][2]Part{{Initiator, Responder}, {Responder, Initiator}, {Initiator, Initiator}} {
		l := newLink(t, parts[0], parts[1])
		l.tick(0)
		l.tick(50 * ms)
		l.talk("hello")
		if got := string(l.a.Session().Remote()); got != "node b" {
			t.Errorf("a hears that its peer is %q", got)
		}
		if got := string(l.b.Session().Remote()); got != "node a" {
			t.Errorf("b hears that its peer is %q", got)
		}
		if l.a.established != 1 || l.b.established != 1 {
			t.Errorf("parts %v: %d and %d sessions were established, want one each", parts, l.a.established, l.b.established)
		}
		if out := l.a.Tick(l.now+retryLast, nil); len(out) != 0 {
			t.Error("something is due although the session is fresh")
		}
	}
}

func TestHandshakeSurvivesLossOfEachMessage(t *testing.T) {
	for lost := range 6 {
		l := newLink(t, Initiator, Responder)
		sent := 0
		var carry func(to *end, datagram []byte)
		carry = func(to *end, datagram []byte) {
			sent++
			if sent-1 == lost {
				return
			}
			if r := to.Receive(l.now, datagram, nil); len(r.Reply) > 0 {
				carry(l.other(to), r.Reply)
			}
		}
		for range 30 {
			l.now += 50 * ms
			for _, from := range []*end{l.a, l.b} {
				if out := from.Tick(l.now, nil); len(out) > 0 {
					carry(l.other(from), out)
				}
			}
		}
		l.talk(fmt.Sprintf("without message %d", lost))
	}
}

func TestCrossingHandshakes(t *testing.T) {
	l := newLink(t, Initiator, Initiator)
	for round := range 3 {
		fromA, fromB := l.a.Tick(l.now, nil), l.b.Tick(l.now, nil)
		if len(fromA) == 0 || len(fromB) == 0 {
			t.Fatal("both should start")
		}
		before := l.a.Session()
		// Both questions are on the way; then every message of one side and of the other.
		toA, toB := [][]byte{fromB}, [][]byte{fromA}
		for len(toA)+len(toB) > 0 {
			var nextA, nextB [][]byte
			for _, d := range toA {
				if r := l.a.Receive(l.now, d, nil); len(r.Reply) > 0 {
					nextB = append(nextB, r.Reply)
				}
			}
			for _, d := range toB {
				if r := l.b.Receive(l.now, d, nil); len(r.Reply) > 0 {
					nextA = append(nextA, r.Reply)
				}
			}
			toA, toB = nextA, nextB
		}
		l.talk(fmt.Sprintf("round %d", round))
		if before != nil { // what was sealed before the change still opens
			l.carry(l.b, before.Seal(1, nil, []byte("late")))
			if l.b.opened[len(l.b.opened)-1] != "late" {
				t.Fatal("a datagram of the session before was lost")
			}
		}
		for range 40 { // longer than linger: each keeps opening what the other uses
			l.now += 500 * ms
			l.talk("on")
		}
		l.a.Renew()
		l.b.Renew()
	}
}

func TestReplayedHandshake1(t *testing.T) {
	l := newLink(t, Initiator, Responder)
	l.tick(0)
	l.talk("before")
	session := l.b.Session()
	h1 := l.recorded[KindHandshake1][0]
	if r := l.b.Receive(l.now, bytes.Clone(h1), nil); r.Reject != RejectHandshakeReplayed || len(r.Reply) > 0 {
		t.Errorf("replayed to the same process: %v, %d bytes of reply", r.Reject, len(r.Reply))
	}
	if r := l.a.Receive(l.now, bytes.Clone(h1), nil); r.Reject != RejectHandshakeReplayed {
		t.Errorf("reflected to its maker: %v", r.Reject)
	}
	// Recordings of an earlier life are authentic and unknown: answered, and that is all.
	for range 20 {
		l.now += ms
		old := newEnd(t, "node a", Initiator, l.a.keys...)
		if r := l.b.Receive(l.now, old.Tick(l.now, nil), nil); r.Outcome != Progressed {
			t.Fatalf("an authentic handshake1 was %v", r.Reject)
		}
		if l.b.Session() != session {
			t.Fatal("a handshake1 alone replaced the session")
		}
		l.talk("during")
	}
	for range 20 {
		l.tick(500 * ms)
		l.talk("after")
	}
	if l.b.pending != nil || l.b.Session() != session {
		t.Error("the replay left something behind")
	}
}

func TestReplayedHandshake1DoesNotStopANewHandshake(t *testing.T) {
	l := newLink(t, Initiator, Responder)
	l.tick(0)
	l.talk("before")
	l.a.Renew()
	h1 := l.a.Tick(l.now, nil)
	h2 := l.b.Receive(l.now, h1, nil).Reply
	// Between handshake2 and its confirmation an old handshake1 takes the pending place.
	old := newEnd(t, "node a", Initiator, l.a.keys...)
	l.b.Receive(l.now, old.Tick(l.now, nil), nil)
	l.carry(l.a, h2)
	l.talk("meanwhile under the session before")
	for range 10 {
		l.tick(100 * ms)
	}
	if l.b.established != 2 {
		t.Errorf("%d sessions were established, want 2", l.b.established)
	}
	l.talk("after")
}

func TestReplayedHandshake2(t *testing.T) {
	l := newLink(t, Initiator, Responder)
	l.tick(0)
	h2 := l.recorded[KindHandshake2][0]
	if r := l.a.Receive(l.now, bytes.Clone(h2), nil); r.Reject != RejectHandshakeUnasked {
		t.Errorf("after the handshake: %v", r.Reject)
	}
	l.a.Renew()
	l.a.Tick(l.now, nil)
	if r := l.a.Receive(l.now, bytes.Clone(h2), nil); r.Reject != RejectHandshakeUnasked {
		t.Errorf("during the next: %v", r.Reject)
	}
	l.talk("on")
}

func TestForgedHandshake2DoesNotSpoilTheTrueOne(t *testing.T) {
	l := newLink(t, Initiator, Responder)
	h1 := l.a.Tick(0, nil)
	h2 := l.b.Receive(0, h1, nil).Reply
	lowOrder := bytes.Clone(h2)
	clear(lowOrder[HeaderSize : HeaderSize+ephemeralSize])
	tampered := bytes.Clone(h2)
	tampered[len(tampered)-1] ^= 1
	for _, forged := range [][]byte{lowOrder, tampered} {
		if r := l.a.Receive(0, forged, nil); r.Reject != RejectUnauthentic {
			t.Fatalf("forged: %v", r.Reject)
		}
	}
	l.carry(l.a, h2)
	l.talk("hello")
}

func TestRestartedPeer(t *testing.T) {
	for _, part := range []Part{Initiator, Responder} {
		l := newLink(t, Initiator, part)
		l.tick(0)
		l.talk("first life")
		l.b = newEnd(t, "node b", part, l.b.keys...) // all sessions forgotten
		// Only what the living node sends by itself; the restarted one does not tick.
		l.now += retryFirst
		r := l.carry(l.b, l.a.Session().Seal(0, nil, []byte("heartbeat")))
		if r.Reject != RejectUnknownSession || len(r.Reply) != HeaderSize {
			t.Fatalf("unknown session: %v, %d bytes of reply", r.Reject, len(r.Reply))
		}
		l.talk("second life")
	}
}

func TestKnock(t *testing.T) {
	l := newLink(t, Initiator, Responder)
	l.tick(0)
	l.now += retryLast
	session := l.a.Session()
	knock := func(id uint32) Result {
		return l.a.Receive(l.now, appendHeader(nil, Header{Kind: KindKnock, Session: id}), nil)
	}
	if r := knock(session.remoteID + 1); r.Reject != RejectKnockIgnored {
		t.Errorf("a knock that guesses the session: %v", r.Reject)
	}
	obeyed := 0
	for range 1000 {
		l.now += ms
		if knock(session.remoteID).Outcome == Progressed {
			obeyed++
		}
	}
	if obeyed != 10 {
		t.Errorf("1000 knocks in a second start %d handshakes, want 10", obeyed)
	}
	l.talk("unharmed")

	l.b.Renew() // a responder that wants a new session knocks
	l.now += retryFirst
	l.tick(0)
	l.talk("renewed")
	if l.a.Session() == session {
		t.Error("the responder's wish was not heard")
	}
}
