package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Impairment is what a bad link does to datagrams.
type Impairment struct {
	Loss               float64       // share of those that came, 0 to 1
	Duplicate          float64       // share of those not lost that arrive twice
	DelayMin, DelayMax time.Duration // of each copy by itself, evenly drawn: that reorders
	Seed               uint64        // of all draws
	Class              Class         // nil: all are of class 0
}

// Class tells kinds of datagrams apart, for the counts. It must not keep the datagram.
type Class func(datagram []byte) int

// Classes bounds what a Class may say; what is beyond counts as the last.
const Classes = 4

// Bounds of one direction of an Impaired link.
const (
	impairHeld   = 16384 // datagrams under way; 1.6 s of 10,000 a second
	impairBuffer = 8 << 20
	impairSize   = 2048 // bytes of the longest datagram; longer ones count as Shed
)

// Impaired is a link for UDP between two sockets that never hear of each other: each
// talks to the link's own address on its side. What it does to the n-th datagram of a
// direction follows from the seed and n alone.
type Impaired struct {
	directions [2]*direction
	done       sync.WaitGroup
}

// Crossing counts what one direction of an Impaired link has done. When nothing is under
// way, Came - Lost - Shed + Duplicated = Forwarded + Refused.
type Crossing struct {
	Came, Lost, Duplicated, Forwarded [Classes]uint64
	Shed                              uint64 // too many under way, or too long
	Refused                           uint64 // not taken by the socket on the far side
	UnderWay                          int
}

// Impair connects near (an address in a namespace, where the socket at nearPeer is to send to)
// with far and farPeer, until Close.
func Impair(near *Namespace, nearAt, nearPeer netip.AddrPort, far *Namespace, farAt, farPeer netip.AddrPort, how Impairment) (*Impaired, error) {
	a, err := near.udp(nearAt)
	if err != nil {
		return nil, err
	}
	b, err := far.udp(farAt)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	l := new(Impaired)
	l.directions[0] = newDirection(a, b, nearPeer, farPeer, how, 0)
	l.directions[1] = newDirection(b, a, farPeer, nearPeer, how, 1)
	for _, d := range l.directions {
		l.done.Go(d.take)
		l.done.Go(d.deliver)
	}
	return l, nil
}

// udp opens a socket that holds bursts.
func (n *Namespace) udp(at netip.AddrPort) (*net.UDPConn, error) {
	conn, err := n.ListenPacket("udp", at.String())
	if err != nil {
		return nil, err
	}
	udp := conn.(*net.UDPConn)
	raw, err := udp.SyscallConn()
	if err == nil {
		controlErr := raw.Control(func(fd uintptr) {
			// Past net.core.rmem_max: what the socket loses would not be in the counts.
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, impairBuffer)
		})
		err = errors.Join(err, controlErr)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("buffer of %v in %s: %w", at, n.name, err), udp.Close())
	}
	return udp, nil
}

// Crossing returns the counts of a direction; 0 is from near to far.
func (l *Impaired) Crossing(direction int) Crossing { return l.directions[direction].counts() }

// Close ends the link. What is under way is lost, without being counted as that.
func (l *Impaired) Close() error {
	var errs []error
	for _, d := range l.directions {
		errs = append(errs, d.from.Close())
		d.close()
	}
	l.done.Wait()
	return errors.Join(errs...)
}

// direction carries what comes at one socket to the peer of the other.
type direction struct {
	from, to       *net.UDPConn
	source, target netip.AddrPort
	how            Impairment
	rng            *rand.Rand // the taker's
	shed, refused  atomic.Uint64
	underWay       atomic.Int64 // until it is counted as forwarded or refused

	came, lost, duplicated, forwarded [Classes]atomic.Uint64

	mu      sync.Mutex // guards flights
	flights flights
	closed  bool
	wake    chan struct{} // 1: the soonest flight is another
}

func newDirection(from, to *net.UDPConn, source, target netip.AddrPort, how Impairment, stream uint64) *direction {
	return &direction{
		from: from, to: to, source: source, target: target, how: how,
		rng: rand.New(rand.NewPCG(how.Seed, stream)), wake: make(chan struct{}, 1),
	}
}

func (d *direction) counts() (c Crossing) {
	c.UnderWay = int(d.underWay.Load()) // first: where that is 0, the others are final
	for i := range Classes {
		c.Came[i], c.Lost[i] = d.came[i].Load(), d.lost[i].Load()
		c.Duplicated[i], c.Forwarded[i] = d.duplicated[i].Load(), d.forwarded[i].Load()
	}
	c.Shed, c.Refused = d.shed.Load(), d.refused.Load()
	return c
}

// fate is what becomes of a datagram: when each copy arrives after it came.
type fate struct {
	lost       bool
	duplicated bool
	delay      [2]time.Duration
}

// draw draws the fate of the next datagram. It always draws as much, so that the n-th
// fate does not depend on those before it.
func (d *direction) draw() (f fate) {
	f.lost = d.rng.Float64() < d.how.Loss
	f.duplicated = d.rng.Float64() < d.how.Duplicate && !f.lost
	for i := range f.delay {
		f.delay[i] = d.how.DelayMin
		if spread := d.how.DelayMax - d.how.DelayMin; spread > 0 {
			f.delay[i] += time.Duration(float64(spread) * d.rng.Float64())
		}
	}
	return f
}

// take reads what comes, until the socket is closed.
func (d *direction) take() {
	buf := make([]byte, impairSize+1)
	for {
		n, source, err := d.from.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || source != d.source {
			continue // an ICMP error that the kernel reports, or a stranger
		}
		d.arrive(buf[:n], time.Now())
	}
}

// arrive decides what becomes of a datagram that has come at now.
func (d *direction) arrive(datagram []byte, now time.Time) {
	class := 0
	if d.how.Class != nil {
		class = min(max(d.how.Class(datagram), 0), Classes-1)
	}
	d.came[class].Add(1)
	f := d.draw()
	if f.lost {
		d.lost[class].Add(1)
		return
	}
	if !d.send(datagram, class, now.Add(f.delay[0])) {
		d.shed.Add(1)
		return
	}
	if f.duplicated && d.send(datagram, class, now.Add(f.delay[1])) {
		d.duplicated[class].Add(1)
	}
}

// send has a copy arrive at a time, and reports whether there was room for it.
func (d *direction) send(datagram []byte, class int, at time.Time) bool {
	if len(datagram) > impairSize {
		return false
	}
	d.mu.Lock()
	soonest, ok := d.flights.add(datagram, class, at)
	if ok {
		d.underWay.Add(1)
	}
	d.mu.Unlock()
	if soonest {
		d.rouse()
	}
	return ok
}

func (d *direction) rouse() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *direction) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.rouse()
}

// deliver hands over each copy when its time has come.
func (d *direction) deliver() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	buf := make([]byte, 0, impairSize)
	for {
		d.mu.Lock()
		closed := d.closed
		body, class, wait := d.flights.next(time.Now(), buf)
		d.mu.Unlock()
		if closed {
			return
		}
		if wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-d.wake:
			}
			continue
		}
		if _, err := d.to.WriteToUDPAddrPort(body, d.target); err != nil {
			d.refused.Add(1)
		} else {
			d.forwarded[class].Add(1)
		}
		d.underWay.Add(-1)
	}
}
