package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"
)

// serveBytes sends size bytes made from a seed to whoever connects, then their SHA-256.
func serveBytes(l net.Listener, size int64, seed uint64) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // the listener was closed: the trial is over
		}
		go func() {
			defer conn.Close()
			sum := sha256.New()
			// The client sees any failure as a short or wrong download.
			if _, err := io.CopyN(io.MultiWriter(conn, sum), newNoise(seed), size); err == nil {
				_, _ = conn.Write(sum.Sum(nil))
			}
		}()
	}
}

// noise is an endless, cheap and incompressible stream: one random block whose
// beginning is stamped anew, so that no two blocks are alike.
type noise struct {
	block []byte
	at    int
	count uint64
}

func newNoise(seed uint64) *noise {
	n := &noise{block: make([]byte, 64<<10)}
	rng := rand.New(rand.NewPCG(seed, seed))
	for i := 0; i < len(n.block); i += 8 {
		binary.LittleEndian.PutUint64(n.block[i:], rng.Uint64())
	}
	return n
}

// Read never fails.
func (n *noise) Read(p []byte) (int, error) {
	if n.at == 0 {
		binary.LittleEndian.PutUint64(n.block, n.count)
		n.count++
	}
	c := copy(p, n.block[n.at:])
	n.at = (n.at + c) % len(n.block)
	return c, nil
}

// download is one transfer as the client sees it.
type download struct {
	size     int64
	received atomic.Int64
	done     chan error
	sumOK    bool // valid after done
	took     time.Duration
}

// startDownload reads size bytes and the sender's checksum from conn.
func startDownload(conn net.Conn, size int64) *download {
	d := &download{size: size, done: make(chan error, 1)}
	go func() {
		defer conn.Close()
		start := time.Now()
		err := d.read(conn)
		d.took = time.Since(start)
		d.done <- err
	}()
	return d
}

func (d *download) read(conn net.Conn) error {
	sum := sha256.New()
	if _, err := io.CopyN(&counted{sum, &d.received}, conn, d.size); err != nil {
		return fmt.Errorf("download: after %d bytes: %w", d.received.Load(), err)
	}
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(conn, want); err != nil {
		return fmt.Errorf("download: checksum: %w", err)
	}
	d.sumOK = bytes.Equal(want, sum.Sum(nil))
	return nil
}

// counted counts what goes into a hash.
type counted struct {
	hash hash.Hash
	n    *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.hash.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// wait returns when the download has ended, or with an error when ctx has.
func (d *download) wait(ctx context.Context) error {
	select {
	case err := <-d.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("download: stuck after %d of %d bytes: %w", d.received.Load(), d.size, context.Cause(ctx))
	}
}
