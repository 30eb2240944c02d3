package cluster

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/conntrack"
	"holdfast/sync/digest"
	"holdfast/sync/journal"
	"holdfast/sync/peer"
	"holdfast/sync/repair"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// nacksMax is how many requests for batches one datagram carries: at 24 bytes each, within
// journal.BatchMax.
const nacksMax = 32

// Times of a remote's reader.
const (
	readWait   = 5 * time.Millisecond // between two looks at what is due
	nackFirst  = int64(50e6)          // ns, for an answer to a request, before the round trip was measured
	helloEvery = int64(500e6)         // ns
)

// remote is another node of the cluster. Its reader goroutine, and where several paths have
// one each whoever of them holds mu, owns everything but the atomics.
type remote struct {
	node    *Node
	number  uint16
	link    *PeerLink
	mu      sync.Mutex // guards what the readers own
	by      int        // the path of the datagram at hand
	machine *peer.Machine
	applier *journal.Applier

	reply, batch, sealed  []byte
	beatBatch, beatSealed []byte // the control goroutine's, as is closed
	closed                uint64 // refusals that the election has been told of
	frame                 wire.Frame
	nacks                 []peer.Range
	now                   int64
	session               *seal.Session    // that the last hello went out under
	applied               uint64           // the life of the peer that batches were applied of last
	met                   uint64           // the life of the peer that was heard last,
	since                 [LanesMax]uint64 // and from where on it is told the lanes
	unacked               int              // batches delivered since the last Ack
	helloAt               int64
	under                 *seal.Session    // that the datagram at hand was sealed under,
	counter               uint64           // its counter,
	on                    seal.Lane        // and its lane
	beats                 order            // of the peer's beats
	fresh                 bool             // the beat before the message at hand was not overtaken
	answers               chan wire.Killed // to kills of the peer, for the reader to send
	outbox                chan []byte      // other control batches, likewise

	share     share
	tabled    tablesOf
	hash      digest.Hash
	trail     digest.Trail
	at        uint64 // of the batch that is applied, by the node's ledger
	check     repair.Check
	comparing bool // the prover has a round of this peer's
	need      repair.Need
	lacked    bool          // the need is for what the lanes cannot give
	empty     bool          // this node's table was, when the peer's life was heard first
	named     *repair.Named // since the transfer namedFor was asked for
	namedFor  uint32

	report    atomic.Pointer[repair.Report]
	proof     atomic.Pointer[Proof] // what the peer says of itself
	discarded atomic.Uint64
	keys      atomic.Pointer[[]seal.Key] // that are to be used from now on; nil: none are new

	heard      atomic.Int64           // CLOCK_BOOTTIME ns of its last beat; 0: never
	forwarded  atomic.Int64           // of the last in which this life of it claimed the role; 0: never
	incomplete atomic.Pointer[string] // why our table may lack some of its connections; nil: it does not
	hello      atomic.Pointer[wire.Hello]
	language   language
	standing   atomic.Pointer[wire.Standing]
	last       atomic.Pointer[Beat]
	acks       [LanesMax]atomic.Uint64 // what we have applied of its lanes, for our beats
	lanes      atomic.Int32            // how many of acks are valid
	confirmed  [LanesMax]atomic.Uint64 // what it has applied of ours
	behind     atomic.Uint64
	severed    atomic.Bool // it is heard, but what it replicates no longer comes (path.go)
	resent     atomic.Uint64
	gaps       atomic.Pointer[Gaps]
	malformed  atomic.Uint64
}

func newRemote(n *Node, number uint16, l *PeerLink) *remote {
	r := &remote{
		node: n, number: number, link: l, applier: n.config.Applier(),
		reply: make([]byte, 0, 2048),
		batch: make([]byte, 0, 2048), sealed: make([]byte, 0, 2048),
		beatBatch: make([]byte, 0, 2048), beatSealed: make([]byte, 0, 2048),
		answers: make(chan wire.Killed, answersMax), outbox: make(chan []byte, outboxMax),
		share: newShare(n, l),
	}
	r.applier.OnKill(r.obey)
	if settle := n.config.SettleTimeouts; settle != nil {
		r.applier.SettleTimeouts(func(s *conntrack.State) { settle(r.standing.Load(), s) })
	}
	r.applier.OnTableChange(r.changeTable)
	r.applier.Observe(r)
	r.applier.OnTransferEnd(r.onTransferEnd)
	r.machine = peer.New(r.deliver, nackFirst)
	why := "no hello yet"
	r.incomplete.Store(&why)
	return r
}

// name returns what the peer calls itself, or its address before it said so.
func (r *remote) name() string {
	if h := r.hello.Load(); h != nil {
		return h.Name
	}
	return r.link.address().String()
}

// datagram takes in what came. Nothing is looked at before it is authentic.
func (r *remote) datagram(b []byte) seal.Outcome {
	res := r.link.peer.Receive(r.now, b, r.reply[:0])
	r.link.send(res.Reply)
	if res.Outcome == seal.Opened && len(res.Plaintext) > 0 {
		// What a life before has sent may come late: its session lingers. It would be taken
		// for something that this life says.
		if current := r.link.peer.Session(); bootOf(res.Session) == bootOf(current) {
			r.under, r.counter, r.on = res.Session, res.Counter, res.Lane
			r.meet(bootOf(res.Session))
			r.plaintext(res.Plaintext)
		}
	}
	return res.Outcome
}

// plaintext takes in what was authentic.
func (r *remote) plaintext(b []byte) {
	h, body, err := wire.DecodeHeader(b)
	if err != nil {
		r.malformed.Add(1)
		return
	}
	if h.Kind == wire.Stream {
		if r.language.refused() {
			return
		}
		if r.machine.Phase() == peer.Stream && r.machine.Boot() != bootOf(r.under) {
			return // of a life whose hello has not come yet: it is asked for then
		}
		how := peer.First
		if r.on == laneAnswer { // resends are sealed there, so what comes late is told from what was sent again
			how = peer.Again
		}
		if r.machine.Batch(r.now, h.Lane, h.Sequence, how, body) != nil {
			r.malformed.Add(1)
		}
		r.acknowledge()
		r.publish()
		return
	}
	r.control(body)
}

// complete reports whether this node holds what the peer has, and if not, why.
func (r *remote) complete() (ok bool, why string) {
	if r.severed.Load() {
		return false, fmt.Sprintf("node %s: no sync link to it works, so what it replicates does not come", r.name())
	}
	if v := r.incomplete.Load(); v != nil {
		return false, fmt.Sprintf("node %s: %s", r.name(), *v)
	}
	return true, ""
}

// ackEvery is after how many batches a peer is told at once what has come, so that a
// transfer's credit does not wait for heartbeats.
const ackEvery = 128

// deliver applies a batch whose turn it is (peer.Deliver).
func (r *remote) deliver(lane uint16, body []byte) {
	if boot := r.machine.Boot(); boot != r.applied {
		r.applied = boot
		r.node.holds(boot)
	}
	r.at = r.node.ledger.Tick()
	r.applier.ApplyLate(body, r.now, r.now-r.machine.Known())
	r.trail.Applied(lane, r.machine.Next(lane), r.at)
	if int(lane) == int(r.lanes.Load())-1 {
		r.need.Moved(r.now)
	}
	r.unacked++
}

// acknowledge tells the peer at once what was applied, where it has asked for that or it is
// much. Only what is applied is told: a first packet may leave by that word.
func (r *remote) acknowledge() {
	if asked := r.applier.AckAsked(); !asked && r.unacked < ackEvery {
		return
	}
	r.unacked = 0
	var m wire.Ack
	var acks [LanesMax]uint64
	m.Lanes.Set(acks[:r.machine.Acks(acks[:])])
	r.sendControl(m.Append)
}

// holds notes that this node's table holds connections that a peer's life has told of.
func (n *Node) holds(boot uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lives[boot] = true
}

// told reports whether a peer that hears all of this node's lanes holds all that this
// node's table does: if nothing in it came from another node's life than the peer's own.
func (n *Node) told(peerBoot uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for boot := range n.lives {
		if boot != peerBoot {
			return false
		}
	}
	return true
}

// due sends what time asks for: handshakes, a hello, requests for gaps.
func (r *remote) due() {
	r.rekey()
	r.link.send(r.link.peer.Tick(r.now, r.reply[:0]))
	s := r.link.peer.Session()
	if s == nil {
		return
	}
	if s != r.session || r.now-r.helloAt >= helloEvery {
		r.session, r.helloAt = s, r.now
		r.sendHello(bootOf(s))
	}
	r.nacks = r.machine.Nacks(r.now, r.nacks[:0])
	r.sendNacks()
	r.sendAnswers()
	r.sendOutbox()
	r.sumTables()
	r.prove()
	r.applier.Requests(r.now, func(q *wire.UpdateRequest) { r.sendControl(q.Append) })
	r.applier.Over(func(e *wire.Ended) { r.sendControl(e.Append) })
	r.publish()
}

// publish makes what the reader knows visible to others.
func (r *remote) publish() {
	if r.node.settled(r.now) {
		r.machine.Settled()
	}
	var acks [LanesMax]uint64
	n := 0
	// To another life than the peer's present one they would say what it has never sent.
	if s := r.link.peer.Session(); s != nil && bootOf(s) == r.machine.Boot() {
		n = r.machine.Acks(acks[:])
	}
	for i := range n {
		r.acks[i].Store(acks[i])
	}
	r.lanes.Store(int32(n))
	r.behind.Store(r.machine.Behind())
	gaps := Gaps{
		Wait: r.machine.Wait(), Retry: r.machine.Retry(),
		Asked: r.machine.Asked, Needless: r.machine.Duplicate, Shed: r.machine.Shed, Lost: r.machine.Gone,
	}
	if last := r.gaps.Load(); last == nil || *last != gaps {
		r.gaps.Store(&gaps)
	}
	ok, why := r.need.Complete()
	if ok && r.lacked {
		r.lacked = false
		r.machine.Repaired()
	}
	if ok || !r.lacked {
		if held, missing := r.machine.Complete(); !held {
			ok, why = held, missing
		}
	}
	if missing := r.lackTables(); ok && missing != "" {
		ok, why = false, missing
	}
	if _, refused := r.language.status(); refused != "" {
		ok, why = false, refused
	}
	if ok {
		r.incomplete.Store(nil)
	} else {
		r.incomplete.Store(&why)
	}
	report := r.need.Report()
	if last := r.report.Load(); last == nil || *last != report {
		changed := report // its own, so that nothing is allocated where nothing has changed
		r.report.Store(&changed)
	}
}

// sendNacks tells what is asked for, in as few datagrams as it fits.
func (r *remote) sendNacks() {
	for rest := r.nacks; len(rest) > 0; {
		n := min(len(rest), nacksMax)
		r.sendControl(func(b []byte) []byte {
			for _, k := range rest[:n] {
				m := wire.Nack{Lane: k.Lane, First: k.First, Last: k.Last}
				b = m.Append(b)
			}
			return b
		})
		rest = rest[n:]
	}
}

// sendControl seals one control message on the reader's lane.
func (r *remote) sendControl(message func([]byte) []byte) {
	r.batch = message(wire.AppendControlHeader(r.batch[:0]))
	r.link.Send(laneAnswer, r.sealed, r.batch)
}
