package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/sync/journal"
	"holdfast/sync/seal"
)

// receiveBuffer is what the socket may hold of a peer's datagrams: at 20,000 batches of
// 1,400 bytes per second, some 300 ms in which the reader does not run.
const receiveBuffer = 8 << 20

// PeerLink is the way to one peer: the sealed sessions and a socket that is connected, so
// the kernel drops what does not come from the peer's address and says when nobody
// listens there.
type PeerLink struct {
	journal.Link
	config LinkConfig
	boot   uint64     // this node's life, told in the handshake
	peer   *seal.Peer // Receive and Tick belong to the remote's reader
	conn   *net.UDPConn
}

func openLink(c LinkConfig, keys []seal.Key, boot uint64) (*PeerLink, error) {
	part := seal.Initiator
	if c.Local.Compare(c.Peer) > 0 {
		part = seal.Responder
	}
	peer, err := seal.NewPeer(seal.Config{Keys: keys, Payload: binary.BigEndian.AppendUint64(nil, boot), Part: part})
	if err != nil {
		return nil, fmt.Errorf("sync link to %v: %w", c.Peer, err)
	}
	dialer := net.Dialer{
		LocalAddr: net.UDPAddrFromAddrPort(c.Local),
		Control: func(_, _ string, raw syscall.RawConn) error {
			return control(raw, c.Device)
		},
	}
	conn, err := dialer.DialContext(context.Background(), "udp", c.Peer.String())
	if err != nil {
		return nil, fmt.Errorf("sync link from %v on %q to %v: %w: check `links` in the node file", c.Local, c.Device, c.Peer, err)
	}
	l := &PeerLink{config: c, boot: boot, peer: peer, conn: conn.(*net.UDPConn)}
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sync link to %v: %w", c.Peer, err), conn.Close())
	}
	if err := raw.Control(func(fd uintptr) { l.Fd = int(fd) }); err != nil {
		return nil, errors.Join(fmt.Errorf("sync link to %v: %w", c.Peer, err), conn.Close())
	}
	l.Sessions = peer
	return l, nil
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

// Close closes the socket; no journal may use the link any more.
func (l *PeerLink) Close() error { return l.conn.Close() }

// wake ends a read that waits.
func (l *PeerLink) wake() {
	// It fails only on a closed socket, whose reads have ended already.
	_ = l.conn.SetReadDeadline(time.Unix(1, 0))
}

// receive waits for a datagram until the deadline; 0 bytes mean that none came.
// refused says that the kernel reported nobody listening at the peer's address.
func (l *PeerLink) receive(buf []byte, wait time.Duration) (n int, refused bool, err error) {
	if err := l.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return 0, false, err
	}
	n, err = l.conn.Read(buf)
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

// send hands an unsealed datagram (a handshake) to the socket.
func (l *PeerLink) send(datagram []byte) {
	if len(datagram) > 0 {
		// Lost like any datagram; the handshake is repeated.
		_, _ = unix.Write(l.Fd, datagram)
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
