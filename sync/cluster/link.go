package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/sync/journal"
	"holdfast/sync/seal"
)

// receiveBuffer is what the socket may hold of a peer's datagrams: at 20,000 batches of
// 1,400 bytes per second, some 300 ms in which the reader does not run.
const receiveBuffer = 8 << 20

// PeerLink is the way to one peer: the sealed sessions and what carries their datagrams.
// That is a socket that is connected, so the kernel drops what does not come from the
// peer's address and says when nobody listens there.
type PeerLink struct {
	journal.Link
	config LinkConfig
	boot   uint64       // this node's life, told in the handshake
	peer   *seal.Peer   // Receive and Tick belong to the remote's reader
	paths  []*path      // ways to the peer, one or more
	use    atomic.Int32 // the path that streams go by
}

// Life is what the links of one life of a node have in common.
type Life struct {
	Boot   uint64                // names it; not 0, but for OpenLinks
	Keys   []seal.Key            // as seal.Config has them
	Random io.Reader             // of the handshakes; crypto/rand.Reader where nil
	Log    func(seal.SessionKey) // as seal.Config has it; nil: session keys stay in memory
}

// OpenLinks opens a socket to every peer. The journals send through them, so they are
// made before the node and closed after it. A life without a name gets one.
func OpenLinks(c []LinkConfig, life Life) (links []*PeerLink, err error) {
	if life.Boot == 0 {
		life.Boot = rand.Uint64() | 1
	}
	defer func() {
		if err != nil {
			for _, l := range links {
				err = errors.Join(err, l.Close())
			}
			links = nil
		}
	}()
	for _, l := range c {
		link, err := openLink(l, life)
		if err != nil {
			return links, err
		}
		links = append(links, link)
	}
	return links, nil
}

// NewLink returns the way to a peer whose datagrams somebody else carries: way takes what
// is sent, and what comes is handed to Node.Receive.
func NewLink(c LinkConfig, life Life, way journal.Way) (*PeerLink, error) {
	part := seal.Initiator
	if c.Local.Compare(c.Peer) > 0 {
		part = seal.Responder
	}
	peer, err := seal.NewPeer(seal.Config{
		Keys: life.Keys, Payload: binary.BigEndian.AppendUint64(nil, life.Boot), Part: part, Random: life.Random, Log: life.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("sync link to %v: %w", c.Peer, err)
	}
	l := &PeerLink{config: c, boot: life.Boot, peer: peer}
	l.Sessions, l.Way = peer, l
	l.AddPath(c.Device, PathSync, way)
	return l, nil
}

func openLink(c LinkConfig, life Life) (*PeerLink, error) {
	conn, socket, err := dial(c)
	if err != nil {
		return nil, err
	}
	l, err := NewLink(c, life, socket)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l.paths[0].conn = conn
	for _, also := range c.Also {
		if conn, socket, err = dial(also); err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.AddPath(also.Device, PathSync, socket)
		l.paths[len(l.paths)-1].conn = conn
	}
	return l, nil
}

// dial opens a socket that is connected to a peer.
func dial(c LinkConfig) (*net.UDPConn, *journal.UDP, error) {
	dialer := net.Dialer{
		LocalAddr: net.UDPAddrFromAddrPort(c.Local),
		Control: func(_, _ string, raw syscall.RawConn) error {
			return control(raw, c.Device)
		},
	}
	conn, err := dialer.DialContext(context.Background(), "udp", c.Peer.String())
	if err != nil {
		return nil, nil, fmt.Errorf("sync link from %v on %q to %v: %w: check `links` in the node file", c.Local, c.Device, c.Peer, err)
	}
	udp := conn.(*net.UDPConn)
	var socket *journal.UDP
	raw, err := udp.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { socket = journal.NewUDP(int(fd)) })
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("sync link to %v: %w", c.Peer, err), conn.Close())
	}
	return udp, socket, nil
}

// control sets the options of a link's socket before it is bound.
func control(raw syscall.RawConn, device string) error {
	var err error
	if ctlErr := raw.Control(func(fd uintptr) {
		// Several peers share one local address, each with a connected socket of its own.
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err == nil && device != "" {
			if err = unix.BindToDevice(int(fd), device); err != nil {
				err = fmt.Errorf("binding to device: %w", err)
			}
		}
		if err == nil {
			// Past net.core.rmem_max where we may; the ordinary way otherwise.
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
			}
		}
	}); ctlErr != nil {
		return ctlErr
	}
	return err
}

// Close closes the sockets; no journal may use the link any more.
func (l *PeerLink) Close() (err error) {
	for _, p := range l.paths {
		if p.conn != nil {
			err = errors.Join(err, p.conn.Close())
		}
	}
	return err
}

// wake ends the reads that wait.
func (l *PeerLink) wake() {
	for _, p := range l.paths {
		if p.conn != nil {
			// It fails only on a closed socket, whose reads have ended already.
			_ = p.conn.SetReadDeadline(time.Unix(1, 0))
		}
	}
}

// receive waits for a datagram until the deadline; 0 bytes mean that none came.
// refused says that the kernel reported nobody listening at the peer's address.
func (p *path) receive(buf []byte, wait time.Duration) (n int, refused bool, err error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return 0, false, err
	}
	n, err = p.conn.Read(buf)
	switch {
	case err == nil:
		return n, false, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, false, nil
	case errors.Is(err, unix.ECONNREFUSED):
		return 0, true, nil
	case errors.Is(err, net.ErrClosed):
		return 0, false, err
	}
	// ENETDOWN, EHOSTUNREACH and the like: weather.
	return 0, false, nil
}

// send hands an unsealed datagram (a handshake) to the way.
func (l *PeerLink) send(datagram []byte) {
	if len(datagram) > 0 {
		l.shake(datagram)
	}
}

// bootOf returns the life of the peer that a session was made with, 0 where it told none.
func bootOf(s *seal.Session) uint64 {
	if p := s.Remote(); len(p) == 8 {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// address returns the peer's address.
func (l *PeerLink) address() netip.AddrPort { return l.config.Peer }
