package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/internal/mutant"
	"holdfast/rules/table"
	"holdfast/sync/digest"
	"holdfast/sync/journal"
	"holdfast/sync/repair"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// Lanes of a sealed session beyond those of the workers: each belongs to one goroutine.
const (
	laneBeats  = seal.ConfirmLane - 1 // the control goroutine's
	laneAnswer = seal.ConfirmLane - 2 // the peer's reader: hellos, requests, resends
	laneProof  = seal.ConfirmLane - 3 // the prover's: digests
)

// LanesMax is how many lanes a journal may have: workers, the shared lane and that of
// transfers, which is another one for each peer.
const LanesMax = int(laneProof)

// Config is what a node needs to know.
type Config struct {
	Name     string
	Group    string
	Priority int32
	Timing   Timing
	Alone    Alone
	Links    []LinkConfig
	Witness  *PeerLink // the way to the witness; nil: there is none
	Keys     []seal.Key
	Standing wire.Standing // which policies this node has at the start
	MTUs     []uint16      // of the ports, by number, in bytes; told to the peers
	Versions wire.Versions // of the language, that this node speaks; wire.Spoken where zero
	Capacity uint32        // of the connection table, bounds what a peer's indices may be

	Table    *conntrack.Table // what is compared and transferred
	Lease    *gate.Lease
	Progress []*gate.Progress // of every worker
	Journals []*journal.Journal
	Shared   *journal.Shared // the lane of changes that no worker makes
	Applier  func() *journal.Applier
	// Kill carries out a kill by selector that a peer tells of: nothing of it passes when it
	// returns. It reports whether it understood the selector, and then calls done once, from
	// any goroutine, when what was killed is gone. It must not keep k. nil: none is understood.
	Kill func(k *wire.Kill, done func(count int)) bool
	// Tables returns the tables of addresses of the policy in force, whose added entries are
	// replicated. Any goroutine may call it. nil: none are.
	Tables func() *table.Tables
	// Policies takes what a peer says of policies: a *wire.Standing, Order, Answer, Fetch or
	// Chunk, whose bytes lie in the batch. It must neither keep it nor block. nil: nothing is done.
	Policies func(from uint16, message any)
	// SettleTimeouts gives a connection of a peer, which has told where it stands (nil: not yet),
	// the number that its timeouts have here. The readers call it. nil: they have the same.
	SettleTimeouts func(peer *wire.Standing, s *conntrack.State)
	// Transition is called on the control goroutine after the lease was granted or
	// revoked. It must not block.
	Transition func(role gate.Role)
	// TransferCredit is how many batches of a transfer may be on their way; repair.Credit where 0.
	TransferCredit uint64
	// Now is the clock, in ns; CLOCK_BOOTTIME where nil.
	Now func() int64
}

// LinkConfig is the way to one peer.
type LinkConfig struct {
	Also []LinkConfig // further ways to the same peer, that take over where this one fails

	Device      string // the socket is bound to it; empty: any
	Local, Peer netip.AddrPort
}

// Node runs one node's part in the cluster. Make it with NewNode, run it with Run.
type Node struct {
	config  Config
	number  uint16
	boot    uint64 // names this life of the node; 1 where there are no links
	remotes []*remote
	events  chan event // to the control goroutine

	mu       sync.Mutex // guards election and lives
	election *Election
	lives    map[uint64]bool // of peers, whose connections are in this node's table
	watch    *gate.Watch
	moved    int64        // when every worker was last seen to have moved
	served   atomic.Int64 // when this node's lease was last extended; 0: never
	beatDue  int64        // when the next heartbeat is; the control goroutine's
	lapses   atomic.Uint64
	stalled  atomic.Uint64 // those of lapses at which this machine stood still
	jitter   jitter
	late     int64 // how late the turn at hand came, ns; the control goroutine's
	standing atomic.Pointer[wire.Standing]
	shed     atomic.Uint64 // beats that came faster than the control goroutine took them

	third   *third // the way to the witness; nil: there is none
	vouched int64  // the reading at which every worker was last known to move; the control goroutine's
	asked   bool   // the last heartbeat has asked for votes; likewise

	kills    kills
	ledger   *digest.Ledger
	prover   prover
	rotation rotation
}

// event is something for the control goroutine.
type event struct {
	what happening
	beat Beat
	at   int64 // CLOCK_BOOTTIME ns

	from    *remote // who asks for this node's vote, or has given its own
	reading int64   // that the request bears, ns of the asker's clock
	hold    int64   // for how long it asks, ns
}

// happening says what an event is.
type happening uint8

const (
	heardBeat happening = iota
	askedForVote
	voted
	witnessVoted
)

// tell hands an event to the control goroutine. Where it does not keep up the event is lost,
// like the datagram that it came by.
func (n *Node) tell(e event) {
	select {
	case n.events <- e:
	default:
		n.shed.Add(1)
	}
}

// number gives every node a number that all agree on: the rank of its address among the
// addresses of the links, counted from 1.
func number(of netip.AddrPort, links []LinkConfig) uint16 {
	var all []netip.AddrPort
	for _, l := range links {
		all = append(all, l.Local, l.Peer)
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	return uint16(slices.Index(slices.Compact(all), of) + 1)
}

// Number returns the number that the node at local has in the cluster that links name.
// Without peers it is 1.
func Number(links []LinkConfig) uint16 {
	if len(links) == 0 {
		return 1
	}
	return number(links[0].Local, links)
}

// NewNode returns a standby. links are those that OpenLinks or NewLink made of c.Links.
func NewNode(c Config, links []*PeerLink) (*Node, error) {
	if len(c.Journals)+2 > LanesMax {
		return nil, fmt.Errorf("%d workers: a session has lanes for %d", len(c.Journals), LanesMax-2)
	}
	n := &Node{
		config: c, number: Number(c.Links), boot: 1,
		events: make(chan event, 256), watch: gate.NewWatch(c.Progress), lives: map[uint64]bool{},
	}
	if c.Versions == (wire.Versions{}) {
		n.config.Versions = wire.Spoken
	}
	n.standing.Store(&c.Standing)
	n.rotation.keys = c.Keys
	n.ledger = digest.NewLedger(c.Table.Capacity())
	n.prover = prover{
		node: n, rounds: repair.NewRounds(c.Table), ledger: n.ledger, turns: gate.NewWatch(c.Progress),
		sealed: make([]byte, 0, 2048), batch: make([]byte, 0, 2048),
	}
	var peers []uint16
	for i, l := range links {
		n.boot = l.boot
		r := newRemote(n, number(c.Links[i].Peer, c.Links), l)
		n.remotes = append(n.remotes, r)
		peers = append(peers, r.number)
	}
	if c.Witness != nil {
		n.third = &third{courier: newCourier(c.Witness)}
	}
	n.election = NewElection(n.number, c.Priority, peers, c.Timing, c.Alone)
	n.election.SetGeneration(c.Standing.Kept.Number)
	return n, nil
}

func (n *Node) step(e event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch e.what {
	case heardBeat:
		n.election.Step(e.beat, e.at)
	case voted:
		n.election.Voted(e.from.number, e.reading, n.clock())
	case witnessVoted:
		n.election.WitnessVoted(e.reading, n.clock())
	}
}

func (n *Node) tick(now int64) {
	// Beats that lie in the channel were heard: they count before silence is judged.
	for {
		select {
		case e := <-n.events:
			n.hear(e)
			continue
		default:
		}
		break
	}
	ready, _ := n.Ready()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.election.SetReady(ready || mutant.UnreadyClaims)
	for _, r := range n.remotes {
		closed := r.link.refusals()
		n.election.Refused(r.number, closed-r.closed)
		r.closed = closed
		r.link.choose(now, n.config.Timing.DeadAfter)
		r.sever(now, n.config.Timing.DeadAfter)
		r.link.Silent.Store(now-r.heard.Load() > n.config.Timing.DeadAfter)
		b := r.last.Load()
		r.link.Joining.Store(b != nil && !b.Ready)
	}
	n.election.Tick(now)
}

// decide carries out what the election has come to and reports whether that changed the role.
func (n *Node) decide() bool {
	n.mu.Lock()
	decision := n.election.Decide()
	n.mu.Unlock()
	switch decision {
	case Promote:
		now := n.clock()
		n.moved = now
		n.vouched = now
		n.config.Lease.Grant(n.supported(now) + n.config.Timing.Lease)
		n.config.Transition(gate.Active)
	case Demote:
		n.config.Lease.Revoke()
		n.prover.demoted.Store(true)
		n.config.Transition(gate.Standby)
	default:
		return false
	}
	n.beatDue = 0 // the peers are to be told now
	return true
}

// beat is one heartbeat, in the order that fencing rests on (doc.go): read the clock,
// send, extend the lease from the reading.
func (n *Node) beat() {
	reading := n.clock()
	n.mu.Lock()
	b := n.election.Beat()
	request := n.request(reading)
	n.mu.Unlock()
	for _, r := range n.remotes {
		r.sendBeat(b, request)
	}
	if n.third != nil && request != nil {
		n.third.send(request.Append)
	}
	if b.Role != gate.Active {
		return
	}
	stuck, moved := n.watch.AllMoved()
	switch {
	case moved:
		n.moved = reading
	case reading-n.moved < n.config.Timing.Lease/2:
		moved = true // a worker sleeps for some ms when idle; half a lease is not sleep
	}
	if moved {
		n.vouched = reading
	}
	if moved && n.extend(reading) {
		n.served.Store(reading)
		return
	}
	if moved || !n.config.Lease.Held(n.clock()) {
		n.lapse(fmt.Sprintf("not extended in time, worker stuck: %v", !moved))
	} else if !moved {
		n.lapse(fmt.Sprintf("worker %d has not moved for half a lease", stuck))
	}
}

// lapse gives the role up.
func (n *Node) lapse(why string) {
	n.lapses.Add(1)
	if n.late >= n.config.Timing.Lease/2 {
		n.stalled.Add(1)
		why += fmt.Sprintf("; this machine stood still for %.1f ms", float64(n.late)/1e6)
	}
	n.mu.Lock()
	n.election.Lapsed(n.clock(), why)
	n.mu.Unlock()
	n.decide()
}

// Leave ends this node's part: mute first, then the peers are told by a last beat.
func (n *Node) Leave() {
	n.config.Lease.Revoke()
	n.config.Transition(gate.Standby)
	n.mu.Lock()
	n.election.Lapsed(n.clock(), "this daemon ends")
	b := n.election.Beat()
	n.mu.Unlock()
	b.Ready = false
	request := n.request(n.clock())
	for _, r := range n.remotes {
		r.sendBeat(b, request)
	}
	if n.third != nil && request != nil {
		n.third.send(request.Append)
	}
}

// Ready reports whether this node holds every connection that it should, and if not, why:
// those of the node that was heard last to forward, or, where none was, those that any
// peer has announced.
func (n *Node) Ready() (ready bool, why string) {
	if n.config.Lease.Held(n.clock()) {
		return true, "" // it forwards: what it holds is what there is
	}
	if forwards := n.forwards(); forwards != nil {
		return forwards.complete()
	}
	for _, r := range n.remotes {
		if r.heard.Load() == 0 {
			continue // it has announced nothing to anybody that we know of
		}
		if ok, why := r.complete(); !ok {
			return false, why
		}
	}
	return true, ""
}

// forwards returns the peer that has forwarded last, nil: none. Who has stepped down in order
// has, until another one claims.
func (n *Node) forwards() (last *remote) {
	for _, r := range n.remotes {
		if at := r.forwarded.Load(); at > n.served.Load() && (last == nil || at > last.forwarded.Load()) {
			last = r
		}
	}
	return last
}

// settled reports whether this node forwards, or holds what the one that does holds.
func (n *Node) settled(now int64) bool {
	if n.config.Lease.Held(now) {
		return true
	}
	last := n.forwards()
	return last != nil && last.incomplete.Load() == nil
}

// Promote and Demote are what an operator asks for.
func (n *Node) Promote(force bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.election.AskPromote(n.clock(), force)
}

// Demote hands the role to a ready peer.
func (n *Node) Demote() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.election.AskDemote(n.clock())
}
