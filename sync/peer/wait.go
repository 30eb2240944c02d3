package peer

// Bounds of the times that follow from what the link does, in nanoseconds.
const (
	waitMin    = 3e6   // before a missed batch is asked for, on a link that keeps order
	waitMax    = 50e6  // on any other
	epoch      = 10e9  // what came late counts for one to two epochs
	retryMin   = 5e6   // before an answer that does not come is asked for again
	retryMax   = 250e6 // the same, at most
	backoffUp  = 3     // doublings of it where no answer comes at all
	silenceMax = 500e6 // and that, at most
)

// stepMax is how much time passes for a Machine from one call to the next, in ns at most:
// two ticks of its driver.
const stepMax = 10e6

// attention is the time that a Machine has been looking. When its driver stands still, what
// comes lies in the socket, and is neither late nor lost.
type attention struct {
	passed int64 // ns
	last   int64 // the driver's clock
}

// at returns the time passed when the driver's clock shows now.
func (a *attention) at(now int64) int64 {
	a.passed += min(max(now-a.last, 0), stepMax)
	a.last = max(a.last, now)
	return a.passed
}

// lateness is how long to wait for a batch that a later one has overtaken, before it is
// taken for lost: the longest that one was late, and a quarter more. The reordering
// window of RFC 8985 section 6.2 does the same for TCP, from less: it cannot tell
// what was sent again from what came late, and a lane can.
type lateness struct {
	begun   int64    // of the epoch
	longest [2]int64 // in this epoch, and in the one before; ns
}

// turn begins the next epoch where it is time.
func (l *lateness) turn(now int64) {
	switch past := now - l.begun; {
	case past >= 2*epoch:
		l.longest = [2]int64{}
	case past >= epoch:
		l.longest = [2]int64{0, l.longest[0]}
	default:
		return
	}
	l.begun = now
}

// saw takes in that a batch came at now, so long after it was missed.
func (l *lateness) saw(now, late int64) {
	l.turn(now)
	l.longest[0] = max(l.longest[0], late)
}

// wait returns how long to wait for a missed batch, in ns.
func (l *lateness) wait(now int64) int64 {
	l.turn(now)
	longest := max(l.longest[0], l.longest[1])
	return min(max(longest+longest/4, waitMin), waitMax)
}

// roundTrip is how long a request and its answer take, as RFC 6298 section 2 measures it.
// Only batches that were asked for once count (Karn's rule).
type roundTrip struct {
	first          int64 // what is waited for an answer before anything is measured, ns
	smooth, spread int64 // ns; 0: nothing measured yet
}

func (r *roundTrip) saw(sample int64) {
	sample = max(sample, 1)
	if r.smooth == 0 {
		r.smooth, r.spread = sample, sample/2
		return
	}
	off := r.smooth - sample
	if off < 0 {
		off = -off
	}
	r.spread += (off - r.spread) / 4
	r.smooth += (sample - r.smooth) / 8
}

// retry returns how long to wait for an answer, in ns.
func (r *roundTrip) retry() int64 {
	if r.smooth == 0 {
		return r.first
	}
	return min(max(r.smooth+4*r.spread, retryMin), retryMax)
}
