package seal

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// A key log opens what its session sealed, both ways, and nothing else; the pre-shared key
// alone opens the first handshake message and no more.
func TestKeyLogOpensARecording(t *testing.T) {
	key := NewKey()
	var log []SessionKey
	note := func(k SessionKey) { log = append(log, k) }
	a, err := NewPeer(Config{Keys: []Key{key}, Part: Initiator, Payload: []byte("life of a"), Log: note})
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewPeer(Config{Keys: []Key{key}, Part: Responder, Payload: []byte("life of b")})
	if err != nil {
		t.Fatal(err)
	}
	question := a.Tick(0, nil)
	answer := b.Receive(0, bytes.Clone(question), nil).Reply
	confirm := a.Receive(0, bytes.Clone(answer), nil).Reply
	if len(log) != 0 {
		t.Error("a session that nobody has proven is in the key log")
	}
	a.Receive(0, b.Receive(0, bytes.Clone(confirm), nil).Reply, nil)
	toB, toA := a.Session().Seal(3, nil, []byte("to b")), b.Session().Seal(4, nil, []byte("to a"))

	text := "# a comment\n\n"
	for _, k := range log {
		text += k.Line() + "\n"
	}
	keys, err := ReadKeyLog(strings.NewReader(text))
	if err != nil || len(keys) != 2 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for want, datagram := range map[string][]byte{"to b": toB, "to a": toA} {
		h, _ := ParseHeader(datagram)
		opened := 0
		for _, k := range keys {
			plain, why := NewRecorded(k).Open(nil, datagram)
			if ours := k.Session == h.Session; ours != (why == Accepted) || ours && string(plain) != want {
				t.Errorf("%v: %q, %v", k, plain, why)
			} else if ours {
				opened++
			}
		}
		if opened != 1 {
			t.Errorf("%q was opened by %d keys", want, opened)
		}
	}

	q, why := ReadQuestion([]Key{NewKey(), key}, question)
	if why != Accepted || q.Key != key || string(q.Payload) != "life of a" || !b.Owns(a.Session().remoteID) || q.Session != a.Session().ID() {
		t.Errorf("%+v %v", q, why)
	}
	if _, why := ReadQuestion([]Key{NewKey()}, question); why != RejectUnauthentic {
		t.Errorf("another key reads the question: %v", why)
	}
	if _, why := ReadQuestion([]Key{key}, answer); why != RejectUnknownKind {
		t.Errorf("an answer is read as a question: %v", why)
	}
}

func TestKeyLogRefuses(t *testing.T) {
	good := SessionKey{Session: 7, Key: [32]byte{1}}.Line()
	for _, text := range []string{"secret", good + " x", good[:len(good)-2], "holdfast-session-2" + good[18:], "holdfast-session-1 7 aa"} {
		_, err := ReadKeyLog(strings.NewReader("\n" + text + "\n"))
		if err == nil || !strings.Contains(err.Error(), "line 2") || strings.Contains(err.Error(), "0100000") {
			t.Errorf("%q: %v", text, err)
		}
	}
	k := SessionKey{Session: 7, Key: [32]byte{0xab, 0xcd}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, k); strings.Contains(strings.ToLower(text), "abcd") || !strings.Contains(text, "00000007") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}
