package xsk

import (
	"fmt"
	"math/bits"
	"time"
)

// RingSizes are the slots of a socket's rings; each is a power of two.
type RingSizes struct {
	Fill       int // frames the socket may have out to receive into
	Rx         int // received frames that may wait
	Tx         int // descriptors that may wait for the kernel
	Completion int // frames that may be on their way out, staged ones included
}

// DefaultRings suit one queue of a port at full rate: 2,048 frames are 1.4 ms at
// 1.5 million packets a second, more than a worker's turn.
var DefaultRings = RingSizes{Fill: 2048, Rx: 2048, Tx: 2048, Completion: 2048}

// Frames returns how many frames so many sockets of these sizes can have at most. A
// Umem of that many, and what the caller holds on top, starves none; fewer work too.
func (r RingSizes) Frames(sockets int) int {
	r = r.orDefault()
	return sockets * (r.Fill + r.Completion)
}

func (r RingSizes) orDefault() RingSizes {
	if r == (RingSizes{}) {
		return DefaultRings
	}
	return r
}

// check refuses what the kernel would refuse without a reason.
func (r RingSizes) check() error {
	const slotsMax = 1 << 20
	for _, ring := range []struct {
		name string
		size int
	}{{"fill", r.Fill}, {"rx", r.Rx}, {"tx", r.Tx}, {"completion", r.Completion}} {
		if ring.size < 1 || ring.size > slotsMax || bits.OnesCount(uint(ring.size)) != 1 {
			return fmt.Errorf("%s ring of %d slots: must be a power of two, at most %d", ring.name, ring.size, slotsMax)
		}
	}
	return nil
}

const (
	// DefaultTxBudget is how many packets one kick hands over at most in copy mode. It
	// bounds how long a kick keeps the worker, and what leaves after a lease that lapses
	// during the kick, and how long the garbage collector may have to wait for the
	// worker. The kernel's own 32 costs a system call every 32 packets; on a veth, where
	// a packet costs 0.9 to 1.3 us by itself, no budget from 32 to 1,024 was measurably
	// better than another (2026-11-21, two shared cores).
	DefaultTxBudget = 256
	// DefaultPatience covers an RCU grace period and the kernel's deferred work between
	// the end of one socket and the next on the same queue.
	DefaultPatience = 500 * time.Millisecond

	txBudgetMin = 32 // TX_BATCH_SIZE, net/xdp/xsk.c: the least that may be set, and what holds unset
)

// Config says what to open. Ifindex, Queue and Umem are needed, the rest has defaults.
type Config struct {
	Ifindex int
	Queue   int
	Umem    *Umem

	// Modes is the ladder: tried in order, the first that the device can do stays. Nil
	// is zero-copy, then copy. What it came to is Socket.Mode.
	Modes []Mode
	// Rings are the ring sizes; all zero is DefaultRings.
	Rings RingSizes
	// TxBudget is how many packets one Kick hands over at most in copy mode: from 32 to
	// Rings.Tx, 0 is DefaultTxBudget. A kernel without XDP_MAX_TX_SKB_BUDGET (before
	// 6.17) takes 32.
	TxBudget int
	// Patience is how long Open, and its goroutine, waits for a queue whose last socket the kernel is still
	// taking down; 0 is DefaultPatience, negative is not at all.
	Patience time.Duration
}

// complete fills in the defaults and checks the rest.
func (c Config) complete() (Config, error) {
	if c.Umem == nil || c.Umem.fd < 0 {
		return c, fmt.Errorf("socket on queue %d of device %d: no packet memory, or it is closed", c.Queue, c.Ifindex)
	}
	if c.Ifindex < 1 || c.Queue < 0 {
		return c, fmt.Errorf("socket on queue %d of device %d: no such queue can be", c.Queue, c.Ifindex)
	}
	if c.Modes == nil {
		c.Modes = []Mode{ModeZeroCopy, ModeCopy}
	}
	c.Rings = c.Rings.orDefault()
	if err := c.Rings.check(); err != nil {
		return c, err
	}
	if c.TxBudget == 0 {
		c.TxBudget = DefaultTxBudget
	}
	c.TxBudget = min(c.TxBudget, c.Rings.Tx)
	if c.Patience == 0 {
		c.Patience = DefaultPatience
	}
	return c, nil
}
