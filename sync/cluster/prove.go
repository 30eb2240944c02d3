package cluster

import (
	"sync/atomic"

	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/sync/digest"
	"holdfast/sync/journal"
	"holdfast/sync/peer"
	"holdfast/sync/repair"
	"holdfast/sync/wire"
)

// Times of the proving.
const (
	roundEvery = 1000e6 // ns, between two rounds at least
	// roundShare bounds what rounds cost: passes over the table take one part in so many
	// of the time until the next.
	roundShare = 10
	// proveEntries is how much of the table one step looks at: some 200 µs.
	proveEntries = 2048
	// flushedTurns is after how many turns of a worker all that it had changed has been told:
	// what the sweep ends is told by the turn after.
	flushedTurns = 2
	// flushWait is how long a round that is summed waits for a worker that stands still, ns.
	flushWait = 1000e6
)

// prover sums this node's table, for its peers and to compare with what they tell, and
// tells them whole shards where they ask. One goroutine owns it: that which calls Prove.
type prover struct {
	node   *Node
	rounds *repair.Rounds
	ledger *digest.Ledger
	due    int64 // when the next round may begin
	took   int64 // what the running pass has taken so far, ns, without what was done between its steps
	summed int64 // when the round was summed that is not told yet; 0: none is
	turns  *gate.Watch

	sums      digest.Sums // ours, to compare with what a peer tells
	pass      *digest.Pass
	comparing *comparison // that pass is for

	demoted  atomic.Bool // this node has given the role up: its edges are to be rounded
	rounding bool        // they are being rounded
	edges    uint32      // from this entry on

	sealed, batch []byte
}

// comparison is a round that a reader wants compared.
type comparison struct {
	remote *remote
	asked  *repair.Asked
}

// share is what the prover and a reader have in common of one peer, and what each has for
// itself. The prover's goroutine owns positions and leftovers.
type share struct {
	transfer  *repair.Transfer
	bulk      *journal.Journal
	credit    uint64   // batches of bulk that may be on their way
	positions []uint64 // that its lanes had sent when the round began
	leftovers *repair.Leftovers

	compare  chan comparison        // to the prover
	compared chan *repair.Compared  // from it
	remains  chan *repair.Leftovers // to the prover
}

func newShare(n *Node, l *PeerLink) share {
	credit := n.config.TransferCredit
	if credit == 0 {
		credit = repair.Credit
	}
	bulk := journal.NewKeeping(2*credit, uint16(len(n.config.Journals)+1), journal.NewOutlet([]*journal.Link{&l.Link}))
	return share{
		transfer: repair.NewTransfer(n.config.Table, bulk, credit), bulk: bulk, credit: credit,
		compare: make(chan comparison, 1), compared: make(chan *repair.Compared, 1), remains: make(chan *repair.Leftovers, 1),
	}
}

// Prove does a piece of the work of comparing and transferring tables, and returns whether
// there is more to do right now. It is to be called again at once if so, and otherwise
// every few milliseconds.
func (n *Node) Prove() (more bool) {
	p := &n.prover
	now := n.clock()
	more = p.roundEdges()
	for _, r := range n.remotes {
		more = p.transfer(r, now) || more
		more = p.discard(r, now) || more
		more = p.tellTables(r, now) || more
	}
	more = p.compare(now) || more
	return p.round(now) || more
}

// roundEdges takes the edges of connections for no better known than peers were told, once this
// node has given the role up: who forwards now moves them without telling.
func (p *prover) roundEdges() bool {
	if p.demoted.Swap(false) {
		p.edges, p.rounding = 0, true
	}
	if p.rounding {
		p.edges = p.node.config.Table.RoundEdges(p.edges, proveEntries)
		p.rounding = p.edges != 0
	}
	return p.rounding
}

// transfer tells a peer more of what it has asked for.
func (p *prover) transfer(r *remote, now int64) bool {
	acked := r.confirmed[r.share.bulk.Lane()].Load()
	ready, _ := p.node.Ready()
	moved := r.share.transfer.Step(proveEntries, now, acked, ready && p.node.config.Lease.Held(now))
	if moved && !r.share.transfer.Running() {
		p.due = now // what was told is to be proven
	}
	return moved
}

// discard ends more of what a peer no longer has, if this node does not forward itself.
func (p *prover) discard(r *remote, now int64) bool {
	s := &r.share
	select {
	case s.leftovers = <-s.remains:
	default:
	}
	if s.leftovers == nil {
		return false
	}
	if p.node.config.Lease.Held(now) || s.leftovers.Step(proveEntries, now, func(index uint32, i conntrack.Incarnation) {
		r.applier.Discard(index, i, now)
		r.discarded.Add(1)
	}) {
		s.leftovers = nil
	}
	return true
}

// compare sums more of the table for the round that is compared, or takes up the next one.
func (p *prover) compare(now int64) bool {
	if p.pass == nil {
		for _, r := range p.node.remotes {
			select {
			case c := <-r.share.compare:
				p.comparing, p.pass = &c, digest.Begin(p.node.config.Table, c.asked.Bits(), &p.sums)
			default:
				continue
			}
			break
		}
		if p.pass == nil {
			return false
		}
	}
	if p.pass.Step(proveEntries, now) {
		// The reader hands in the next one only after it has taken this result.
		p.comparing.remote.share.compared <- p.comparing.asked.Compare(&p.sums, p.ledger)
		p.pass, p.comparing = nil, nil
	}
	return true
}

// round sums more of the table for the peers, or begins where it is time: while this node
// forwards, and while a peer that hears it is not ready.
func (p *prover) round(now int64) bool {
	if p.summed != 0 {
		return p.tell(now)
	}
	if !p.rounds.Running() {
		if now < p.due || !p.wanted(now) {
			return false
		}
		for _, r := range p.node.remotes {
			sent := r.sent()
			r.share.positions = append(r.share.positions[:0], sent.Slice()...)
		}
		p.rounds.Begin(now)
		p.took = 0
		return true
	}
	before := p.node.clock()
	done := p.rounds.Step(proveEntries, before)
	p.took += p.node.clock() - before
	if done {
		p.due = p.rounds.Began() + max(roundEvery, p.took*roundShare)
		p.summed = now
		p.turns.Begin()
	}
	return true
}

// tell tells the peers a round that is summed, once the workers have told every change that the
// sums hold: a worker that stands still between a change and its word would look like
// a divergence. Who stands for long will have changed much: another round is better.
func (p *prover) tell(now int64) bool {
	if !p.turns.AllTurned(flushedTurns) {
		if now-p.summed > flushWait {
			p.summed = 0
		}
		return false
	}
	p.summed = 0
	for _, r := range p.node.remotes {
		p.rounds.Each(r.share.positions, journal.BatchMax, func(d *wire.Digest) {
			p.batch = d.Append(wire.AppendControlHeader(p.batch[:0]))
			r.link.Send(laneProof, p.sealed, p.batch)
		})
	}
	return true
}

// wanted reports whether anybody has use for a round.
func (p *prover) wanted(now int64) bool {
	heard := false
	for _, r := range p.node.remotes {
		if r.heard.Load() == 0 || r.link.peer.Session() == nil || r.share.transfer.Running() {
			continue // nobody there, or nothing that a round could show: all of it is on its way
		}
		heard = true
		if b := r.last.Load(); b != nil && !b.Ready {
			return true
		}
	}
	return heard && p.node.config.Lease.Held(now)
}

// Touches hears of a change that the peer brings (journal.Observer).
func (r *remote) Touches(original *packet.Tuple) {
	r.node.ledger.Touch(&r.hash, original, r.at)
}

// Named hears of which connection of ours the peer speaks (journal.Observer).
func (r *remote) Named(index uint32) {
	if r.named != nil {
		r.named.Add(index)
	}
}

// prove is the reader's part: rounds that came are handed to be compared, and what is
// needed is asked for.
func (r *remote) prove() {
	if r.machine.Phase() != peer.Stream {
		return
	}
	select {
	case c := <-r.share.compared:
		r.comparing = false
		r.need.Compared(c, r.now)
		r.sendControl(c.Proof.Append)
	default:
	}
	if !r.comparing {
		if asked, ok := r.check.Begin(&r.trail, r.node.ledger, r.now); ok {
			r.comparing = true
			r.share.compare <- comparison{remote: r, asked: asked}
		}
	}
	if r.node.config.Lease.Held(r.now) {
		// Whoever forwards knows best, and asks for nothing.
		r.need.Forget()
		return
	}
	r.ask()
}

// ask asks the peer for what this node needs of it.
func (r *remote) ask() {
	if r.machine.Lacks() && !r.lacked {
		r.lacked = true
		if r.empty {
			r.need.All(r.now)
		} else {
			r.need.Prove()
		}
	}
	m, due := r.need.Due(r.now)
	if !due {
		return
	}
	if m.ID != r.namedFor {
		r.named, r.namedFor = repair.NewNamed(r.node.config.Table.Capacity()), m.ID
	}
	r.sendControl(m.Append)
}

// onTransferEnd is in the lane behind all that the transfer has told.
func (r *remote) onTransferEnd(e *wire.TransferEnd) {
	if !r.need.End(e) {
		return
	}
	if e.Whole && !r.node.config.Lease.Held(r.now) {
		select {
		case r.share.remains <- r.need.Leftovers(e, r.node.config.Table, r.named):
		default: // the last ones are not discarded yet; the next round asks again
		}
	}
}
