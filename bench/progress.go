package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// bar says how far a run is. On a terminal it is a line at the bottom with the time that is
// left, drawn anew twice a second; elsewhere only the lines that scenarios write appear.
type bar struct {
	out      io.Writer
	terminal bool
	quick    bool
	rows     []Scenario

	mu       sync.Mutex
	at       int // the row under way
	began    time.Time
	rowBegan time.Time
	done     time.Duration // what the rows before should have taken
	stop     chan struct{}
}

func newBar(out io.Writer, rows []Scenario, quick bool) *bar {
	b := &bar{out: out, terminal: isTerminal(out), quick: quick, rows: rows, at: -1, began: time.Now(), stop: make(chan struct{})}
	if b.terminal {
		go b.redraw()
	}
	return b
}

// isTerminal asks the kernel, as isatty(3) does.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (b *bar) redraw() {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-tick.C:
			b.mu.Lock()
			b.draw()
			b.mu.Unlock()
		}
	}
}

// begin says that a row begins.
func (b *bar) begin(s *Scenario) {
	b.mu.Lock()
	b.at++
	b.rowBegan = time.Now()
	b.mu.Unlock()
	fmt.Fprintf(b, "%s: %s\n", s.ID, s.Name)
}

// end says that it is over.
func (b *bar) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done += b.rows[b.at].takes(b.quick)
}

// Write writes lines above the bar.
func (b *bar) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.terminal {
		return b.out.Write(p)
	}
	var text bytes.Buffer
	text.WriteString(clearLine)
	text.Write(p)
	if _, err := b.out.Write(text.Bytes()); err != nil {
		return 0, err
	}
	if bytes.HasSuffix(p, []byte("\n")) {
		b.draw()
	}
	return len(p), nil
}

const clearLine = "\r\x1b[K"

// draw draws the bar; the caller holds mu.
func (b *bar) draw() {
	if b.at >= 0 && b.at < len(b.rows) {
		fmt.Fprint(b.out, clearLine, b.line(time.Now()))
	}
}

// line is the bar as text: how much of the time is over, by what rows usually take, and
// by how fast this machine was so far.
func (b *bar) line(now time.Time) string {
	left := b.left(now)
	over := now.Sub(b.began)
	share := over.Seconds() / max(1, (over+left).Seconds())
	const width = 24
	full := min(width, int(share*width))
	return fmt.Sprintf("[%s%s] %d of %d, %s, %s left", strings.Repeat("#", full), strings.Repeat(".", width-full),
		b.at+1, len(b.rows), b.rows[b.at].ID, left.Round(time.Second))
}

// left is how long it will still take, about.
func (b *bar) left(now time.Time) time.Duration {
	pace := 1.0
	if b.done > 0 {
		pace = min(4, max(0.5, b.rowBegan.Sub(b.began).Seconds()/b.done.Seconds()))
	}
	left := max(0, b.rows[b.at].takes(b.quick).Seconds()*pace-now.Sub(b.rowBegan).Seconds())
	for i := b.at + 1; i < len(b.rows); i++ {
		left += b.rows[i].takes(b.quick).Seconds() * pace
	}
	return time.Duration(left * float64(time.Second))
}

func (b *bar) close() {
	close(b.stop)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.terminal {
		fmt.Fprint(b.out, clearLine)
	}
	b.rows = nil // a redraw that is under way draws nothing
}
