package seal

import (
	"bytes"
	"testing"
)

func TestKeyRotation(t *testing.T) {
	older, newer := NewKey(), NewKey()
	l := newLink(t, Initiator, Initiator)
	for i, step := range []struct {
		end  *end
		keys []Key
	}{
		{l.a, []Key{older}}, {l.b, []Key{older}},
		{l.a, []Key{older, newer}}, {l.b, []Key{older, newer}},
		{l.a, []Key{newer, older}}, {l.b, []Key{newer, older}},
		{l.a, []Key{newer}}, {l.b, []Key{newer}},
	} {
		if err := step.end.SetKeys(step.keys); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue
		}
		for range 30 {
			l.tick(100 * ms)
			l.talk("no step of a rotation loses a word")
		}
		if l.a.renew != renewalNone || l.b.renew != renewalNone {
			t.Fatalf("step %d: a new session is still wanted", i)
		}
	}
	if l.a.Session().key != newer || l.b.Session().key != newer {
		t.Error("the sessions do not stand on the new key")
	}
}

func TestWrongKey(t *testing.T) {
	l := newLink(t, Initiator, Initiator)
	l.b = newEnd(t, "stranger", Initiator, NewKey())
	for range 20 {
		l.tick(100 * ms)
	}
	if l.a.Session() != nil || l.b.Session() != nil || l.a.pending != nil || l.a.next != nil {
		t.Error("strangers came to a session")
	}
	if l.a.Rejects().Count(RejectUnauthentic) == 0 {
		t.Error("not counted as unauthentic")
	}
}

func TestSessionsAreRenewed(t *testing.T) {
	l := newLink(t, Initiator, Responder)
	l.tick(0)
	first := l.a.Session()
	l.tick(renewAge - 1)
	if l.a.Session() != first {
		t.Fatal("renewed too early")
	}
	l.tick(1)
	second := l.a.Session()
	if second == first {
		t.Fatal("not renewed after its age")
	}
	second.sent[5].next.Store(renewAfter)
	l.tick(retryFirst)
	if l.a.Session() == second {
		t.Fatal("not renewed after its number of datagrams")
	}
	second.sent[5].next.Store(laneLimit)
	if second.Seal(5, nil, nil) != nil {
		t.Fatal("sealed past the limit")
	}
	l.talk("on")
	l.tick(linger)
	if l.a.replaced[0] != nil || l.b.replaced[0] != nil {
		t.Error("keys of replaced sessions are kept")
	}
}

func TestNewPeerRefuses(t *testing.T) {
	k := NewKey()
	for name, c := range map[string]Config{
		"no key":       {},
		"three keys":   {Keys: []Key{k, NewKey(), NewKey()}},
		"zero key":     {Keys: []Key{{}}},
		"long payload": {Keys: []Key{k}, Payload: make([]byte, MaxPayload+1)},
	} {
		if _, err := NewPeer(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A session is replaced long before a lane's counter ends, without a word lost and without a
// nonce twice; where the peer does not answer, it goes on until the limit and seals nothing
// behind it.
func TestRenewalLongBeforeTheCounterEnds(t *testing.T) {
	if renewAfter > laneLimit/32 || laneLimit > maxCounter>>8 {
		t.Fatal("renewal, limit and end of the counter are not far apart")
	}
	l := newLink(t, Initiator, Responder)
	l.tick(0)
	l.talk("hello")
	first := l.a.Session()
	first.sent[3].next.Store(renewAfter - 200)
	first.sent[7].next.Store(150)
	nonces := map[string]bool{}
	for range 400 {
		l.tick(retryFirst / 50)
		before := len(l.recorded[KindSealed])
		l.talk("on")
		for _, d := range l.recorded[KindSealed][before:] {
			if n := string(nonce(d[:HeaderSize])); nonces[n] {
				t.Fatalf("nonce %x twice", n)
			} else {
				nonces[n] = true
			}
		}
	}
	if s := l.a.Session(); s == first || l.b.Session() == first || s.sent[3].next.Load() > 400 {
		t.Fatal("not replaced when its datagrams were spent")
	}

	mute := newLink(t, Initiator, Responder)
	mute.tick(0)
	mute.talk("hello")
	s, asked := mute.a.Session(), 0
	s.sent[3].next.Store(laneLimit - 100)
	for i := range 300 {
		mute.now += retryFirst
		if out := mute.a.Tick(mute.now, nil); len(out) > 0 { // and is lost
			asked++
		}
		d := s.Seal(3, nil, []byte("word"))
		if i < 100 != (d != nil) {
			t.Fatalf("datagram %d before the limit: sealed %v", 100-i, d != nil)
		}
		if d != nil {
			mute.carry(mute.b, d)
		}
	}
	if n := len(mute.b.opened); asked < 20 || n != 101 {
		t.Errorf("asked %d times for a new session, %d words arrived", asked, n)
	}
	mute.tick(retryLast)
	mute.talk("again, when the peer answers")
}

// An old recording is worthless to a receiver that was restarted: nothing of it opens, no
// session comes of it, and it does not keep the true peer away.
func TestAnOldRecordingIsWorthlessToARestartedReceiver(t *testing.T) {
	for _, part := range []Part{Initiator, Responder} {
		l := newLink(t, Initiator, part)
		var recording [][]byte
		for range 5 {
			l.tick(retryLast)
			for range 20 {
				l.talk("before")
			}
			l.a.Renew()
		}
		for _, k := range []Kind{KindHandshake1, KindHandshake2, KindSealed, KindKnock} {
			recording = append(recording, l.recorded[k]...)
		}
		if len(recording) < 200 {
			t.Fatalf("only %d datagrams were recorded", len(recording))
		}
		l.b = newEnd(t, "node b", part, l.b.keys...)
		l.now += linger
		for round := range 3 {
			for i, d := range recording {
				l.now += ms
				r := l.b.Receive(l.now, bytes.Clone(d), nil)
				if r.Outcome == Opened || r.Established != nil || l.b.Session() != nil {
					t.Fatalf("round %d, datagram %d of kind %d: outcome %d", round, i, d[3], r.Outcome)
				}
			}
		}
		if c := l.b.Rejects(); c.Count(RejectUnknownSession) < 500 || c.Count(RejectHandshakeReplayed) == 0 {
			t.Errorf("counted: %d of no session, %d handshakes replayed", c.Count(RejectUnknownSession), c.Count(RejectHandshakeReplayed))
		}
		l.a.Renew()
		for range 30 {
			l.tick(retryFirst)
		}
		l.talk("after")
	}
}
