package dataplane

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/rules"
)

// Packets that rules want logged leave the path as copies. A worker writes each into a ring
// of its own, in memory that was made at the start, and never waits: what finds no room is
// counted as shed. One goroutine takes them out, and decides what is told of them.
//
//	worker 0 --> ring --+
//	worker 1 --> ring --+--> PacketLog.Take --> lines, pcapng (package capture)
//	                    +--> bell: rung at the end of a burst, where the taker sleeps
//
// What becomes of a packet is known only at the end of its burst. Until then its slot is
// open: reserved, and not published (logbook).

// LoggedPacket is a copy of a packet with what the path knew of it: plain data. All but
// Bytes was decoded and checked; Bytes is as hostile as it came.
type LoggedPacket struct {
	At          int64 // CLOCK_BOOTTIME ns
	Port        packet.PortID
	Sense       LogSense              // of Port's wire
	In, Out     packet.PortID         // packet.Self: the node
	Rule        uint32                // rules.Rule.Number
	Action      rules.Action          // of the rule
	Reason      drop.Reason           // drop.Pass: it went on
	Direction   conntrack.Direction   // valid with Incarnation
	Incarnation conntrack.Incarnation // of its connection; 0: none
	Parsed      packet.Parsed         // as it came
	Sent        packet.Tuple          // as it was translated, valid with Translated
	Translated  bool
	FrameLen    int    // of the frame as it came
	Bytes       []byte // its beginning; good until Take's callback returns
	burst       *burst // while it is open: whose packet it is; nil: its fate is known
	index       int
	void        bool // to be passed over: it will come again
}

// LogSense says how a logged packet crossed its port.
type LogSense uint8

// The senses. The zero value is illegal.
const (
	LogUnset    LogSense = iota
	LogInbound           // it came in by the port
	LogOutbound          // the node sent it by the port
)

// logSlots is how many packets wait in one worker's ring, a power of two.
const logSlots = 1 << 10

// logRing is one worker's. The worker writes put and shed, the taker writes taken.
type logRing struct {
	put   atomic.Uint64 // packets ever published
	shed  atomic.Uint64 // packets that found no room
	_     [48]byte      // or else each would write into the other's cache line
	taken atomic.Uint64
	_     [56]byte
	slots [logSlots]LoggedPacket
	bytes []byte // of all slots
	snap  int
}

// PacketLog is the rings of all workers, and the bell that wakes who takes from them.
type PacketLog struct {
	rings  []*logRing
	bell   *os.File // an eventfd
	bellFd int
	asleep atomic.Bool // the taker is, or is about to be
}

// NewPacketLog makes the rings of so many workers, which keep snap bytes of each packet.
func NewPacketLog(workers, snap int) (*PacketLog, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("packet log: eventfd: %w", err)
	}
	l := &PacketLog{bell: os.NewFile(uintptr(fd), "packet log"), bellFd: fd}
	for range workers {
		l.rings = append(l.rings, newLogRing(snap))
	}
	return l, nil
}

func newLogRing(snap int) *logRing {
	r := &logRing{snap: snap, bytes: make([]byte, logSlots*snap)}
	for i := range r.slots {
		r.slots[i].Bytes = r.bytes[i*snap : i*snap : (i+1)*snap]
	}
	return r
}

// Close wakes the taker for good. The workers must have ended.
func (l *PacketLog) Close() error { return l.bell.Close() }

// Wait sleeps until there is something to take. It returns os.ErrClosed after Close.
func (l *PacketLog) Wait() error {
	for {
		l.asleep.Store(true)
		// A worker that published before it saw asleep is seen here; any other rings.
		if l.waits() {
			l.asleep.Store(false)
			return nil
		}
		var b [8]byte
		_, err := l.bell.Read(b[:])
		l.asleep.Store(false)
		switch {
		case errors.Is(err, os.ErrClosed):
			return os.ErrClosed
		case err != nil:
			return fmt.Errorf("packet log: waiting: %w", err)
		}
		if l.waits() {
			return nil
		}
	}
}

func (l *PacketLog) waits() bool {
	for _, r := range l.rings {
		if r.put.Load() != r.taken.Load() {
			return true
		}
	}
	return false
}

// Take hands over all that waits, of each worker in its order. One goroutine may call it.
func (l *PacketLog) Take(each func(*LoggedPacket)) {
	for _, r := range l.rings {
		for from, to := r.taken.Load(), r.put.Load(); from < to; from++ {
			if p := &r.slots[from%logSlots]; !p.void {
				each(p)
			}
			r.taken.Store(from + 1)
		}
	}
}

// Shed returns how many packets found no room since the start.
func (l *PacketLog) Shed() (n uint64) {
	for _, r := range l.rings {
		n += r.shed.Load()
	}
	return n
}

// wake wakes the taker where it sleeps. Workers call it, at most once a burst.
func (l *PacketLog) wake() {
	if !l.asleep.Load() || !l.asleep.CompareAndSwap(true, false) {
		return
	}
	one := [8]byte{0: 1}
	_, _ = unix.Write(l.bellFd, one[:]) // EAGAIN: it rings already
}
