package seal

import (
	"bufio"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// SessionKey opens what was sealed in one direction of one session. Whoever has it can
// read a recording of that direction, and forge datagrams of it while the session lasts.
// Nothing else gives it away: of the pre-shared key and a recorded handshake it does not
// follow, because the ephemeral keys are never written down.
//
// A key log is a text of such keys, one a line, for people who must look into a recording:
//
//	holdfast-session-1 SESSION KEY
//
// SESSION is the id that the datagrams bear, 8 hex digits; KEY is the AES-256 key, 64.
type SessionKey struct {
	Session uint32
	Key     [32]byte
}

// sessionKeyWord opens a line of a key log; its number is that of the datagram's format.
const sessionKeyWord = "holdfast-session-1"

// Line returns the line of a key log that stands for k, without a newline. It is secret.
func (k SessionKey) Line() string {
	return fmt.Sprintf("%s %08x %x", sessionKeyWord, k.Session, k.Key[:])
}

// String names the session and not the key.
func (k SessionKey) String() string { return fmt.Sprintf("key of session %08x", k.Session) }

// GoString is String, so that %#v shows no secret either.
func (k SessionKey) GoString() string { return k.String() }

// ReadKeyLog reads the lines of a key log. Blank lines and lines that begin with # do not
// count. Errors name the line and do not quote it.
func ReadKeyLog(r io.Reader) (keys []SessionKey, err error) {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		words := strings.Fields(line)
		if len(words) != 3 || words[0] != sessionKeyWord {
			return nil, fmt.Errorf("line %d: a line of a key log is %q, a session and a key", n, sessionKeyWord)
		}
		session, badSession := hex.DecodeString(words[1])
		key, badKey := hex.DecodeString(words[2])
		if badSession != nil || badKey != nil || len(session) != 4 || len(key) != 32 {
			return nil, fmt.Errorf("line %d: a session is 8 hex digits and a key 64", n)
		}
		keys = append(keys, SessionKey{Session: binary.BigEndian.Uint32(session), Key: [32]byte(key)})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("key log: %w", err)
	}
	return keys, nil
}

// Recorded opens recorded datagrams of one direction of a session. Unlike a Session it
// refuses no replay: what is repeated in a recording is worth seeing.
type Recorded struct{ opener cipher.AEAD }

// NewRecorded returns what k opens.
func NewRecorded(k SessionKey) *Recorded { return &Recorded{newAEAD(k.Key)} }

// Open appends the plaintext of a sealed datagram to dst.
func (r *Recorded) Open(dst, datagram []byte) ([]byte, Reject) {
	h, why := ParseHeader(datagram)
	switch {
	case why != Accepted:
		return nil, why
	case h.Kind != KindSealed:
		return nil, RejectUnknownKind
	case len(datagram) < Overhead:
		return nil, RejectTruncated
	}
	header := datagram[:HeaderSize]
	plaintext, err := r.opener.Open(dst, nonce(header), datagram[HeaderSize:], header)
	if err != nil {
		return nil, RejectUnauthentic
	}
	return plaintext, Accepted
}

// Question is what a holder of the pre-shared key can read of a recorded handshake1. The
// handshake2 that answers it, and all that is sealed, stay shut: their keys depend on
// what the two ephemeral secrets have in common.
type Question struct {
	Session uint32 // the initiator's id of the session to be
	Payload []byte // what the initiator says of itself
	Key     Key    // that it used
}

// ReadQuestion reads a recorded handshake1 with whichever of keys was used.
func ReadQuestion(keys []Key, datagram []byte) (Question, Reject) {
	h, why := ParseHeader(datagram)
	if why != Accepted {
		return Question{}, why
	}
	if h.Kind != KindHandshake1 {
		return Question{}, RejectUnknownKind
	}
	if why := checkHandshake(h, datagram); why != Accepted {
		return Question{}, why
	}
	for _, k := range keys {
		if who, _, why := readQuestion(nil, k, datagram[HeaderSize:]); why == Accepted {
			return Question{Session: who.session, Payload: who.payload, Key: k}, Accepted
		}
	}
	return Question{}, RejectUnauthentic
}
