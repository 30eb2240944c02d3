package fib

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"holdfast/dataplane/packet"
)

// Times and bounds of the watcher.
const (
	askAgain      = int64(time.Second)      // between two questions about one address; the kernel asks three times by itself
	probeAgain    = 30 * int64(time.Second) // between two probes of a stale neighbour
	probesMax     = 100                     // in a tick
	tick          = time.Second             // of probes, forgetting and repair
	asksMax       = 1024                    // addresses asked for in askAgain
	installsMax   = 1024                    // in a tick; the kernel's own table holds as many by default (gc_thresh3)
	dumpShare     = 10                      // a dump takes at most one part of so many of the time
	receiveBuffer = 4 << 20                 // bytes of notifications that may wait
)

// Config is what a Watcher needs.
type Config struct {
	Links map[int]packet.PortID // the ports' interfaces (TAPs) by ifindex
	Now   func() int64          // CLOCK_BOOTTIME in nanoseconds

	Gateways []Gateway // the policy's, by number-1: hops through them say so; at most 255

	// OnNeighbor is told every neighbour that this node's kernel resolved, or resolved
	// anew, while it was active; the peers want to know. nil: nobody. It is called from
	// the Run goroutine and must not block.
	OnNeighbor func(Neighbor)
}

// Watcher follows the kernel and keeps a Table. Make one with NewWatcher in the network
// namespace of the interfaces, then Run it.
type Watcher struct {
	config   Config
	table    Table
	requests *requests
	handle   *netlink.Handle       // questions and orders
	socket   *nl.NetlinkSocket     // notifications
	asked    map[neighborKey]int64 // when the kernel was last asked; Run alone
	nextDump int64                 // not before; Run alone
	dirty    atomic.Bool           // routes have changed since the last dump
	install  chan struct{}         // one element: learnt neighbours are to go to the kernel
	stats    counters
	closing  sync.Once

	mu           sync.Mutex // guards what follows, and publishing
	neighborhood neighborhood
}

type counters struct {
	dumps, lost, failures, shed atomic.Uint64
	lastError                   atomic.Pointer[error]
}

// Stats is what a watcher has counted since its start.
type Stats struct {
	Dumps    uint64 // of routes
	Lost     uint64 // times that the kernel had no room for a notification; all was read anew
	Failures uint64 // questions and orders that the kernel refused
	Shed     uint64 // requests to resolve that found no room, or no right to ask
	Learned  int    // neighbours known from peers
	Known    int    // neighbours known from the kernel
	Err      error  // the last failure, nil: none
}

// NewWatcher subscribes, and reads routes and neighbours once, so that the table is
// complete when it returns. The node is mute until Activate.
func NewWatcher(config Config) (*Watcher, error) {
	if config.Now == nil {
		return nil, errors.New("fib: Config.Now is missing: give the clock")
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("fib: opening netlink: %w", err)
	}
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("fib: subscribing to routes and neighbours: %w", err)
	}
	w := &Watcher{
		config: config, requests: newRequests(), handle: handle, socket: socket,
		asked: map[neighborKey]int64{}, install: make(chan struct{}, 1), neighborhood: newNeighborhood(),
	}
	w.table.publish(fold(nil, nil, config.Gateways))
	if err := errors.Join(socket.SetReceiveBufferSize(receiveBuffer, true), w.resync()); err != nil {
		w.Close()
		return nil, fmt.Errorf("fib: %w", err)
	}
	return w, nil
}

// Table returns the table that the watcher keeps.
func (w *Watcher) Table() *Table { return &w.table }

// Stats returns the counters.
func (w *Watcher) Stats() Stats {
	s := Stats{
		Dumps: w.stats.dumps.Load(), Lost: w.stats.lost.Load(), Failures: w.stats.failures.Load(),
		Shed: w.stats.shed.Load() + w.requests.shed.Load(),
	}
	if err := w.stats.lastError.Load(); err != nil {
		s.Err = *err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.Learned, s.Known = len(w.neighborhood.learned), len(w.neighborhood.kernel)
	return s
}

// Close gives the netlink sockets back. Run does so when it ends; only a watcher that
// never runs needs it. A second call does nothing.
func (w *Watcher) Close() {
	w.closing.Do(func() {
		w.socket.Close()
		w.handle.Close()
	})
}

// failed counts a refusal; the tick repairs what it can.
func (w *Watcher) failed(err error) {
	w.stats.failures.Add(1)
	w.stats.lastError.Store(&err)
}

// batch is what one receive gave.
type batch struct {
	messages []syscall.NetlinkMessage
	err      error
}

// Run follows the kernel until ctx ends, and then returns nil; or until the netlink
// socket fails for good. It must be called once.
func (w *Watcher) Run(ctx context.Context) error {
	batches := make(chan batch)
	received := make(chan struct{})
	go func() {
		defer close(received)
		w.receive(ctx, batches)
	}()
	defer func() {
		w.Close() // ends the receiving
		<-received
	}()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	dump := time.NewTimer(0)
	defer dump.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-batches:
			if err := w.take(b); err != nil {
				return err
			}
		case <-w.requests.wake:
			w.ask(w.requests.take())
		case <-w.install:
			w.installLearned()
			w.probeStale()
		case <-ticker.C:
			w.forgetAsked()
			w.installLearned() // what could not be before
			w.probeStale()
		case <-dump.C:
		}
		if w.dirty.Load() {
			if wait := w.nextDump - w.config.Now(); wait > 0 {
				dump.Reset(time.Duration(wait))
			} else if err := w.rereadRoutes(); err != nil {
				w.failed(err)
				w.nextDump = w.config.Now() + int64(tick)
				dump.Reset(tick)
			}
		}
	}
}

// receive hands over what the kernel says until ctx ends or the socket fails.
func (w *Watcher) receive(ctx context.Context, batches chan<- batch) {
	for {
		messages, from, err := w.socket.Receive()
		if err == nil && from.Pid != nl.PidKernel {
			continue // another process may write to our socket, and means nothing
		}
		select {
		case batches <- batch{messages, err}:
		case <-ctx.Done():
			return
		}
		if err != nil && !passing(err) {
			return
		}
	}
}

// passing tells weather from the end of a socket. ENOBUFS: notifications were lost.
func passing(err error) bool {
	return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN)
}

// take applies one batch of notifications.
func (w *Watcher) take(b batch) error {
	switch {
	case errors.Is(b.err, unix.ENOBUFS):
		w.stats.lost.Add(1)
		if err := w.rereadNeighbors(); err != nil {
			w.failed(err)
		}
		w.dirty.Store(true)
		return nil
	case b.err != nil && passing(b.err):
		return nil
	case b.err != nil:
		return fmt.Errorf("fib: receiving routes and neighbours: %w", b.err)
	}
	var seen []netlink.Neigh
	for _, m := range b.messages {
		switch m.Header.Type {
		case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
			n, err := netlink.NeighDeserialize(m.Data)
			if err != nil {
				w.failed(fmt.Errorf("a neighbour that cannot be read: %w", err))
				continue
			}
			if m.Header.Type == unix.RTM_DELNEIGH {
				n.State = netlink.NUD_NONE
			}
			seen = append(seen, *n)
		default:
			w.dirty.Store(true)
		}
	}
	w.seeNeighbors(seen)
	return nil
}

// seeNeighbors takes neighbours in and publishes once.
func (w *Watcher) seeNeighbors(seen []netlink.Neigh) {
	var news []Neighbor
	w.mu.Lock()
	before := w.table.current.Load()
	next := before
	for i := range seen {
		n, ok := w.neighborOf(&seen[i])
		if !ok {
			continue
		}
		if w.neighborhood.see(n.key(), seen[i].State, n.MAC) {
			news = append(news, n)
		}
		next = w.refreshedLocked(next, n.key())
	}
	if next != before {
		w.table.publish(next)
	}
	w.mu.Unlock()
	w.tell(news)
}

// neighborOf translates a neighbour of the kernel's, or says that it is not one of ours.
// Its MAC may be missing: its state then says so.
func (w *Watcher) neighborOf(n *netlink.Neigh) (Neighbor, bool) {
	port, onPort := w.config.Links[n.LinkIndex]
	addr, ok := addrOf(n.IP)
	if !onPort || !ok || n.Family != unix.AF_INET && n.Family != unix.AF_INET6 || n.Flags&netlink.NTF_PROXY != 0 {
		return Neighbor{}, false
	}
	if addr.IsMulticast() {
		return Neighbor{}, false
	}
	if len(n.HardwareAddr) != len(packet.MAC{}) {
		n.State &^= validStates
		return Neighbor{Port: port, Addr: addr}, true
	}
	return Neighbor{Port: port, Addr: addr, MAC: packet.MAC(n.HardwareAddr)}, true
}

// refreshedLocked brings one neighbour of a snapshot up to date.
func (w *Watcher) refreshedLocked(s *snapshot, k neighborKey) *snapshot {
	mac, known := w.neighborhood.best(k)
	return s.with(k, mac, known)
}

func (w *Watcher) tell(news []Neighbor) {
	if w.config.OnNeighbor == nil {
		return
	}
	for _, n := range news {
		w.config.OnNeighbor(n)
	}
}

// resync reads everything.
func (w *Watcher) resync() error { return errors.Join(w.rereadNeighbors(), w.rereadRoutes()) }

// rereadRoutes reads all routes and folds them anew.
func (w *Watcher) rereadRoutes() error {
	begin := w.config.Now()
	w.dirty.Store(false) // what changes from here on is told again
	routes, err := routesOf(w.handle, w.config.Links)
	if err != nil {
		w.dirty.Store(true)
		return err
	}
	w.mu.Lock()
	w.table.publish(fold(routes, w.neighborhood.all(), w.config.Gateways))
	w.mu.Unlock()
	w.stats.dumps.Add(1)
	end := w.config.Now()
	w.nextDump = end + (dumpShare-1)*(end-begin)
	return nil
}

// rereadNeighbors reads all neighbours; those that the kernel no longer has are dropped.
func (w *Watcher) rereadNeighbors() error {
	var all []netlink.Neigh
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		some, err := w.handle.NeighListExecute(netlink.Ndmsg{Family: family})
		if err != nil {
			return fmt.Errorf("reading neighbours: %w", err)
		}
		all = append(all, some...)
	}
	present := map[neighborKey]bool{}
	for i := range all {
		if n, ok := w.neighborOf(&all[i]); ok {
			present[n.key()] = true
		}
	}
	w.mu.Lock()
	maps.DeleteFunc(w.neighborhood.kernel, func(k neighborKey, _ kernelNeighbor) bool { return !present[k] })
	w.mu.Unlock()
	w.dirty.Store(true) // those that were dropped leave the table with the next fold
	w.seeNeighbors(all)
	return nil
}
