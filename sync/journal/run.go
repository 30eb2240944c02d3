package journal

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"holdfast/sync/seal"
)

// runMax is how many batches leave together at most: more than what a worker tells of two full
// bursts of new connections.
const runMax = 16

// RunWay is a Way that takes a run of datagrams at once, which is cheaper than one after the
// other: a run goes through the stack of the kernel once.
//
//	+-- size --+-- size --+-- size --+-- size or less --+
//	| datagram | datagram | datagram | datagram         |
//	+----------+----------+----------+------------------+
type RunWay interface {
	Way
	// WriteRun hands over the datagrams of a run, as Write does one. On an error some of
	// them, or all, were not sent.
	WriteRun(run []byte, size int) error
}

// WriteRun hands a run to a way, one by one where it takes no runs. The error is the last one.
func WriteRun(way Way, run []byte, size int) (err error) {
	if len(run) <= size {
		return way.Write(run)
	}
	if w, ok := way.(RunWay); ok {
		return w.WriteRun(run, size)
	}
	return writeEach(way, run, size)
}

func writeEach(way Way, run []byte, size int) (err error) {
	for len(run) > 0 {
		n := min(size, len(run))
		if one := way.Write(run[:n]); one != nil {
			err = one
		}
		run = run[n:]
	}
	return err
}

// sendAll seals batches on a lane and hands them out like Send, in runs. scratch has room for
// all of them.
func (l *Link) sendAll(lane seal.Lane, scratch []byte, batches [][]byte) {
	s := l.Sessions.Session()
	if s == nil {
		return
	}
	run, size := scratch[:0], 0
	for _, b := range batches {
		length := len(b) + seal.Overhead
		if size > 0 && (length > size || len(run)%size != 0) {
			l.handed(count(run, size), WriteRun(l.Way, run, size))
			run, size = scratch[:0], 0
		}
		sealed := s.Seal(lane, run, b)
		if sealed == nil {
			l.Refused.Add(1) // as in Send
			continue
		}
		if run = sealed; size == 0 {
			size = length
		}
	}
	if size > 0 {
		l.handed(count(run, size), WriteRun(l.Way, run, size))
	}
}

// count returns how many datagrams a run has.
func count(run []byte, size int) int { return (len(run) + size - 1) / size }

// UDP is a Socket whose kernel cuts a run of datagrams itself (udp(7), UDP_SEGMENT; Linux 4.18),
// or the network device does. Make it with NewUDP.
type UDP struct {
	Socket
	cannot atomic.Bool // the kernel or the device has refused to
}

// NewUDP returns the way of a connected, non-blocking UDP socket.
func NewUDP(fd int) *UDP { return &UDP{Socket: Socket(fd)} }

// WriteRun hands a run to the kernel in one call (RunWay).
func (u *UDP) WriteRun(run []byte, size int) error {
	if u.cannot.Load() {
		return writeEach(u.Socket, run, size)
	}
	err := sendRun(int(u.Socket), run, size)
	switch err {
	case unix.EIO, unix.EINVAL, unix.EMSGSIZE, unix.EOPNOTSUPP, unix.ENOPROTOOPT:
		// No checksums by the device, a path that fragments such datagrams, an old kernel:
		// none of it comes and goes.
		u.cannot.Store(true)
		return writeEach(u.Socket, run, size)
	}
	return err
}
