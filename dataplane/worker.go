package dataplane

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/conntrack"
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/fragment"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/dataplane/xsk"
	"holdfast/internal/mutant"
	"holdfast/nat"
	"holdfast/sync/journal"
)

// burstMax is how many packets take the path together: enough to hide memory latency,
// few enough that a packet does not wait for its burst.
const burstMax = 64

// idleMax is the longest sleep of a worker that has nothing to do. It bounds how long
// its Progress stands still, so it must stay well below the shortest lease.
const idleMax = 4 * time.Millisecond

// A worker whose last burst was of spinBurst packets or more looks again for spinNanos
// before it sleeps: to wake a core that has gone to sleep costs whoever delivers the next
// packet an interrupt to it, which on virtual machines takes longer than the whole burst
// (measured 2026-11-21, N1 on two virtual cores: 0.39x of the bare forwarder, the worker
// asleep for 70 % of the time, and the generator slowed down by waking it).
const (
	spinBurst = 16
	spinNanos = int64(200e3)
)

// Config is what a worker needs.
type Config struct {
	ID        int
	Ports     []*Port        // by PortID
	Queues    []xsk.QueueRef // each names any of its device's ports
	Frames    int            // of packet memory, 0: enough for all rings
	Lease     *gate.Lease
	Snapshot  *atomic.Pointer[Snapshot]
	Journal   *journal.Journal
	Resolver  Resolver
	Fragments *fragment.Tracker // shared by all workers; nil: one of its own
	Overloads *Overloads        // likewise
	Workers   int               // how many there are: each sweeps its share of the table
	SynProxy  *SynProxy         // shared by all workers; nil: one of its own, with a secret of zeros
	DeferMax  time.Duration     // how long a first packet may wait for a peer; 0: DeferMax
	Node      uint16            // this node's number, as incarnations that it begins carry it
	Log       *PacketLog        // of all workers; nil: nothing is logged

	Quarantine *Quarantine // shared by all workers; nil: one of its own
	Crashes    *Crashes    // likewise
}

// Resolver asks for the MAC of a neighbour (dataplane/fib.Watcher). It must not block.
type Resolver interface {
	Resolve(port packet.PortID, addr packet.Addr)
}

// Worker is one worker. Make it with NewWorker, run it with Run.
type Worker struct {
	config   Config
	umem     *xsk.Umem
	shares   []*share // by PortID
	devices  []*device
	poller   xsk.Poller
	wake     int // eventfd
	progress gate.Progress

	now          int64 // CLOCK_BOOTTIME ns, read once per turn
	spinUntil    int64 // no sleep before
	active       bool  // the lease was held at now
	wasActive    bool  // in the turn before
	snapshot     *Snapshot
	burst        burst
	result       conntrack.Result
	turned       nat.Turn // of the first packet that is being admitted
	decision     decision // on it
	assembly     assembly
	quotation    quotation // of the ICMP error at hand
	hops         hops
	logbook      logbook
	recorder     Recorder // says what happens to connections, where somebody watches
	parked       parking
	deferral     deferral
	proxying     proxying
	parkedBefore [parkedMax]xsk.Desc
	retrying     []xsk.Desc // of those, the ones whose turn is still to come
	sweepAt      uint32     // the entry to look at next
	sweptAt      int64      // when
	ended        [sweepStep]conntrack.Ended
	unlost       int          // packets since one was lost by handicap
	announce     atomic.Int32 // announcements asked for
	announcing   announcing   // of external addresses, under way
	aborts       aborts
	accounted    atomic.Pointer[xsk.Account]
	askedFor     atomic.Bool // somebody wants a fresh account
	lapses       atomic.Uint64
	ends         [conntrack.EndReasonsCount]atomic.Uint64 // connections that ended, by EndReason
}

// NewWorker opens the worker's sockets on every port and enters them where frames reach
// them. On error nothing is left open.
func NewWorker(c Config) (_ *Worker, err error) {
	w := &Worker{config: c, wake: -1, sweepAt: uint32(c.ID * sweepStep), logbook: newLogbook(c.Log, c.ID)}
	if c.Fragments == nil {
		w.config.Fragments = fragment.New()
	}
	if c.SynProxy == nil {
		w.config.SynProxy = &SynProxy{}
	}
	if c.Overloads == nil {
		w.config.Overloads = NewOverloads()
	}
	w.rememberCrashes()
	w.addPorts(c.Ports)
	if c.DeferMax == 0 {
		w.config.DeferMax = DeferMax
	}
	c.Journal.OnAcknowledged(w.Wake)
	for _, q := range c.Queues {
		d := w.shares[q.Port].device
		d.queues = append(d.queues, q.Queue)
		d.sockets = append(d.sockets, nil)
	}
	frames := c.Frames
	if frames == 0 {
		frames = xsk.DefaultRings.Frames(len(c.Queues)) + parkedMax + deferredMax + 2*burstMax + cutMax
	}
	if w.umem, err = xsk.NewUmem(frames); err != nil {
		return nil, fmt.Errorf("worker %d: %w", c.ID, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if w.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("worker %d: eventfd: %w", c.ID, err)
	}
	for _, d := range w.devices {
		if err := w.open(d); err != nil {
			return nil, fmt.Errorf("worker %d: %w", c.ID, err)
		}
	}
	w.watch()
	return w, nil
}

// watch enters everything that can wake the worker into its poller.
func (w *Worker) watch() {
	w.poller.Reset()
	for _, d := range w.devices {
		for _, sock := range d.sockets {
			if sock != nil {
				w.poller.AddSocket(sock)
			}
		}
	}
	w.poller.AddFd(w.wake)
	if w.config.ID == 0 { // worker 0 serves the kernel's faces
		for _, s := range w.shares {
			w.poller.AddFd(s.Kernel.Fd())
		}
	}
}

// Close closes the sockets and gives the memory back. Run must have returned.
func (w *Worker) Close() error {
	errs := []error{}
	for _, d := range w.devices {
		for i, sock := range d.sockets {
			if sock != nil {
				errs = append(errs, sock.Close())
				d.sockets[i] = nil
			}
		}
	}
	if w.umem != nil {
		errs = append(errs, w.umem.Close())
		w.umem = nil
	}
	if w.wake >= 0 {
		errs = append(errs, unix.Close(w.wake))
		w.wake = -1
	}
	return errors.Join(errs...)
}

// Run is the loop. It returns when ctx ends, or with an error that leaves the worker
// unable to go on; its sockets stay open until Close.
func (w *Worker) Run(ctx context.Context) error {
	// Sockets and rings are cheapest from one thread, and the scheduler leaves it alone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for ctx.Err() == nil {
		if w.turn() || w.now < w.spinUntil {
			continue
		}
		if _, err := w.poller.Wait(w.sleep()); err != nil {
			return fmt.Errorf("worker %d: waiting for packets: %w", w.config.ID, err)
		}
		w.drainWake()
	}
	return nil
}

// turn goes once around and reports whether there was anything to do.
func (w *Worker) turn() (busy bool) {
	w.recorder.Begin()
	w.now = gate.Now()
	w.active = w.config.Lease.Held(w.now)
	w.snapshot = w.config.Snapshot.Load()
	if w.wasActive && !w.active {
		w.silence()
	}
	w.wasActive = w.active
	for _, d := range w.devices {
		for _, sock := range d.sockets {
			if sock == nil {
				continue
			}
			for taken := 1; w.receive(d, sock); taken++ {
				busy = true
				if taken == shedBursts || !w.burst.sheds() {
					break
				}
			}
		}
	}
	if w.config.ID == 0 {
		busy = w.serveKernel() || busy
	}
	w.retryParked()
	w.releaseDeferred()
	w.askServers()
	busy = w.makeAnnouncements() || busy
	busy = w.makeAborts() || busy
	w.flush()
	w.refill()
	w.sweep()
	w.account()
	w.progress.Step()
	w.recorder.Pause()
	return busy
}

// receive takes one burst from a socket through the path.
func (w *Worker) receive(d *device, sock *xsk.Socket) bool {
	b := &w.burst
	b.n = sock.Receive(b.desc[:])
	if b.n == 0 {
		return false
	}
	if mutant.Slow || mutant.Lossy {
		w.handicap(b)
	}
	b.admissions = d.admissions(b.n)
	if b.n >= spinBurst {
		w.spinUntil = w.now + spinNanos
	}
	if d.byVLAN != nil {
		w.demultiplex(d, b)
		return true
	}
	var bytes uint64
	for i := range b.n {
		bytes += uint64(b.desc[i].Len)
	}
	w.take(d.ports[0], b, bytes)
	return true
}

// take takes a burst of a port, of so many bytes, through the path.
func (w *Worker) take(s *share, b *burst, bytes uint64) {
	b.in = s
	s.Received.add(uint64(b.n), bytes)
	if !w.active {
		s.ReceiveDrops.Add(drop.Mute, uint64(b.n))
		w.umem.Free(b.desc[:b.n])
		return
	}
	w.forward(b)
}

// refill gives the kernel frames to receive into, and opens sockets that are missing.
func (w *Worker) refill() {
	for _, d := range w.devices {
		for i, sock := range d.sockets {
			if sock == nil {
				if w.now >= d.retryAt {
					w.reopen(d)
				}
				continue
			}
			if i == 0 {
				sock.Reclaim()
			}
			sock.Refill()
		}
	}
}

// reopenEvery is how often a device that is gone or down is tried again.
const reopenEvery = int64(time.Second)

// reopen tries to open a device's missing sockets; failure is tried again later.
func (w *Worker) reopen(d *device) {
	if err := w.open(d); err != nil {
		d.retryAt = w.now + reopenEvery
	}
	w.watch()
}

func (w *Worker) drainWake() {
	var b [8]byte
	// EAGAIN: nobody woke us; any other error cannot happen to an eventfd of ours.
	_, _ = unix.Read(w.wake, b[:])
}

// Wake makes a sleeping worker go around once. Safe from any goroutine.
func (w *Worker) Wake() {
	one := [8]byte{0: 1}
	// EAGAIN: the counter is full, so the worker is awake.
	_, _ = unix.Write(w.wake, one[:])
}

// Progress is the worker's sign of life.
func (w *Worker) Progress() *gate.Progress { return &w.progress }

// Events is where the worker says what happens to connections.
func (w *Worker) Events() *Recorder { return &w.recorder }

// Lapses counts how often the worker found its lease lapsed and closed its sockets.
func (w *Worker) Lapses() uint64 { return w.lapses.Load() }

// Counters returns the traffic and drop counters of a port, for reading.
func (w *Worker) Counters(port packet.PortID) (received, sent *Traffic, receiveDrops, sendDrops *drop.Counters) {
	s := w.shares[port]
	return &s.Received, &s.Sent, &s.ReceiveDrops, &s.TxDrops
}

// Mode returns how the worker's sockets of a port's device move frames, or did when they
// were open last.
func (w *Worker) Mode(port packet.PortID) xsk.Mode {
	return xsk.Mode(w.shares[port].device.mode.Load())
}

// account publishes where the frames are, when somebody asked.
func (w *Worker) account() {
	if w.askedFor.Swap(false) {
		a := w.umem.Account()
		w.accounted.Store(&a)
	}
}

// Account asks the running worker where its frames are and waits for the answer.
func (w *Worker) Account(ctx context.Context) (xsk.Account, error) {
	w.accounted.Store(nil)
	w.askedFor.Store(true)
	w.Wake()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if a := w.accounted.Load(); a != nil {
			return *a, nil
		}
		select {
		case <-ctx.Done():
			return xsk.Account{}, fmt.Errorf("worker %d: frame account: %w", w.config.ID, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// hopTo looks a destination up.
func (w *Worker) hopTo(dst packet.Addr) fib.Hop { return w.hops.to(w.snapshot.Routes, &dst) }
