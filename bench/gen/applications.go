package gen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Dial makes a connection to a listener of this package; lab.Namespace.Dial closed over
// its addresses is one.
type Dial func(ctx context.Context) (net.Conn, error)

// Load is what real applications are to do.
type Load struct {
	Connections int           // at once; 0: one
	Length      time.Duration // 0: one second
	Size        int           // bytes: of a write of Bulk (0: 64 KiB), of request and answer of Ask (0: 64)
	Each        int           // of Ask: requests a connection, then a new one; 0: as many as there is time for
	Requests    uint64        // of Ask: on each of the connections, at most; 0: no bound
}

func (l Load) withDefaults(size int) Load {
	l.Connections = max(1, l.Connections)
	if l.Length == 0 {
		l.Length = time.Second
	}
	if l.Size == 0 {
		l.Size = size
	}
	return l
}

// Transfer is what Bulk measured.
type Transfer struct {
	Bytes uint64 // read by the far side
	Took  time.Duration
}

// BitsPerSecond is the goodput.
func (t Transfer) BitsPerSecond() float64 { return float64(t.Bytes) * 8 / t.Took.Seconds() }

// grace is how long applications have to end after their time.
const grace = 2 * time.Second

// Bulk sends from the dialling to the listening side as fast as the kernel's TCP will, and
// counts what is read there. The listener is closed when it returns.
func Bulk(ctx context.Context, listener net.Listener, dial Dial, l Load) (t Transfer, err error) {
	l = l.withDefaults(64 << 10)
	var read counter
	server := serve(listener, time.Now().Add(l.Length+grace), func(conn net.Conn) error {
		_, err := io.CopyBuffer(&read, struct{ io.Reader }{conn}, make([]byte, l.Size))
		return err
	})
	begin := time.Now()
	err = each(l.Connections, func(int) error {
		conn, err := dialFor(ctx, dial, l.Length+grace)
		if err != nil {
			return err
		}
		defer conn.Close()
		for b := make([]byte, l.Size); time.Since(begin) < l.Length && ctx.Err() == nil; {
			if _, err := conn.Write(b); err != nil {
				return fmt.Errorf("writing: %w", err)
			}
		}
		return nil
	})
	err = errors.Join(err, server.close())
	t.Bytes, t.Took = read.value(), time.Since(begin)
	if err != nil {
		return t, fmt.Errorf("bulk transfer: %w", err)
	}
	return t, nil
}

// Asked is what Ask measured.
type Asked struct {
	Requests    uint64
	Connections uint64
	Latency     Histogram // of a request, from its writing to the whole answer; with Each, the first includes the connecting
	Took        time.Duration
}

// PerSecond is the rate of requests.
func (a *Asked) PerSecond() float64 { return float64(a.Requests) / a.Took.Seconds() }

// Ask sends requests, one at a time on each connection, and reads answers of the same
// size. The listener is closed when it returns.
func Ask(ctx context.Context, listener net.Listener, dial Dial, l Load) (*Asked, error) {
	l = l.withDefaults(64)
	server := serve(listener, time.Now().Add(l.Length+grace), func(conn net.Conn) error {
		for b := make([]byte, l.Size); ; {
			if _, err := io.ReadFull(conn, b); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if _, err := conn.Write(b); err != nil {
				return err
			}
		}
	})
	workers := make([]Asked, l.Connections)
	begin := time.Now()
	err := each(l.Connections, func(i int) error { return workers[i].ask(ctx, dial, l, begin.Add(l.Length)) })
	a := &Asked{Took: time.Since(begin)}
	err = errors.Join(err, server.close())
	for i := range workers {
		a.Requests += workers[i].Requests
		a.Connections += workers[i].Connections
		a.Latency.Merge(&workers[i].Latency)
	}
	if err != nil {
		return a, fmt.Errorf("requests: %w", err)
	}
	return a, nil
}

// ask does the requests of one connection, and of those that follow it.
func (a *Asked) ask(ctx context.Context, dial Dial, l Load, end time.Time) error {
	out, in := make([]byte, l.Size), make([]byte, l.Size)
	more := func() bool {
		return ctx.Err() == nil && time.Now().Before(end) && (l.Requests == 0 || a.Requests < l.Requests)
	}
	for more() {
		begin := time.Now()
		conn, err := dialFor(ctx, dial, time.Until(end)+grace)
		if err != nil {
			return err
		}
		if l.Each == 0 {
			begin = time.Now() // the connecting is no part of a request
		}
		a.Connections++
		for n := 0; more() && (l.Each == 0 || n < l.Each); n++ {
			if n > 0 {
				begin = time.Now()
			}
			_, err := conn.Write(out)
			if err == nil {
				_, err = io.ReadFull(conn, in)
			}
			if err != nil {
				return errors.Join(fmt.Errorf("request %d: %w", a.Requests, err), conn.Close())
			}
			a.Latency.Add(time.Since(begin))
			a.Requests++
		}
		if err := conn.Close(); err != nil {
			return fmt.Errorf("closing: %w", err)
		}
	}
	return nil
}

// dialFor dials and bounds all that is then done on the connection.
func dialFor(ctx context.Context, dial Dial, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// each runs fn n times at once and returns all errors.
func each(n int, fn func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = fn(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// counter counts bytes from several connections.
type counter struct {
	mu sync.Mutex
	n  uint64
}

func (c *counter) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += uint64(len(b))
	return len(b), nil
}

func (c *counter) value() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// applicationServer accepts connections until it is closed.
type applicationServer struct {
	listener net.Listener
	all      sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

// serve hands every connection to fn, which has until the deadline.
func serve(listener net.Listener, deadline time.Time, fn func(net.Conn) error) *applicationServer {
	s := &applicationServer{listener: listener}
	s.all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					s.fail(fmt.Errorf("accepting: %w", err))
				}
				return
			}
			s.all.Go(func() {
				defer conn.Close()
				err := conn.SetDeadline(deadline)
				if err == nil {
					err = fn(conn)
				}
				if err != nil {
					s.fail(fmt.Errorf("serving %s: %w", conn.RemoteAddr(), err))
				}
			})
		}
	})
	return s
}

func (s *applicationServer) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
}

// close waits for the connections, which the clients have closed, and returns all errors.
func (s *applicationServer) close() error {
	err := s.listener.Close()
	s.all.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(append(s.errs, err)...)
}
