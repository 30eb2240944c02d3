package cluster

import (
	"context"
	"sync"
	"time"

	"holdfast/dataplane/gate"
	"holdfast/sync/seal"
)

// This file is the border between what a node does and who lets it: every step is a
// function of the node's state, the clock reading and the datagram, and Run is nothing but
// goroutines that wait on sockets and tickers and take these steps. The simulator takes the
// same steps in an order and at times of its choice.

// Receive takes in one datagram that came by link i, and returns what became of it. It
// opens in place: the bytes of the datagram are changed. It belongs to the link's reader,
// as Due does.
func (n *Node) Receive(i int, datagram []byte) seal.Outcome { return n.ReceiveBy(i, 0, datagram) }

// Due sends what time asks for on link i: handshakes, hellos, requests for gaps. It is to
// be called after every Receive, and every few milliseconds.
func (n *Node) Due(i int) {
	r := n.remotes[i]
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = n.clock()
	r.due()
}

// Refused tells that nobody listens at the far end of a path of link i: the kernel has said
// so to its reader.
func (n *Node) Refused(i, by int) { n.remotes[i].link.paths[by].refused.Add(1) }

// Obey lets the election take in the beats that the readers have heard, and carries out
// what it comes to: a higher claim is obeyed at once, not at the next turn. It belongs to
// the control goroutine, as Turn and Leave do, and is to be called soon after a Receive.
func (n *Node) Obey() {
	for {
		select {
		case e := <-n.events:
			n.hear(e)
			continue
		default:
		}
		return
	}
}

func (n *Node) hear(e event) {
	n.step(e)
	if n.decide() {
		n.beatDue = 0 // the peers are told with the next turn
	}
	switch e.what {
	case askedForVote:
		n.answer(e) // after decide: who gives its vote away is mute by then
	case voted, witnessVoted:
		n.prolong()
	}
}

// Turn lets time pass for the election, carries out what it comes to, and sends a
// heartbeat where one is due. It is to be called twice per heartbeat, so that a dead peer
// is noticed half a beat after its time.
func (n *Node) Turn() {
	now := n.clock()
	n.late = n.jitter.turn(now, n.config.Timing.Heartbeat/2)
	n.tick(now)
	if n.decide() || n.asks() != n.asked {
		n.beatDue = 0 // tell the peers now
	}
	if now >= n.beatDue {
		n.beat()
		n.beatDue = now + n.config.Timing.Heartbeat - n.config.Timing.Heartbeat/4
	}
}

// Heard returns the last beat that came by link i and when it came, in ns of this node's
// clock; 0: none ever. Safe from any goroutine.
func (n *Node) Heard(i int) (b Beat, at int64) {
	r := n.remotes[i]
	if last := r.last.Load(); last != nil {
		b = *last
	}
	return b, r.heard.Load()
}

// Claim returns what this node says of itself now. Safe from any goroutine.
func (n *Node) Claim() Beat {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.election.Beat()
}

// Confirmed returns the last batch of a lane of this node that the peer of link i has
// applied, without a gap. Safe from any goroutine.
func (n *Node) Confirmed(i, lane int) uint64 { return n.remotes[i].confirmed[lane].Load() }

// Run takes part in the cluster until ctx ends. Then the lease is revoked and the peers
// are told, so that one of them takes over at once.
func (n *Node) Run(ctx context.Context) error {
	var readers sync.WaitGroup
	for i, r := range n.remotes {
		for by, p := range r.link.paths {
			if p.conn != nil {
				readers.Go(func() { n.read(ctx, i, by) })
			}
		}
	}
	readers.Go(func() { n.proving(ctx) })
	if n.third != nil && n.third.link.paths[0].conn != nil {
		readers.Go(func() {
			n.third.read(ctx, func(datagram []byte) { n.ReceiveWitness(datagram) }, n.DueWitness)
		})
	}
	n.control(ctx)
	for _, r := range n.remotes {
		r.link.wake() // readers sit in a read
	}
	if n.third != nil {
		n.third.link.wake()
	}
	readers.Wait()
	return nil
}

// read is the reader of a path of link i: datagrams in, and what is due out, until ctx ends.
func (n *Node) read(ctx context.Context, i, by int) {
	buf := make([]byte, 2048)
	for ctx.Err() == nil {
		size, refused, err := n.remotes[i].link.paths[by].receive(buf, readWait)
		if err != nil {
			return // the socket was closed
		}
		if refused {
			n.Refused(i, by)
		}
		if size > 0 {
			n.ReceiveBy(i, by, buf[:size])
		}
		n.Due(i)
	}
}

// proveWait is how often the prover looks whether there is something to do, when idle.
const proveWait = 5 * time.Millisecond

// proving is the goroutine that compares and transfers tables.
func (n *Node) proving(ctx context.Context) {
	tick := time.NewTicker(proveWait)
	defer tick.Stop()
	defer func() {
		for _, r := range n.remotes {
			r.tabled.end()
		}
	}()
	for ctx.Err() == nil {
		n.prefault()
		if n.Prove() {
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// prefault keeps memory ready for the connections that come next: those of a joiner come at
// hundreds of thousands a second, and the reader would spend a third of its time in page faults.
func (n *Node) prefault() {
	// Where the kernel has no memory the page faults meet the same, and nothing is worse.
	_ = n.config.Table.Prefault()
}

// control is the goroutine that owns the election: beats in, beats out, lease extended.
func (n *Node) control(ctx context.Context) {
	tick := time.NewTicker(time.Duration(n.config.Timing.Heartbeat / 2))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			n.Leave()
			return
		case e := <-n.events:
			n.hear(e)
			if n.beatDue == 0 || e.beat.Yields {
				// The role is on its way from one node to another, and nobody forwards meanwhile:
				// who has given it up says so now, and who may take it does.
				n.Turn()
			}
		case <-tick.C:
			n.Turn()
		}
	}
}

// clock returns CLOCK_BOOTTIME in ns, or what the configuration has in its place.
func (n *Node) clock() int64 {
	if n.config.Now != nil {
		return n.config.Now()
	}
	return gate.Now()
}
