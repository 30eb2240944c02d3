package simulator

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"holdfast/sync/cluster"
)

// third is the witness of a world: the production machine of one life after another, with a
// clock of its own, and its ways to the nodes.
type third struct {
	world *World
	rng   *rand.Rand
	base  int64 // what its clock shows when the world begins, ns
	leapt int64

	up      bool
	life    int
	paused  int64
	machine *cluster.Witness
	inbox   []letter
	ways    [][2]*thread // by node: to the witness, and back
}

// letter is a datagram that waits in the witness's socket.
type letter struct {
	from  int
	bytes []byte
}

// thread is the network between a node and the witness in one direction.
type thread struct {
	third *third
	node  int
	back  bool // from the witness to the node
	cuts  int
	lossy int // faults that are in force: a datagram in three is lost, the others come late or twice
}

// witnessAddress is where the witness is.
var witnessAddress = netip.MustParseAddrPort("10.254.0.1:7400")

// station is a node's address on the way to the witness.
func station(id int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 254, 1, byte(id + 1)}), 7400)
}

func newThird(w *World) *third {
	rng := rand.New(rand.NewPCG(w.schedule.Seed, 0x7769746e657373))
	t := &third{world: w, rng: rng, base: 5000*second + rng.Int64N(1000*second)}
	for i := range w.shape.Nodes {
		t.ways = append(t.ways, [2]*thread{{third: t, node: i}, {third: t, node: i, back: true}})
	}
	return t
}

func (t *third) local() int64 { return t.base + t.world.now + t.leapt }

// start begins a life of the witness.
func (t *third) start() error {
	t.life++
	t.up, t.paused, t.inbox = true, 0, nil
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], t.world.schedule.Seed)
	seed[8], seed[9] = 255, byte(t.life)
	life := cluster.Life{Boot: t.rng.Uint64() | 1, Keys: t.world.keys, Random: rand.NewChaCha8(seed)}
	var links []*cluster.PeerLink
	for i := range t.ways {
		l, err := cluster.NewLink(cluster.LinkConfig{Local: witnessAddress, Peer: station(i)}, life, t.ways[i][1])
		if err != nil {
			return fmt.Errorf("simulator: witness: %w", err)
		}
		links = append(links, l)
	}
	t.machine = cluster.NewWitness(links, t.local)
	current := t.life
	var again func()
	again = func() {
		if !t.up || t.life != current {
			return
		}
		if t.world.now < t.paused {
			t.world.at(t.paused+t.rng.Int64N(100_000), again)
			return
		}
		for i := range t.ways {
			t.machine.Due(i)
		}
		t.world.at(t.world.now+5*ms, again)
	}
	t.world.at(t.world.now+1+t.rng.Int64N(5*ms), again)
	return nil
}

// pause makes the witness stand still.
func (t *third) pause(until int64) {
	t.paused = max(t.paused, until)
	life := t.life
	t.world.at(t.paused, func() {
		if t.life != life || t.world.now < t.paused {
			return
		}
		letters := t.inbox
		t.inbox = nil
		for _, l := range letters {
			t.receive(l.from, l.bytes)
		}
	})
}

func (t *third) receive(from int, bytes []byte) {
	t.machine.Receive(from, bytes)
	t.machine.Due(from)
}

// Write takes what a node sends the witness, or the witness a node (journal.Way).
func (h *thread) Write(datagram []byte) error {
	w, at := h.third.world, h.third.world.now
	if !h.back {
		sender := w.nodes[h.node]
		sender.hiccup()
		at += sender.late
	}
	w.datagrams++
	if h.cuts > 0 {
		return nil
	}
	copies := 1
	if h.lossy > 0 {
		copies = h.third.rng.IntN(3)
	}
	for range copies {
		bytes := slices.Clone(datagram)
		late := latency + h.third.rng.Int64N(latency)
		if h.lossy > 0 {
			late += h.third.rng.Int64N(100 * ms)
		}
		w.at(at+late, func() { h.arrive(bytes) })
	}
	return nil
}

func (h *thread) arrive(bytes []byte) {
	t := h.third
	w, n := t.world, t.world.nodes[h.node]
	switch {
	case !h.back && !t.up:
	case !h.back && w.now < t.paused:
		t.inbox = append(t.inbox, letter{h.node, bytes})
	case !h.back:
		t.receive(h.node, bytes)
	case !n.up:
	case w.now < n.paused:
		life := n.life
		w.at(n.paused, func() { // it lies in the socket until then
			if n.life == life {
				h.arrive(bytes)
			}
		})
	default:
		n.hearWitness(bytes)
	}
}

// hearWitness is the reader's part in a datagram of the witness, and then the control
// goroutine's.
func (n *node) hearWitness(bytes []byte) {
	w := n.world
	n.cluster.ReceiveWitness(bytes)
	life := n.life
	w.at(w.now+w.rng.Int64N(ms/2), func() {
		if n.up && n.life == life && w.now >= n.paused {
			n.take(n.obey)
		}
	})
}

// witnessLink makes a node's way to the witness, nil where there is none.
func (n *node) witnessLink(life cluster.Life) (*cluster.PeerLink, error) {
	if n.world.third == nil {
		return nil, nil
	}
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], n.world.schedule.Seed)
	seed[8], seed[9], seed[10] = byte(n.id), byte(n.life), 1
	life.Random, life.Log = rand.NewChaCha8(seed), nil
	return cluster.NewLink(cluster.LinkConfig{Local: station(n.id), Peer: witnessAddress}, life, n.world.third.ways[n.id][0])
}

// beginThird is what happens to the witness: Peer says what.
func (w *World) beginThird(x Step) {
	t := w.third
	switch x.Action {
	case Secede:
		for i, way := range t.ways[x.Node] {
			if x.Amount == 0 || x.Amount == i+1 {
				way.cuts++
				w.at(x.Until, func() { way.cuts-- })
			}
		}
	case Garble:
		for _, way := range t.ways[x.Node] {
			way.lossy++
			w.at(x.Until, func() { way.lossy-- })
		}
	case Doze:
		if t.up {
			t.pause(x.Until)
		}
	case Forget:
		if !t.up {
			return
		}
		t.up = false
		w.at(x.Until, func() {
			if err := t.start(); err != nil {
				w.broken("world", "%v", err)
			}
		})
	}
}

// PlanWitness makes the schedule of a seed in which votes decide: that of PlanElection, with a
// witness that stands still, dies, and is cut off from nodes.
func PlanWitness(seed uint64) Schedule {
	s := PlanElection(seed)
	rng := rand.New(rand.NewPCG(seed, 0x766f746573))
	s.Shape.Alone, s.Shape.Witness = cluster.AloneWitness, true
	for range rng.IntN(8) {
		at := rng.Int64N(s.Shape.End)
		one := Step{At: at, Until: min(at+ms+rng.Int64N(1<<(20+rng.IntN(12))), s.Shape.End), Node: rng.IntN(s.Shape.Nodes)}
		switch rng.IntN(6) {
		case 0, 1:
			one.Action, one.Amount = Secede, rng.IntN(3)
		case 2:
			one.Action = Garble
		case 3:
			one.Action = Doze
		case 4:
			one.Action = Forget
			one.Until = min(at+ms+rng.Int64N(300*ms), s.Shape.End)
		case 5: // the way to it fails together with all others
			one.Action = Secede
			s.add(one)
			one.Action = Part
		}
		s.add(one)
	}
	slices.SortStableFunc(s.Steps, func(a, b Step) int { return int(min(max(a.At-b.At, -1), 1)) })
	for i := range s.Steps {
		s.Steps[i].Number = i
	}
	return s
}
