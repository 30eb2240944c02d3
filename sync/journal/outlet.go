package journal

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"holdfast/sync/seal"
)

// Way carries datagrams to one peer: a Socket, or the simulator's network.
type Way interface {
	// Write hands over one datagram, and must neither block nor keep it. Any goroutine may
	// call it. An error says that the datagram was not sent: unix.ECONNREFUSED that nobody
	// listens at the peer's address, every other one is weather.
	Write(datagram []byte) error
}

// Socket is a connected, non-blocking UDP socket, by its descriptor. It stays open for as
// long as any Journal may use it.
type Socket int

// Write sends one datagram (Way).
func (s Socket) Write(datagram []byte) error {
	return send(int(s), datagram)
}

// Link is the way to one peer and whoever holds the sealed session with it.
type Link struct {
	Way      Way
	Sessions interface{ Session() *seal.Session } // a *seal.Peer; safe from any goroutine

	Sent, Refused atomic.Uint64 // datagrams the socket took, and would not take
	Closed        atomic.Uint64 // times the kernel said that nobody listens at the peer's address
	Silent        atomic.Bool   // nothing has been heard of the peer for too long
	Joining       atomic.Bool   // the peer says that it is not ready: its acknowledgements may stand still
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
	return l.handed(1, l.Way.Write(datagram)) == nil
}

// handed counts what became of so many datagrams, and returns err.
func (l *Link) handed(datagrams int, err error) error {
	if err != nil {
		// EAGAIN, ENOBUFS, ENETUNREACH: weather of the sync link. The peer misses the
		// batch's number and asks for it. ECONNREFUSED is an answer to an earlier datagram,
		// given to whoever uses the socket next, and this one was not sent.
		if errors.Is(err, unix.ECONNREFUSED) {
			l.Closed.Add(1)
		}
		l.Refused.Add(uint64(datagrams))
		return err
	}
	l.Sent.Add(uint64(datagrams))
	return nil
}

// Outlet is where all journals of a node send: the links to its peers. The zero value
// has none. Set before workers run.
type Outlet struct {
	links []*Link
}

// NewOutlet returns an outlet to the given peers.
func NewOutlet(links []*Link) *Outlet { return &Outlet{links: links} }

// heard reports whether there is a peer that can be expected to answer.
func (o *Outlet) heard() bool {
	for _, l := range o.links {
		if !l.Silent.Load() && !l.Joining.Load() && l.Sessions.Session() != nil {
			return true
		}
	}
	return false
}

func (o *Outlet) send(lane seal.Lane, scratch []byte, batches [][]byte) {
	for _, l := range o.links {
		l.sendAll(lane, scratch, batches)
	}
}
