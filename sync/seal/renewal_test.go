package seal

import "testing"

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
