package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"holdfast/dataplane/gate"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// Witness is a third node without ports: it has one vote on who forwards, gives it to the node
// that asks for it, and to nobody else before that one must have fallen silent (Ballot). It
// keeps nothing: who starts it anew waits for as long as a vote may bind.
//
// A node asks with every heartbeat:
//
//	node                                   witness
//	  | ---- vote-request: reading, hold ----> |     gives its vote, or has given it to another one
//	  | <--- vote: reading, granted or not --- |
type Witness struct {
	now    func() int64
	voters []*courier

	mu     sync.Mutex // guards what follows
	ballot *Ballot
	terms  []uint64 // that each node said last
}

// witnessStep is what a witness counts at most between two looks at its clock: its readers wake
// once in readWait.
const witnessStep = 4 * int64(readWait)

// NewWitness returns a witness for the nodes at the far ends of the links that OpenLinks or
// NewLink made. now is its clock, in ns; CLOCK_BOOTTIME where nil.
func NewWitness(links []*PeerLink, now func() int64) *Witness {
	if now == nil {
		now = gate.Now
	}
	w := &Witness{now: now, ballot: NewBallot(witnessStep), terms: make([]uint64, len(links))}
	for _, l := range links {
		w.voters = append(w.voters, newCourier(l))
	}
	return w
}

// Receive takes in a datagram that came from node i, and answers it. It opens in place.
func (w *Witness) Receive(i int, datagram []byte) seal.Outcome {
	return w.voters[i].receive(datagram, w.now(), func(f *wire.Frame) {
		var q wire.VoteRequest
		if f.Type != wire.TypeVoteRequest || q.Decode(f) != nil {
			return
		}
		answer := wire.Vote{Reading: q.Reading, Granted: w.ask(i, &q)}
		w.voters[i].send(answer.Append)
	})
}

func (w *Witness) ask(i int, q *wire.VoteRequest) (granted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.terms[i] = q.Term
	if q.Hold == 0 {
		w.ballot.Release(uint16(i))
		return false
	}
	return w.ballot.Ask(uint16(i), int64(q.Hold), w.now())
}

// Due lets time pass, and sends what it asks for on the way to node i. It is to be called after
// every Receive, and every few milliseconds.
func (w *Witness) Due(i int) {
	now := w.now()
	w.mu.Lock()
	w.ballot.Look(now)
	w.mu.Unlock()
	w.voters[i].due(now)
}

// Run votes until ctx ends.
func (w *Witness) Run(ctx context.Context) error {
	var readers sync.WaitGroup
	for i, c := range w.voters {
		readers.Go(func() {
			c.read(ctx, func(datagram []byte) { w.Receive(i, datagram) }, func() { w.Due(i) })
		})
	}
	<-ctx.Done()
	for _, c := range w.voters {
		c.link.wake()
	}
	readers.Wait()
	return nil
}

// read is the reader of a courier's socket until ctx ends.
func (c *courier) read(ctx context.Context, take func([]byte), due func()) {
	buf := make([]byte, 2048)
	for ctx.Err() == nil {
		n, _, err := c.link.paths[0].receive(buf, readWait)
		if err != nil {
			return // the socket was closed
		}
		if n > 0 {
			take(buf[:n])
		}
		due()
	}
}

// VoterStatus is what a witness knows of a node.
type VoterStatus struct {
	Address netip.AddrPort
	Heard   int64  // CLOCK_BOOTTIME ns of its last request; 0: never
	Term    uint64 // that it said last
	Holds   bool   // it has the vote
}

// Status returns what the witness knows.
func (w *Witness) Status() (all []VoterStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	to, held := w.ballot.Holder()
	for i, c := range w.voters {
		all = append(all, VoterStatus{
			Address: c.link.address(), Heard: c.heard.Load(), Term: w.terms[i], Holds: held && int(to) == i,
		})
	}
	return all
}

// SetKeys is Node.SetKeys.
func (w *Witness) SetKeys(keys []seal.Key) error {
	if err := checkKeys(keys); err != nil {
		return err
	}
	for _, c := range w.voters {
		next := slices.Clone(keys)
		c.keys.Store(&next)
	}
	return nil
}

// checkKeys refuses what cannot be the keys of a node.
func checkKeys(keys []seal.Key) error {
	if len(keys) == 0 || len(keys) > seal.MaxKeys || slices.Contains(keys, seal.Key{}) {
		return fmt.Errorf("%d keys: one is needed, %d are possible, and none may be zeros", len(keys), seal.MaxKeys)
	}
	return nil
}

// third is a node's side of the way to the witness.
type third struct {
	*courier
	granted atomic.Int64 // the last reading that was granted; 0: none
}

// WitnessStatus is what a node knows of the witness.
type WitnessStatus struct {
	Address netip.AddrPort
	Heard   int64 // CLOCK_BOOTTIME ns of its last answer; 0: never
	Granted int64 // when what it granted last was asked for; 0: never
}

// Witness returns what the node knows of the witness, nil where it has none.
func (n *Node) Witness() *WitnessStatus {
	if n.third == nil {
		return nil
	}
	return &WitnessStatus{Address: n.third.link.address(), Heard: n.third.heard.Load(), Granted: n.third.granted.Load()}
}

// ReceiveWitness takes in a datagram that came from the witness. It opens in place.
func (n *Node) ReceiveWitness(datagram []byte) seal.Outcome {
	return n.third.receive(datagram, n.clock(), func(f *wire.Frame) {
		var m wire.Vote
		if f.Type != wire.TypeVote || m.Decode(f) != nil || !m.Granted {
			return
		}
		n.third.granted.Store(int64(m.Reading))
		n.tell(event{what: witnessVoted, reading: int64(m.Reading)})
	})
}

// DueWitness sends what time asks for on the way to the witness, as Due does.
func (n *Node) DueWitness() { n.third.due(n.clock()) }
