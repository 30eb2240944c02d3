package simulator

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/nat"
	"holdfast/sync/cluster"
	"holdfast/sync/journal"
	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// node is one machine of the world: the production table, journals, sessions and cluster
// machine of one life after another, a clock of its own, and a worker that is played.
type node struct {
	world *World
	id    int // from 0; the cluster counts from 1

	base  int64 // what its clock shows when the world begins, ns
	drift int64 // of its clock, parts per million
	leapt int64 // ns that its clock has leapt ahead

	up      bool
	life    int
	paused  int64 // until when it stands still
	jammed  int64 // until when its worker does
	woke    int64 // when it last came back from standing still, or its clock leapt
	beating bool
	obeys   int   // beats that the control goroutine has not looked at yet
	dirty   bool  // its table may have changed
	born    int64 // when this life began
	late    int64 // ns that it has stood still in the step that it is taking now
	stall   int64 // ns that it is to stand still in its next heartbeat
	inbox   []mail

	table    *conntrack.Table
	pool     *nat.Pool
	lanes    []*journal.Journal
	shared   *journal.Shared
	lease    gate.Lease
	progress []*gate.Progress
	cluster  *cluster.Node
	appliers []*journal.Applier
	health   cluster.Health
	leaps    []leap
	claimed  int64 // when it was last promoted, virtual ns
	role     gate.Role
	sweepAt  uint32
	result   conntrack.Result
	ended    [16]conntrack.Ended
	reaped   [16]conntrack.Reaped

	puppet func(datagram []byte) // plays a node that is not made of this code; nil: none

	view  view  // what was seen of its table in this life
	right right // what was seen of its right to speak
}

// mail is a datagram that waits in the socket of a node that stands still.
type mail struct {
	from *link
	p    *parcel
}

// inboxMax is how many datagrams a socket holds.
const inboxMax = 2000

// address returns the address of a node's sync link.
func address(id int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 255, 0, byte(id + 1)}), 7400)
}

// local returns what the node's clock shows now.
func (n *node) local() int64 {
	t := n.world.now + n.late
	return n.base + t + t*n.drift/1e6 + n.leapt
}

// peers calls each with the index of every link and the node at its far end.
func (n *node) peers(each func(link int, peer *node)) {
	i := 0
	for _, p := range n.world.nodes {
		if p != n {
			each(i, p)
			i++
		}
	}
}

// ready reports whether the node says that its table is whole.
func (n *node) ready() bool {
	ready, _ := n.cluster.Ready()
	return ready
}

// linkTo returns the index of the link to a node.
func (n *node) linkTo(id int) int {
	if id > n.id {
		return id - 1
	}
	return id
}

// start begins a life of the node, with nothing in memory.
func (n *node) start() (err error) {
	w := n.world
	n.life++
	n.up, n.paused, n.jammed, n.stall, n.inbox, n.role = true, 0, 0, 0, nil, gate.Standby
	n.woke, n.born, n.sweepAt, n.obeys, n.dirty = w.now, w.now, 0, 0, true
	for path := range w.ways() {
		n.peers(func(_ int, peer *node) { w.way(path, n.id, peer.id).refused = false })
	}
	n.lease = gate.Lease{}
	n.view, n.right = newView(w), right{lapsed: true}
	n.table, err = conntrack.New(conntrack.Config{
		Capacity: capacity, Node: uint16(n.id + 1), Counter: uint64(n.local()) >> 16, Secret: n.secret(),
		Timeouts: timeouts(),
	})
	if err != nil {
		return fmt.Errorf("simulator: node %d: %w", n.id+1, err)
	}
	n.pool = nat.NewPool()
	links, configs, third, err := n.open()
	if err != nil {
		return fmt.Errorf("simulator: node %d: %w", n.id+1, err)
	}
	n.progress = nil
	for range w.shape.Workers {
		n.progress = append(n.progress, new(gate.Progress))
	}
	n.appliers = nil
	n.cluster, err = cluster.NewNode(cluster.Config{
		Name: fmt.Sprint("n", n.id+1), Group: "g", Priority: int32(100 - 10*n.id), Timing: w.shape.Timing, Alone: w.shape.Alone,
		Links: configs, Witness: third, Keys: w.keys, Capacity: capacity, Table: n.table, TransferCredit: 16,
		Lease: &n.lease, Progress: n.progress, Journals: n.lanes, Shared: n.shared,
		Applier: n.newApplier, Kill: n.obeyKill, Transition: n.transition, Now: n.local,
	}, links)
	if err != nil {
		return fmt.Errorf("simulator: node %d: %w", n.id+1, err)
	}
	n.cluster.SetHealth(n.health)
	n.plan()
	return nil
}

// secret draws that of a table's hash.
func (n *node) secret() (s conntrack.Secret) {
	for i := range s {
		s[i] = n.world.rng.Uint64() | 1
	}
	return s
}

// capacity of every table: enough for all flows, small enough that nothing hides.
const capacity = 256

// open makes the links and the lanes.
func (n *node) open() (links []*cluster.PeerLink, configs []cluster.LinkConfig, third *cluster.PeerLink, err error) {
	w := n.world
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], w.schedule.Seed)
	seed[8], seed[9] = byte(n.id), byte(n.life)
	life := cluster.Life{Boot: w.rng.Uint64() | 1, Keys: w.keys, Random: rand.NewChaCha8(seed)}
	if w.tap != nil {
		life.Log = w.tap.note
	}
	var ways []*journal.Link
	n.peers(func(_ int, peer *node) {
		config := cluster.LinkConfig{Local: address(n.id), Peer: address(peer.id)}
		l, failed := cluster.NewLink(config, life, w.link(n.id, peer.id))
		if failed != nil {
			err = failed
			return
		}
		n.connect(l, peer.id)
		links, configs, ways = append(links, l), append(configs, config), append(ways, &l.Link)
	})
	if err == nil {
		third, err = n.witnessLink(life)
	}
	outlet := journal.NewOutlet(ways)
	n.lanes = nil
	for i := range w.shape.Workers {
		n.lanes = append(n.lanes, journal.NewKeeping(w.shape.Backlog, uint16(i), outlet))
	}
	n.shared = journal.NewShared(journal.NewKeeping(w.shape.Backlog, uint16(w.shape.Workers), outlet))
	return links, configs, third, err
}

func (n *node) newApplier() *journal.Applier {
	a := journal.NewApplier(n.table, n.pool, n.shared, func(*wire.Neighbor) {})
	n.appliers = append(n.appliers, a)
	return a
}

// plan plans what a life does by itself: readers that look what is due, the control
// goroutine, the workers. Their phases differ.
func (n *node) plan() {
	w := n.world
	n.every(5*ms, func() {
		n.peers(func(i int, _ *node) { n.cluster.Due(i) })
		if w.third != nil {
			n.cluster.DueWitness()
		}
	})
	n.every(w.shape.Timing.Heartbeat/2, func() {
		n.obey()
		n.beating = true
		n.cluster.Turn()
		n.beating = false
	})
	n.every(4*ms, n.work)
	n.every(5*ms, func() {
		for n.cluster.Prove() {
			n.dirty = true
		}
	})
}

// every plans something that the life does again and again. While the node stands still it
// does nothing, and goes on after that.
func (n *node) every(period int64, do func()) {
	w, life := n.world, n.life
	var again func()
	again = func() {
		if !n.up || n.life != life {
			return
		}
		if w.now < n.paused {
			w.at(n.paused+w.rng.Int64N(100_000), again)
			return
		}
		n.take(do)
		w.at(max(w.now, n.paused)+period, again)
	}
	w.at(w.now+1+w.rng.Int64N(period), again)
}

// take lets the node take a step. What it stood still in the middle of it, it stands
// still for the world.
func (n *node) take(do func()) {
	do()
	if n.late > 0 {
		n.pause(n.world.now + n.late)
		n.late = 0
	}
}

// hiccup stops the node in the middle of a heartbeat, if that is due.
func (n *node) hiccup() {
	if n.beating {
		n.late, n.stall = n.late+n.stall, 0
	}
}

// pause makes the node stand still until a time, and then take what lies in its sockets.
func (n *node) pause(until int64) {
	w, life := n.world, n.life
	n.paused = max(n.paused, until)
	w.at(n.paused, func() {
		if n.life != life || w.now < n.paused {
			return
		}
		n.woke = w.now
		letters := n.inbox
		n.inbox = nil
		for i, m := range letters {
			if w.now < n.paused { // it stopped again
				n.inbox = letters[i:]
				return
			}
			n.receive(m.from, m.p)
		}
	})
}

// receive hands a datagram to the node.
func (n *node) receive(from *link, p *parcel) {
	w := n.world
	i := n.linkTo(from.from)
	bytes := append([]byte(nil), p.bytes...)
	w.note('r', n.id, bytes)
	last, before := n.cluster.Heard(i)
	outcome := n.cluster.ReceiveBy(i, from.path, bytes)
	w.believed(n, p, outcome)
	if b, at := n.cluster.Heard(i); at != before || b != last {
		w.law.beat(w, from.from, n.id, b)
	}
	n.take(func() { n.cluster.Due(i) })
	// The control goroutine is another: it hears of a beat a little later.
	life := n.life
	n.obeys++
	w.at(w.now+w.rng.Int64N(ms/2), func() {
		if n.up && n.life == life && w.now >= n.paused {
			n.take(n.obey)
		}
	})
	n.dirty = true
	if outcome == seal.Opened {
		w.law.acked(w, n)
	}
}

// obey is the control goroutine's part in what was heard.
func (n *node) obey() {
	n.obeys = 0
	n.cluster.Obey()
}

// refuse tells that nobody listens at a peer: the kernel says it to whoever uses the
// socket next.
func (n *node) refuse(by *link) {
	if n.world.rng.IntN(2) == 0 {
		by.refused = true
		return
	}
	n.cluster.Refused(n.linkTo(by.to), by.path)
}

// transition follows a change of role (cluster.Config.Transition).
func (n *node) transition(role gate.Role) {
	n.role = role
	n.world.say("node %d is %v", n.id+1, role)
	if role == gate.Active {
		n.claimed = n.world.now
		n.world.law.promoted(n.world, n)
	}
}

// crash ends the life without a word; its sockets are closed.
func (n *node) crash() {
	n.world.law.orphaned(n.world, n)
	n.up = false
	n.bury()
}

// bury gives back the memory of a life.
func (n *node) bury() {
	if n.table == nil {
		return
	}
	if err := n.table.Close(); err != nil {
		n.world.broken("INV11", "node %d: %v", n.id+1, err)
	}
	n.table = nil
}

// timeouts are short, so that connections expire within a schedule.
func timeouts() *conntrack.Timeouts {
	t := conntrack.DefaultTimeouts()
	for _, timer := range conntrack.Timers() {
		d := 2 * time.Second
		switch timer {
		case conntrack.TimerUDP, conntrack.TimerClose:
			d = 500 * time.Millisecond
		case conntrack.TimerUDPStream, conntrack.TimerTimeWait:
			d = time.Second
		case conntrack.TimerEstablished, conntrack.TimerUnacknowledged:
			d = 20 * time.Second
		}
		t.Plain[timer], t.Translated[timer] = d, d
	}
	return t
}
