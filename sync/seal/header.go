package seal

import "encoding/binary"

// Sizes of a datagram's parts, in bytes.
const (
	HeaderSize = 16                   // in front of every datagram
	TagSize    = 16                   // behind the ciphertext of a sealed one
	Overhead   = HeaderSize + TagSize // what sealing adds to a plaintext
)

// Version is the version of the datagram format and of the handshake.
const Version = 1

const magic = 'H'<<8 | 'F'

// Kind says what a datagram is. The zero value is illegal.
type Kind uint8

// The kinds of datagrams.
const (
	KindKnock      Kind = 1 + iota // "start a handshake with me"; unauthenticated
	KindHandshake1                 // initiator to responder
	KindHandshake2                 // responder to initiator
	KindSealed                     // ciphertext under a session
)

// Lane numbers the independent senders of a session: one per worker, one for the
// cluster's own messages. Each has its own counter and its own replay window.
type Lane uint16

// Lanes is how many lanes a session has.
const Lanes = 64

// ConfirmLane carries the empty datagrams by which two Peers prove to each other that
// they hold the keys of a new session. Callers seal on the lanes below it.
const ConfirmLane Lane = Lanes - 1

// Header is the header of a datagram as drawn in the package comment.
type Header struct {
	Kind    Kind
	Session uint32 // the receiver's id of the session, 0 in a handshake1
	Lane    Lane
	Counter uint64 // 48 bits
}

// ParseHeader reads the header of datagram. Nothing in it can be believed before the
// datagram is opened; a transport uses it to find the Peer that Owns the session.
func ParseHeader(datagram []byte) (Header, Reject) {
	if len(datagram) < HeaderSize {
		return Header{}, RejectTruncated
	}
	if binary.BigEndian.Uint16(datagram) != magic {
		return Header{}, RejectBadMagic
	}
	if datagram[2] != Version {
		return Header{}, RejectBadVersion
	}
	tail := binary.BigEndian.Uint64(datagram[8:])
	h := Header{
		Kind:    Kind(datagram[3]),
		Session: binary.BigEndian.Uint32(datagram[4:]),
		Lane:    Lane(tail >> 48),
		Counter: tail & maxCounter,
	}
	if h.Kind < KindKnock || h.Kind > KindSealed {
		return Header{}, RejectUnknownKind
	}
	return h, Accepted
}

// maxCounter is the largest counter that the header holds.
const maxCounter = 1<<48 - 1

// appendHeader appends h to dst.
func appendHeader(dst []byte, h Header) []byte {
	dst = append(dst, 'H', 'F', Version, byte(h.Kind))
	dst = binary.BigEndian.AppendUint32(dst, h.Session)
	return binary.BigEndian.AppendUint64(dst, uint64(h.Lane)<<48|h.Counter)
}

// bare reports whether the fields that only sealed datagrams use are zero, as they must
// be in all others: no bit of a datagram is without meaning.
func (h Header) bare() bool { return h.Lane == 0 && h.Counter == 0 }
