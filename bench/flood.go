package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/bench/gen"
	"holdfast/bench/tracker"
)

// The flood: SYNs with drawn sources and ports towards an address that nobody has, at 0.8
// times what the bare forwarder carries, against a table of 100,000 connections, while
// real clients go on.
const (
	floodConnections = 100_000 // of the table
	floodShare       = 0.8     // of the bare forwarder's rate
	floodClients     = 100     // established before it
	floodSources     = 1 << 15
	floodAskEvery    = 20 * time.Millisecond // each client
	floodDialEvery   = 10 * time.Millisecond
	floodPatience    = 5 * time.Second // a client gives an answer or a connection up after it
)

var (
	floodTarget = netip.MustParseAddr("198.18.0.2")
	farServer   = netip.AddrPortFrom(far, 7000)
)

// flood is the SYN flood of the acceptance of connection tracking.
func flood(ctx context.Context, quick bool, progress io.Writer) (row Row, err error) {
	row = Row{
		ID: "flood", Name: "SYN flood at 0.8 of the bare forwarder's rate, table of 100,000", Unit: "%",
		Notes: "Clients, flood, firewall and server share two cores. Beside the first point: SYNs per second sent, and taken by the firewall.",
	}
	l, err := newLine()
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	binary, err := l.buildHoldfast(ctx)
	if err != nil {
		return row, err
	}
	length := 20 * time.Second
	if quick {
		length = 5 * time.Second
	}
	bare, err := l.measure(ctx, bareForwarder(), traffic{flows: 64 << 10}, 2*time.Second)
	if err != nil {
		return row, err
	}
	if err := l.sink.Own(netip.PrefixFrom(far, 32)); err != nil {
		return row, err
	}
	f, err := l.flooded(ctx, holdfast(binary, floodConnections), uint64(bare.rate*floodShare), length)
	if err != nil {
		return row, err
	}
	fmt.Fprintf(progress, "  bare %.0f/s; %s\n", bare.rate, f)
	row.Points = []Point{
		share("established connections that went on", floodClients-f.lost, floodClients, 100),
		share("new connections that came about", f.connected, f.dialled, 99.9),
	}
	row.Points[0].Details = map[string]float64{"sent": f.offered, "taken": f.taken}
	row.Points = append(row.Points, share("memory after half of the flood, of that at its end", f.memoryBefore, f.memoryAfter, 99))
	return row, nil
}

// share is n of m in per cent, at least must.
func share(at string, n, m int64, must float64) Point {
	v := 100 * float64(n) / float64(max(m, 1))
	return Point{At: at, Value: v, Min: v, Max: v, Must: must, OK: v >= must && m > 0}
}

// flooding is what a flood did to a firewall.
type flooding struct {
	lost               int64 // of the established connections
	answered           int64
	worst              time.Duration // longest wait for an answer
	dialled, connected int64
	offered, taken     float64 // SYNs/s
	memoryBefore       int64   // bytes, anonymous
	memoryAfter        int64
}

func (f flooding) String() string {
	return fmt.Sprintf("%.0f SYN/s sent, %.0f/s taken; %d of %d established lost, %d answers, the slowest after %v; %d of %d new connections; memory %d -> %d KiB",
		f.offered, f.taken, f.lost, floodClients, f.answered, f.worst.Round(time.Millisecond), f.connected, f.dialled, f.memoryBefore>>10, f.memoryAfter>>10)
}

// flooded lets clients talk through a firewall, floods it, and counts.
func (l *line) flooded(ctx context.Context, f forwarder, rate uint64, length time.Duration) (out flooding, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	at, err := f.start(ctx, l)
	if err != nil {
		return out, fmt.Errorf("%s: %w", f.name, err)
	}
	defer at.end()
	listener, err := l.sink.Listen("tcp", farServer.String())
	if err != nil {
		return out, err
	}
	defer listener.Close()
	go echo(listener)
	clients := &floodClientele{line: l, stop: make(chan struct{})}
	if err := clients.open(ctx); err != nil {
		return out, err
	}
	clients.start(ctx)
	if err := l.flood(at.pids[0], rate, length, &out); err != nil {
		return out, errors.Join(err, clients.close())
	}
	err = clients.close()
	out.lost, out.answered, out.worst = clients.lost.Load(), clients.answered.Load(), time.Duration(clients.worst.Load())
	out.dialled, out.connected = clients.dialled.Load(), clients.connected.Load()
	return out, err
}

// flood sends it, in two halves.
func (l *line) flood(pid int, rate uint64, length time.Duration, out *flooding) error {
	g0, err := index(l.gen, "g0")
	if err != nil {
		return err
	}
	return l.gen.Do(func() error {
		if err := pin(0, coreGenerator); err != nil {
			return err
		}
		g, err := gen.NewSYNFlood(gen.Flows{
			DstMAC: macF0, SrcMAC: macG0, Src: sources.Addr(), Dst: floodTarget, DstPort: dstPort,
			Count: floodSources, Ifindex: g0, Rate: rate,
		})
		if err != nil {
			return err
		}
		defer g.Close()
		for half := range 2 {
			w, err := l.window(g, length/2)
			if err != nil {
				return err
			}
			out.offered, out.taken = w.offered(), w.rate()
			memory, err := tracker.Anonymous(pid)
			if err != nil {
				return err
			}
			if half == 0 {
				out.memoryBefore = memory
			}
			out.memoryAfter = memory
		}
		return nil
	})
}

// echo answers what comes with itself.
func echo(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn) // an error is the client's to miss
		}()
	}
}

// floodClientele is the real clients.
type floodClientele struct {
	line  *line
	conns []net.Conn
	stop  chan struct{}
	wg    sync.WaitGroup

	lost, answered, worst, dialled, connected atomic.Int64
}

func (c *floodClientele) open(ctx context.Context) error {
	for range floodClients {
		conn, err := c.line.gen.Dial(ctx, "tcp", "", farServer.String())
		if err != nil {
			return fmt.Errorf("before the flood: %w", err)
		}
		c.conns = append(c.conns, conn)
	}
	return nil
}

func (c *floodClientele) start(ctx context.Context) {
	for _, conn := range c.conns {
		c.wg.Go(func() {
			if err := c.every(floodAskEvery, func() error { return c.ask(conn) }); err != nil {
				c.lost.Add(1)
			}
		})
	}
	c.wg.Go(func() {
		_ = c.every(floodDialEvery, func() error { // counted, not reported one by one
			c.wg.Go(func() { c.dial(ctx) })
			return nil
		})
	})
}

// every does something again and again until the end, or until it fails.
func (c *floodClientele) every(interval time.Duration, do func() error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return nil
		case <-tick.C:
			if err := do(); err != nil {
				return err
			}
		}
	}
}

func (c *floodClientele) ask(conn net.Conn) error {
	begin := time.Now()
	var b [16]byte
	if err := conn.SetDeadline(begin.Add(floodPatience)); err != nil {
		return err
	}
	if _, err := conn.Write(b[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return err
	}
	c.answered.Add(1)
	took := int64(time.Since(begin))
	for worst := c.worst.Load(); took > worst && !c.worst.CompareAndSwap(worst, took); worst = c.worst.Load() {
	}
	return nil
}

// dial makes a new connection and asks once.
func (c *floodClientele) dial(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, floodPatience)
	defer cancel()
	c.dialled.Add(1)
	conn, err := c.line.gen.Dial(ctx, "tcp", "", farServer.String())
	if err != nil {
		return
	}
	defer conn.Close()
	if c.ask(conn) == nil {
		c.connected.Add(1)
	}
}

// close ends the clients.
func (c *floodClientele) close() error {
	close(c.stop)
	c.wg.Wait()
	var errs []error
	for _, conn := range c.conns {
		if err := conn.Close(); err != nil && !errors.Is(err, unix.ECONNRESET) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
