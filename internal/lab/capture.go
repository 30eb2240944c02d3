package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// captureBuffer is the socket's receive buffer in bytes. The kernel charges about
// 1 KiB for a small frame, so it holds about a minute of a second's 1,000 frames, or
// six seconds of 10,000, without anybody reading.
const captureBuffer = 64 << 20

// captureKeep is how many frames a capture keeps unless told otherwise.
const captureKeep = 1 << 16

// Frame is one captured frame.
type Frame struct {
	Time time.Time // when the kernel received it (CLOCK_REALTIME)
	Data []byte    // the whole frame from its Ethernet header on
}

// CaptureOptions says what a capture counts and keeps.
type CaptureOptions struct {
	Filter func(frame []byte) bool // nil: every frame. Called one frame at a time; it must not keep the slice
	Keep   int                     // how many of the first frames Frames returns; 0: 65536
}

// Capture sees the frames that one link receives, and not those it sends: on the
// switch end of a veth pair these are exactly the frames that the other end let out,
// whether its kernel or an AF_XDP socket sent them.
type Capture struct {
	lab  *Lab
	name string
	file *os.File
	fd   int // that of file, for the non-blocking reads
	done chan struct{}

	mu      sync.Mutex
	options CaptureOptions
	buffer  []byte
	control []byte
	count   int
	last    time.Time
	dropped int
	frames  []Frame
	err     error // the first that ended the reading
	stopped bool
}

// Capture begins to capture on a link. Every frame that arrives after it returned is seen.
func (n *Namespace) Capture(link string, options CaptureOptions) (*Capture, error) {
	l, err := n.Link(link)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	if options.Keep == 0 {
		options.Keep = captureKeep
	}
	c := &Capture{
		lab: n.lab, name: link + " in " + n.name, options: options, done: make(chan struct{}),
		buffer: make([]byte, 1<<16), control: make([]byte, unix.CmsgSpace(16)),
	}
	if err := n.Do(func() error { return c.open(l.Attrs().Index) }); err != nil {
		return nil, fmt.Errorf("capture on %s: %w", c.name, err)
	}
	go c.read()
	if err := n.lab.addCapture(c); err != nil {
		return nil, errors.Join(fmt.Errorf("capture on %s: %w", c.name, err), c.Stop())
	}
	return c, nil
}

// open makes the socket; protocol 0 until it is bound, so that no frame of another
// link is ever queued.
func (c *Capture) open(ifindex int) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	for _, option := range []struct{ level, name, value int }{
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
	} {
		if err := unix.SetsockoptInt(fd, option.level, option.name, option.value); err != nil {
			_ = unix.Close(fd)
			return fmt.Errorf("setsockopt %d: %w", option.name, err)
		}
	}
	const allProtocols = uint16(unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00) // network byte order
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: allProtocols, Ifindex: ifindex}); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("bind: %w", err)
	}
	c.fd = fd
	c.file = os.NewFile(uintptr(fd), "capture")
	return nil
}

// read takes frames off the socket as they come, until Stop.
func (c *Capture) read() {
	defer close(c.done)
	raw, err := c.file.SyscallConn()
	if err == nil {
		err = raw.Read(func(uintptr) bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.drainLocked()
			return c.err != nil
		})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !c.stopped {
		c.err = err
	}
}

// drainLocked takes every frame that the kernel has queued.
func (c *Capture) drainLocked() {
	for c.err == nil && !c.stopped {
		n, controlLen, _, _, err := unix.Recvmsg(c.fd, c.buffer, c.control, 0)
		switch {
		case err == unix.EAGAIN:
			return
		case err == unix.EINTR || err == unix.ENETDOWN: // the link went down: frames go on when it is up
			continue
		case err != nil:
			c.err = fmt.Errorf("capture on %s: %w", c.name, err)
			return
		}
		frame := c.buffer[:n]
		if c.options.Filter != nil && !c.options.Filter(frame) {
			continue
		}
		c.count++
		c.last = timestamp(c.control[:controlLen])
		if len(c.frames) < c.options.Keep {
			c.frames = append(c.frames, Frame{Time: c.last, Data: append([]byte(nil), frame...)})
		}
	}
}

// timestamp finds the kernel's time of receipt, the zero time where it gave none.
func timestamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Time{}
}

// Count returns how many frames passed the filter, all that have arrived by now.
func (c *Capture) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drainLocked()
	return c.count
}

// Last returns when the last frame that passed the filter arrived.
func (c *Capture) Last() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drainLocked()
	return c.last
}

// Frames returns the frames kept by now, oldest first. Their Data must not be changed.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drainLocked()
	return append([]Frame(nil), c.frames...)
}

// Err says why the capture is not complete: frames that the socket had no room for,
// or a failed read. nil: it saw every frame. A test that counts to zero asks this too.
func (c *Capture) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.statisticsLocked()
	switch {
	case c.err != nil:
		return c.err
	case c.dropped > 0:
		return fmt.Errorf("capture on %s: %d frames found no room", c.name, c.dropped)
	}
	return nil
}

// statisticsLocked adds up what the kernel dropped; reading resets its counter.
func (c *Capture) statisticsLocked() {
	if c.stopped {
		return
	}
	statistics, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		c.err = errors.Join(c.err, fmt.Errorf("capture on %s: statistics: %w", c.name, err))
		return
	}
	c.dropped += int(statistics.Drops)
}

// Stop ends the capture, with what has arrived by now. What was captured stays
// readable. A second call does nothing.
func (c *Capture) Stop() error {
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		<-c.done
		return nil
	}
	c.drainLocked()
	c.statisticsLocked()
	c.stopped = true
	c.mu.Unlock()
	c.lab.forget(c)
	err := c.file.Close()
	<-c.done
	if err != nil && !errors.Is(err, syscall.EBADF) {
		return fmt.Errorf("capture on %s: %w", c.name, err)
	}
	return nil
}
