package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// talk is connections of the kernel's TCP through the firewall, each of which asks and is answered
// over and over until the test ends it: none may be lost, whatever becomes of the nodes.
type talk struct {
	conns   []net.Conn
	stop    chan struct{}
	all     sync.WaitGroup
	mu      sync.Mutex
	failed  error
	answers int
}

// talkPort is where the server answers.
const talkPort = 8080

// talks begins count of them.
func (s *site) talks(t *testing.T, count int) *talk {
	t.Helper()
	at := netip.AddrPortFrom(server, talkPort)
	echoes(t, s.server, at)
	k := &talk{stop: make(chan struct{})}
	for range count {
		c := s.dial(t, at.String())
		k.conns = append(k.conns, c)
		k.all.Go(func() { k.fail(k.ask(c)) })
	}
	t.Cleanup(func() {
		for _, c := range k.conns {
			c.Close()
		}
	})
	return k
}

// ask asks every few milliseconds, and waits for each answer.
func (k *talk) ask(c net.Conn) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var out, in [8]byte
	for n := uint64(1); ; n++ {
		select {
		case <-k.stop:
			return nil
		case <-tick.C:
		}
		binary.BigEndian.PutUint64(out[:], n)
		// TCP waits twice as long after each loss, so an answer may take as long again as an outage.
		if err := c.SetDeadline(time.Now().Add(2 * patience)); err != nil {
			return err
		}
		if _, err := c.Write(out[:]); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, in[:]); err != nil {
			return err
		}
		if in != out {
			return errors.New("another answer came than was asked for")
		}
		k.mu.Lock()
		k.answers++
		k.mu.Unlock()
	}
}

func (k *talk) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = errors.Join(k.failed, err)
}

// goesOn waits until n more answers have come, by all together.
func (k *talk) goesOn(t *testing.T, n int) {
	t.Helper()
	k.mu.Lock()
	from := k.answers
	k.mu.Unlock()
	eventually(t, "the connections go on", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.failed != nil {
			t.Fatalf("a connection is lost: %v", k.failed)
		}
		return k.answers >= from+n
	})
}

// survive ends them: each has its last answer, and none was lost.
func (k *talk) survive(t *testing.T) {
	t.Helper()
	close(k.stop)
	k.all.Wait()
	if k.failed != nil {
		t.Errorf("connections are lost: %v", k.failed)
	}
	for _, c := range k.conns {
		comesBack(t, c)
	}
}

// stream sends so many numbered datagrams a millisecond to the server, which answers each, until
// stop is called or the test ends; it returns how many were sent.
func (s *site) stream(t *testing.T, rate int) (stop func() (sent uint64)) {
	t.Helper()
	at := netip.AddrPortFrom(server, 4001)
	f := s.flowTo(t, at.Port())
	f.answers(t)
	conn, err := s.client.Dial(context.Background(), "udp", f.conn.LocalAddr().(*net.UDPAddr).IP.String()+":0", at.String())
	if err != nil {
		t.Fatal(err)
	}
	end, done := make(chan struct{}), make(chan uint64, 1)
	go func() {
		var n uint64
		var b [16]byte
		copy(b[:], "HFFLOOD!")
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		begun := time.Now()
		for {
			select {
			case <-end:
				done <- n
				return
			case <-tick.C:
			}
			// A tick that was missed is made up for, in part: the rate is what the test is about.
			due := min(uint64(time.Since(begun)/time.Millisecond)*uint64(rate), n+uint64(8*rate))
			for ; n < due; n++ {
				binary.BigEndian.PutUint64(b[8:], n)
				_, _ = conn.Write(b[:]) // what is lost is for the captures to find
			}
		}
	}()
	var once sync.Once
	var sent uint64
	stop = func() uint64 {
		once.Do(func() {
			close(end)
			sent = <-done
			conn.Close()
		})
		return sent
	}
	t.Cleanup(func() { stop() })
	return stop
}
