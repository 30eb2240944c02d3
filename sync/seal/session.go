package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"sync/atomic"

	"holdfast/internal/mutant"
)

// How much one session may seal. A session is replaced long before a bound is near.
const (
	// renewAfter is the number of datagrams, all lanes together, after which a new
	// session is due: 2^28 datagrams of 1400 bytes are the 2^34.5 blocks that RFC 8446
	// section 5.5 allows under one AES-GCM key.
	renewAfter = 1 << 28
	// laneLimit is where Seal refuses: far below the 48 bits of the counter.
	laneLimit = 1 << 34
)

// Part is a node's part in a handshake. It also says which of the two lets a session
// begin: an Initiator starts handshakes, a Responder knocks.
type Part uint8

// The parts in a handshake. Two Initiators are allowed, two Responders never meet.
const (
	Initiator Part = iota
	Responder
)

// Session is one pair of record keys between two nodes' processes. As both ends keep
// it in memory only, a session belongs to exactly one boot of each.
type Session struct {
	id       uint32 // what the peer writes into its datagrams
	remoteID uint32 // what we write into ours
	part     Part   // ours in the handshake
	key      Key    // the pre-shared key that the handshake used
	remote   []byte // the peer's payload in the handshake
	created  int64  // nanoseconds, the caller's clock
	heard    int64  // when a datagram last opened under it; the Peer's goroutine

	logged recordKeys // zero unless Config.Log wants them

	sealer, opener cipher.AEAD
	sent           [Lanes]laneCounter
	windows        [Lanes]Window // the Peer's goroutine
}

// laneCounter is the next counter of one lane, alone on its cache line.
type laneCounter struct {
	next atomic.Uint64
	_    [56]byte
}

// recordKeys are the keys of a session's two directions, seen from this node.
type recordKeys struct {
	seal, open [32]byte
}

// newSession makes a session of k; ids and payload are filled in by the Peer.
func newSession(k recordKeys) *Session {
	return &Session{sealer: newAEAD(k.seal), opener: newAEAD(k.open)}
}

// newAEAD returns AES-256-GCM under key.
func newAEAD(key [32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has 16-byte blocks
	}
	return aead
}

// Remote returns the payload that the peer gave in the handshake: authentic once the
// session is a Peer's current one. Not to be changed.
func (s *Session) Remote() []byte { return s.remote }

// ID returns the session's id on this node, for logs.
func (s *Session) ID() uint32 { return s.id }

// Seal appends to dst the datagram that carries plaintext on lane, and returns the
// result; it adds Overhead bytes. It returns nil if the lane has sealed 2^34 datagrams,
// which is long after the Peer's Tick has started to replace the session. The plaintext
// may stand where its ciphertext will, at dst[len(dst)+HeaderSize:], and must not
// overlap otherwise. Nothing is allocated if dst has room.
//
// Any goroutine may call it at any time: a counter is taken once, whatever happens.
func (s *Session) Seal(lane Lane, dst, plaintext []byte) []byte {
	counter := s.sent[lane].next.Add(1) - 1
	if mutant.NonceReused && counter%64 == 63 {
		counter--
	}
	if counter >= laneLimit {
		return nil
	}
	start := len(dst)
	dst = appendHeader(dst, Header{Kind: KindSealed, Session: s.remoteID, Lane: lane, Counter: counter})
	header := dst[start:]
	return s.sealer.Seal(dst, nonce(header), plaintext, header)
}

// Open checks and opens a sealed datagram of this session and appends its plaintext to
// dst, which may be datagram[HeaderSize:HeaderSize] to open in place. A datagram that is
// refused leaves dst's bytes undefined and the session unchanged. A Peer does this for
// the sessions that it owns. One goroutine at a time.
func (s *Session) Open(dst, datagram []byte) ([]byte, Lane, Reject) {
	h, why := ParseHeader(datagram)
	if why != Accepted {
		return nil, 0, why
	}
	if h.Kind != KindSealed || h.Session != s.id {
		return nil, 0, RejectUnknownSession
	}
	plaintext, why := s.open(h, dst, datagram)
	return plaintext, h.Lane, why
}

// open is Open behind the parsed header h, whose kind and session fit.
func (s *Session) open(h Header, dst, datagram []byte) ([]byte, Reject) {
	if len(datagram) < Overhead {
		return nil, RejectTruncated
	}
	if h.Lane >= Lanes {
		return nil, RejectLaneOutOfRange
	}
	window := &s.windows[h.Lane]
	if !window.Fresh(h.Counter) {
		return nil, RejectReplayed
	}
	header := datagram[:HeaderSize]
	plaintext, err := s.opener.Open(dst, nonce(header), datagram[HeaderSize:], header)
	if err != nil {
		return nil, RejectUnauthentic
	}
	window.Mark(h.Counter)
	return plaintext, Accepted
}

// nonce returns the part of a header that is the nonce: session id, lane and counter.
func nonce(header []byte) []byte { return header[4:HeaderSize] }

// spent returns how many datagrams the session has sealed.
func (s *Session) spent() uint64 {
	var n uint64
	for i := range s.sent {
		n += s.sent[i].next.Load()
	}
	return n
}
