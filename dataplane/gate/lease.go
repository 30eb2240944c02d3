package gate

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"holdfast/internal/mutant"
)

// Now returns CLOCK_BOOTTIME in nanoseconds: monotonic, and counting while the
// machine is suspended (clock_gettime(2)). It is the one clock of the data plane.
func Now() int64 {
	var ts unix.Timespec
	// The call cannot fail: the clock exists since Linux 2.6.39 and ts is ours.
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("gate: CLOCK_BOOTTIME: " + err.Error())
	}
	return ts.Nano()
}

// Lease is the right to transmit until an instant of CLOCK_BOOTTIME. The zero value
// is no right. One goroutine, the cluster's, writes; any number read.
type Lease struct {
	until atomic.Int64 // nanoseconds of CLOCK_BOOTTIME; 0: not granted
}

// Held reports whether the lease still runs at now, a reading the caller has just taken.
func (l *Lease) Held(now int64) bool { return now < l.until.Load() }

// Until returns the instant at which the lease ends, or 0 where none is granted.
func (l *Lease) Until() int64 { return l.until.Load() }

// Grant begins a lease that runs until the given instant: a promotion.
func (l *Lease) Grant(until int64) { l.until.Store(until) }

// Extend prolongs a lease that still runs at now, a reading taken before whatever
// made the caller believe that it may, and reports whether it did. A lease that has
// lapsed stays lapsed.
func (l *Lease) Extend(now, until int64) bool {
	old := l.until.Load()
	if now >= old && !mutant.LapsedLeaseExtended {
		return false
	}
	// A worker that finds the lease lapsed revokes it; the swap keeps that.
	return l.until.CompareAndSwap(old, until)
}

// Lapse makes a lease that has run out at now a revoked one, so that nobody extends it:
// a worker that found it so. A lease that was granted anew meanwhile stays.
func (l *Lease) Lapse(now int64) {
	if old := l.until.Load(); now >= old {
		l.until.CompareAndSwap(old, 0)
	}
}

// Revoke ends the lease at once: a demotion.
func (l *Lease) Revoke() { l.until.Store(0) }
