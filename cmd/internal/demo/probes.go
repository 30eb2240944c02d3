package demo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/lab"
)

// probeEvery is how often the requests and the datagrams go out: 1 kHz.
const probeEvery = time.Millisecond

// requestSize is the length of a request and of its answer in bytes.
const requestSize = 16

// serveEcho answers what comes with itself, on every connection.
func serveEcho(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // the listener was closed
		}
		go func() {
			defer conn.Close()
			// An error is the client's to report: it misses the answer.
			_, _ = io.Copy(conn, conn)
		}()
	}
}

// requests is the 1 kHz connection: one small request every millisecond, whatever has
// become of the ones before. Its blackout is the longest time between two answers.
type requests struct {
	conn     net.Conn
	start    time.Time
	stop     chan struct{}
	sending  sync.WaitGroup
	receives sync.WaitGroup

	sent, answered atomic.Int64
	mu             sync.Mutex
	last           time.Time     // when the last answer came
	worst          time.Duration // longest time between two answers
	slowest        time.Duration // longest time from request to answer
	err            error
}

func startRequests(conn net.Conn) *requests {
	r := &requests{conn: conn, start: time.Now(), stop: make(chan struct{}), last: time.Now()}
	r.sending.Go(r.send)
	r.receives.Go(r.receive)
	return r
}

func (r *requests) send() {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	var b [requestSize]byte
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
		}
		binary.BigEndian.PutUint64(b[:], uint64(time.Since(r.start)))
		if _, err := r.conn.Write(b[:]); err != nil {
			r.fail(fmt.Errorf("requests: send: %w", err))
			return
		}
		r.sent.Add(1)
	}
}

func (r *requests) receive() {
	var b [requestSize]byte
	for {
		if _, err := io.ReadFull(r.conn, b[:]); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) || r.answered.Load() < r.sent.Load() {
				r.fail(fmt.Errorf("requests: receive: %w", err))
			}
			return
		}
		now := time.Now()
		r.mu.Lock()
		r.worst = max(r.worst, now.Sub(r.last))
		r.slowest = max(r.slowest, now.Sub(r.start)-time.Duration(binary.BigEndian.Uint64(b[:])))
		r.last = now
		r.mu.Unlock()
		r.answered.Add(1)
	}
}

func (r *requests) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

// blackout returns the longest time between two answers so far.
func (r *requests) blackout() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.worst, time.Since(r.last))
}

// finish stops sending, waits for the answers that are still to come, and returns why
// the connection is lost, or nil.
func (r *requests) finish(wait time.Duration) error {
	deadline := time.Now().Add(wait)
	if err := r.conn.SetDeadline(deadline); err != nil {
		return err
	}
	close(r.stop)
	r.sending.Wait() // a request under way is one whose answer is waited for
	for r.answered.Load() < r.sent.Load() && time.Now().Before(deadline) {
		r.mu.Lock()
		failed := r.err != nil
		r.mu.Unlock()
		if failed {
			break
		}
		time.Sleep(probeEvery)
	}
	err := r.conn.Close()
	r.receives.Wait()
	if missing := r.sent.Load() - r.answered.Load(); missing > 0 {
		return fmt.Errorf("requests: %d of %d unanswered: %w", missing, r.sent.Load(), errors.Join(r.err, err))
	}
	return nil
}

// datagrams is a flow of numbered datagrams, 1 kHz, each answered by the other side:
// the packets lost are the numbers that never came back.
type datagrams struct {
	write    func(seq uint64) error
	read     func() (uint64, error)
	stop     chan struct{}
	close    func() error
	sending  sync.WaitGroup
	receives sync.WaitGroup
	sent     atomic.Int64
	answered atomic.Int64
	refused  atomic.Int64 // sends that the kernel refused, e.g. while ARP is unanswered
	mu       sync.Mutex
	last     time.Time
	worst    time.Duration
}

func (d *datagrams) start(every time.Duration) *datagrams {
	d.stop, d.last = make(chan struct{}), time.Now()
	d.sending.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-d.stop:
				return
			case <-tick.C:
			}
			if err := d.write(uint64(d.sent.Load())); err != nil {
				d.refused.Add(1)
			}
			d.sent.Add(1)
		}
	})
	d.receives.Go(func() {
		for {
			if _, err := d.read(); err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				continue // an ICMP error that the kernel reports once
			}
			now := time.Now()
			d.mu.Lock()
			d.worst = max(d.worst, now.Sub(d.last))
			d.last = now
			d.mu.Unlock()
			d.answered.Add(1)
		}
	})
	return d
}

// finish stops sending, waits until an answer to a later datagram has come or wait has
// passed, and returns how many were lost.
func (d *datagrams) finish(wait time.Duration) (lost int64, err error) {
	close(d.stop)
	d.sending.Wait()
	deadline := time.Now().Add(wait)
	for d.answered.Load() < d.sent.Load() && time.Since(d.lastAnswer()) < wait/4 && time.Now().Before(deadline) {
		time.Sleep(probeEvery)
	}
	err = d.close()
	d.receives.Wait()
	return d.sent.Load() - d.answered.Load(), err
}

func (d *datagrams) lastAnswer() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// startUDP begins a flow of UDP datagrams over a connected socket.
func startUDP(conn net.Conn) *datagrams {
	var in, out [8]byte
	d := &datagrams{close: conn.Close}
	d.write = func(seq uint64) error {
		binary.BigEndian.PutUint64(out[:], seq)
		_, err := conn.Write(out[:])
		return err
	}
	d.read = func() (uint64, error) {
		_, err := conn.Read(in[:])
		return binary.BigEndian.Uint64(in[:]), err
	}
	return d.start(probeEvery)
}

// serveUDP answers every datagram with itself.
func serveUDP(conn net.PacketConn) {
	b := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = conn.WriteTo(b[:n], from) // a datagram may be lost: that is what is counted
		}
	}
}

// pingEvery is how often the ping goes out.
const pingEvery = 10 * time.Millisecond

// startPing begins a flow of ICMP echo requests.
func startPing(ns *lab.Namespace, from, to netip.Addr) (*datagrams, error) {
	conn, err := ns.Echo(from, 0)
	if err != nil {
		return nil, fmt.Errorf("ping: %w", err)
	}
	target := net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 0))
	var in [64]byte
	var out [16]byte
	d := &datagrams{close: conn.Close}
	d.write = func(seq uint64) error {
		out = [16]byte{0: 8} // echo request (RFC 792)
		binary.BigEndian.PutUint16(out[6:], uint16(seq))
		binary.BigEndian.PutUint64(out[8:], seq)
		_, err := conn.WriteTo(out[:], target)
		return err
	}
	d.read = func() (uint64, error) {
		_, _, err := conn.ReadFrom(in[:])
		return binary.BigEndian.Uint64(in[8:]), err
	}
	return d.start(pingEvery), nil
}
