package seal

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/flynn/noise"
)

// MaxPayload bounds the caller's bytes in a handshake message.
const MaxPayload = 128

// prologue is bound into every handshake: both ends speak this protocol and version.
const prologue = "holdfast sync 1"

// Sizes of a handshake message, which is e (32 bytes), the encrypted payload and a tag.
const (
	ephemeralSize    = 32
	idSize           = 4
	handshakeMinSize = HeaderSize + ephemeralSize + idSize + TagSize
	handshakeMaxSize = handshakeMinSize + MaxPayload
)

var suite = noise.NewCipherSuite(noise.DH25519, noise.CipherAESGCM, noise.HashBLAKE2s)

// identity is what the payload of a handshake message says about its sender.
type identity struct {
	session uint32 // its id of the session that will come of it
	payload []byte // opaque, the caller's
}

// append appends the payload as drawn in the package comment.
func (i identity) append(dst []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, i.session), i.payload...)
}

// parseIdentity reads an authentic payload of the peer. The bytes are not copied.
func parseIdentity(payload []byte) (identity, Reject) {
	if len(payload) < idSize || len(payload) > idSize+MaxPayload {
		return identity{}, RejectMalformed
	}
	i := identity{session: binary.BigEndian.Uint32(payload), payload: payload[idSize:]}
	if i.session == 0 {
		return identity{}, RejectMalformed
	}
	return i, Accepted
}

// question is an outstanding handshake1: all that is needed to read the answer.
type question struct {
	secret [ephemeralSize]byte // of the ephemeral key
	key    Key
	own    identity
	at     int64 // when it was sent
}

// ask makes a question.
func ask(random io.Reader, key Key, own identity, now int64) *question {
	q := &question{key: key, own: own, at: now}
	draw(random, q.secret[:])
	return q
}

// draw fills b with random bytes.
func draw(random io.Reader, b []byte) {
	if _, err := io.ReadFull(random, b); err != nil {
		panic(err) // crypto/rand never fails, and a key that is not random must never be used
	}
}

// message returns the state behind the sent message, and the message. The state is made
// anew from the secret for every answer that comes, because reading a forged answer can
// leave a noise.HandshakeState unusable (a low-order point fails without a rollback).
func (q *question) message() (*noise.HandshakeState, []byte) {
	state := newHandshake(noise.Config{
		Initiator:    true,
		PresharedKey: q.key[:],
		Random:       bytes.NewReader(q.secret[:]),
	})
	message, _, _, err := state.WriteMessage(nil, q.own.append(nil))
	if err != nil {
		panic(err) // the payload is short, it is our turn, and the secret is there
	}
	return state, message
}

// readAnswer reads the body of a handshake2 and returns the responder's identity and
// the session's keys.
func (q *question) readAnswer(body []byte) (identity, recordKeys, Reject) {
	state, _ := q.message()
	payload, toResponder, toInitiator, err := state.ReadMessage(nil, body)
	if err != nil {
		return identity{}, recordKeys{}, RejectUnauthentic
	}
	remote, why := parseIdentity(payload)
	if why != Accepted {
		return identity{}, recordKeys{}, why
	}
	return remote, recordKeys{seal: toResponder.UnsafeKey(), open: toInitiator.UnsafeKey()}, Accepted
}

// readQuestion reads the body of a handshake1 under key and returns the initiator's
// identity and the state that answers it.
func readQuestion(random io.Reader, key Key, body []byte) (identity, *noise.HandshakeState, Reject) {
	state := newHandshake(noise.Config{PresharedKey: key[:], Random: random})
	payload, _, _, err := state.ReadMessage(nil, body)
	if err != nil {
		return identity{}, nil, RejectUnauthentic
	}
	remote, why := parseIdentity(payload)
	return remote, state, why
}

// answer appends the body of the handshake2 that says own, and returns the keys. It
// fails if the initiator's ephemeral key is a point of low order.
func answer(state *noise.HandshakeState, own identity, dst []byte) ([]byte, recordKeys, Reject) {
	dst, toResponder, toInitiator, err := state.WriteMessage(dst, own.append(nil))
	if err != nil {
		return nil, recordKeys{}, RejectMalformed
	}
	return dst, recordKeys{seal: toInitiator.UnsafeKey(), open: toResponder.UnsafeKey()}, Accepted
}

// newHandshake completes c, which names the part and the key, and begins a handshake.
func newHandshake(c noise.Config) *noise.HandshakeState {
	c.CipherSuite = suite
	c.Pattern = noise.HandshakeNN
	c.Prologue = []byte(prologue)
	c.PresharedKeyPlacement = 0
	state, err := noise.NewHandshakeState(c)
	if err != nil {
		panic(err) // the configuration is constant but for a key of the right size
	}
	return state
}

// asked remembers the ephemeral keys of the last handshake1 messages, answered ones and
// our own, by their first 8 bytes: a recording answered once is not answered again
// before 256 others came, and our own is never answered. The zero value is ready.
type asked struct {
	ring [256]uint64
	next uint8
}

// has reports whether body, of a handshake1, is remembered.
func (a *asked) has(body []byte) bool {
	e := binary.BigEndian.Uint64(body)
	for _, x := range &a.ring {
		if x == e {
			return true
		}
	}
	return false
}

// add remembers body, of a handshake1.
func (a *asked) add(body []byte) {
	a.ring[a.next] = binary.BigEndian.Uint64(body)
	a.next++
}
