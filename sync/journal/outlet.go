package journal

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"holdfast/sync/seal"
)

// Link is the way to one peer: a connected, non-blocking UDP socket and whoever holds the
// sealed session with the peer. The socket stays open for as long as any Journal may use it.
type Link struct {
	Fd       int
	Sessions interface{ Session() *seal.Session } // a *seal.Peer; safe from any goroutine

	Sent, Refused atomic.Uint64 // datagrams the socket took, and would not take
	Closed        atomic.Uint64 // times the kernel said that nobody listens at the peer's address
}

// Send seals plaintext on a lane and hands it to the socket. It never blocks: what the
// socket does not take is lost like any datagram, and asked for again. scratch is where
// the datagram is made; it returns false where there is no session or the socket refused.
func (l *Link) Send(lane seal.Lane, scratch, plaintext []byte) bool {
	s := l.Sessions.Session()
	if s == nil {
		return false
	}
	datagram := s.Seal(lane, scratch[:0], plaintext)
	if datagram == nil {
		l.Refused.Add(1) // the lane's counters are spent: a new session is under way
		return false
	}
	if _, err := unix.Write(l.Fd, datagram); err != nil {
		// EAGAIN, ENOBUFS, ENETUNREACH: weather of the sync link. The peer misses the
		// batch's number and asks for it. ECONNREFUSED is an answer to an earlier datagram,
		// given to whoever uses the socket next, and this one was not sent.
		if errors.Is(err, unix.ECONNREFUSED) {
			l.Closed.Add(1)
		}
		l.Refused.Add(1)
		return false
	}
	l.Sent.Add(1)
	return true
}

// Outlet is where all journals of a node send: the links to its peers. The zero value
// has none. Set before workers run.
type Outlet struct {
	links []*Link
}

// NewOutlet returns an outlet to the given peers.
func NewOutlet(links []*Link) *Outlet { return &Outlet{links: links} }

func (o *Outlet) send(lane seal.Lane, scratch, plaintext []byte) {
	for _, l := range o.links {
		l.Send(lane, scratch, plaintext)
	}
}
