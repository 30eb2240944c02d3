package demo

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// dialers is how many connections are being opened at once.
const dialers = 64

// openFresh opens many new connections at once through the node that took over, keeps
// them all open, and counts external ports that a living connection has already.
func (t *trial) openFresh(ctx context.Context) error {
	if len(t.result.Problems) > 0 && t.Sync == "none" {
		return nil // the negative control has shown what it is for
	}
	var mu sync.Mutex
	seen := map[string]int{}
	accepted := 0
	// The survivors' ports count too: none may be given to somebody else.
	for _, p := range t.pairs {
		seen[p.external()]++
	}
	if err := t.listen(portFresh, func(l net.Listener) {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the listener was closed
			}
			mu.Lock()
			seen[conn.RemoteAddr().String()]++
			accepted++
			mu.Unlock()
			forget(conn)
		}
	}); err != nil {
		return err
	}
	opened, err := t.dialMany(ctx, t.Fresh)
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range opened {
			_ = c.Close() // thrown away
		}
	}()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if err := poll(ctx, "the server has seen every new connection", func() (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if accepted < len(opened) {
			return false, fmt.Errorf("it has seen %d of %d", accepted, len(opened))
		}
		return true, nil
	}); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	for _, n := range seen {
		t.result.Fresh.PortTwice += n - 1
	}
	t.result.Fresh.Opened = len(opened)
	if t.result.Fresh.PortTwice > 0 {
		t.result.problem("%d external ports were given out twice", t.result.Fresh.PortTwice)
	}
	t.say("%d new connections through %s, %d ports twice", len(opened), t.heir.name, t.result.Fresh.PortTwice)
	return nil
}

// forget lets go of the server's end of a connection without a word on the wire
// (TCP_REPAIR, include/uapi/linux/tcp.h): for the client and the firewall it stays open,
// and here it costs no descriptor.
func forget(conn net.Conn) {
	if raw, err := conn.(*net.TCPConn).SyscallConn(); err == nil {
		// Where it is refused the connection ends in the usual way.
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_REPAIR, 1) })
	}
	_ = conn.Close()
}

// dialMany opens n connections from both client addresses.
func (t *trial) dialMany(ctx context.Context, n int) (opened []net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	target := netip.AddrPortFrom(server, portFresh).String()
	jobs := make(chan netip.Addr)
	for range dialers {
		wg.Go(func() {
			for from := range jobs {
				conn, dialErr := t.net.client.Dial(ctx, "tcp", netip.AddrPortFrom(from, 0).String(), target)
				mu.Lock()
				if dialErr == nil {
					opened = append(opened, conn)
				} else if err == nil {
					err = fmt.Errorf("new connection %d: %w", len(opened), dialErr)
				}
				mu.Unlock()
			}
		})
	}
	for i := range n {
		jobs <- []netip.Addr{clientA, clientB}[i%2]
	}
	close(jobs)
	wg.Wait()
	return opened, err
}
