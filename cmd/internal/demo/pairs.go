package demo

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"holdfast/internal/lab"
)

// pair is a TCP connection through the firewall, both ends in our hands.
type pair struct {
	name   string
	inside net.Conn // the client's end
	far    net.Conn // the server's end
	born   time.Time
	server bool // after the kill the server is the first to speak
}

// switchboard makes pairs: a listener that knows which accepted connection belongs to
// which dialed one, by a number that the client sends first.
type switchboard struct {
	client *lab.Namespace
	target string
	mu     sync.Mutex
	next   uint64
	wait   map[uint64]chan net.Conn
}

func newSwitchboard(client *lab.Namespace, target netip.AddrPort) *switchboard {
	return &switchboard{client: client, target: target.String(), wait: map[uint64]chan net.Conn{}}
}

// serve accepts the far ends.
func (s *switchboard) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // the listener was closed
		}
		go s.match(conn)
	}
}

// match hands an accepted connection to whoever dialed it.
func (s *switchboard) match(conn net.Conn) {
	var b [8]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		conn.Close()
		return
	}
	s.mu.Lock()
	ch := s.wait[binary.BigEndian.Uint64(b[:])]
	delete(s.wait, binary.BigEndian.Uint64(b[:]))
	s.mu.Unlock()
	if ch == nil {
		conn.Close()
		return
	}
	ch <- conn
}

// open makes a pair from a local address of the client; port 0: any.
func (s *switchboard) open(ctx context.Context, name string, from netip.AddrPort) (*pair, error) {
	s.mu.Lock()
	s.next++
	id, ch := s.next, make(chan net.Conn, 1)
	s.wait[id] = ch
	s.mu.Unlock()
	conn, err := s.client.Dial(ctx, "tcp", from.String(), s.target)
	if err != nil {
		return nil, fmt.Errorf("connection %q: %w", name, err)
	}
	p := &pair{name: name, inside: conn, born: time.Now()}
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, id)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connection %q: %w", name, err)
	}
	select {
	case p.far = <-ch:
		return p, nil
	case <-ctx.Done():
		conn.Close()
		return nil, fmt.Errorf("connection %q: the server never saw it: %w", name, context.Cause(ctx))
	}
}

// alive lets both ends speak, first the one that the pair says, and returns why the
// connection is lost, or nil.
func (p *pair) alive(wait time.Duration) error {
	first, second := p.inside, p.far
	if p.server {
		first, second = second, first
	}
	deadline := time.Now().Add(wait)
	for _, end := range []struct{ from, to net.Conn }{{first, second}, {second, first}} {
		if err := p.say(end.from, end.to, deadline); err != nil {
			return fmt.Errorf("connection %q: %w", p.name, err)
		}
	}
	return nil
}

func (p *pair) say(from, to net.Conn, deadline time.Time) error {
	if err := from.SetDeadline(deadline); err != nil {
		return err
	}
	if err := to.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := from.Write([]byte("hold")); err != nil {
		return err
	}
	var b [4]byte
	if _, err := io.ReadFull(to, b[:]); err != nil {
		return err
	}
	if string(b[:]) != "hold" {
		return fmt.Errorf("heard %q", b)
	}
	return nil
}

func (p *pair) close() {
	// Both ends are thrown away; there is nothing to be done about an error.
	_ = p.inside.Close()
	if p.far != nil {
		_ = p.far.Close()
	}
}

// external returns the address and port that the server sees.
func (p *pair) external() string { return p.far.RemoteAddr().String() }
