package reload

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"holdfast/sync/wire"
)

// Times of the simulated cluster, in ns.
const (
	simTurn   = int64(5e6)
	simWindow = int64(10e9)
	simLimit  = int64(3e9) // of a round
)

// simNode is a node with a ledger, and nothing behind it but the hash in force.
type simNode struct {
	Ledger
	number uint16
	force  uint64
	until  int64 // of the trial
	dead   bool
	refuse wire.Step // that it refuses; steps none
	faulty bool      // it refuses that step
}

// letter is a message on its way.
type letter struct {
	at       int64
	from, to uint16
	order    *wire.Order
	answer   *wire.Answer
	standing *wire.Generation
}

// simCluster is nodes and a network that loses, repeats and reorders. Node 1 is asked.
type simCluster struct {
	t       interface{ Fatalf(string, ...any) }
	rng     *rand.Rand
	now     int64
	loss    int // percent
	nodes   []*simNode
	mail    []letter
	round   *Round
	active  uint16
	killAt  int64 // when kill dies; 0: nobody
	kill    uint16
	deafAt  int64 // when deaf is cut off, for longer than a trial lasts; 0: nobody
	deaf    uint16
	target  wire.Generation
	stopped bool // node 1 has died in the middle
}

// died unwinds the transaction of a node that has died.
type died struct{}

func (c *simCluster) node(n uint16) *simNode { return c.nodes[n-1] }

func (c *simCluster) cut(n uint16) bool {
	return n == c.deaf && c.deafAt != 0 && c.now >= c.deafAt && c.now < c.deafAt+simWindow+simWindow/2
}

func (c *simCluster) send(m letter) {
	for range 1 + c.rng.IntN(2) {
		if c.rng.IntN(100) >= c.loss {
			m.at = c.now + 1 + c.rng.Int64N(int64(3e8))
			c.mail = append(c.mail, m)
		}
	}
}

// turn lets a moment pass: trials end, letters arrive in any order.
func (c *simCluster) turn() {
	c.now += simTurn
	if c.killAt != 0 && c.now >= c.killAt {
		c.killAt, c.node(c.kill).dead = 0, true
	}
	for _, n := range c.nodes {
		if !n.dead && n.Trial.Number != 0 && c.now >= n.until {
			c.carryOut(n, wire.StepRevert, n.Trial, 0)
		}
		if !n.dead && c.rng.IntN(100) == 0 {
			kept := n.Kept
			for _, to := range c.nodes {
				c.send(letter{from: n.number, to: to.number, standing: &kept})
			}
		}
	}
	var later []letter
	var due []letter
	for _, m := range c.mail {
		if m.at > c.now {
			later = append(later, m)
		} else {
			due = append(due, m)
		}
	}
	c.mail = later
	c.rng.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
	for _, m := range due {
		if n := c.node(m.to); !n.dead && m.from != m.to && !c.cut(m.from) && !c.cut(m.to) {
			c.arrive(n, &m)
		}
	}
	if c.node(1).dead && !c.stopped {
		c.stopped = true
		panic(died{})
	}
}

func (c *simCluster) arrive(n *simNode, m *letter) {
	switch {
	case m.order != nil:
		a := &wire.Answer{Step: m.order.Step, For: m.order.For, Outcome: wire.OutcomeDone}
		if err := c.step(n, m.order.Step, m.order.For, int64(m.order.Window)*1e6); err != "" {
			a.Outcome, a.Words = wire.OutcomeRefused, []byte(err)
		}
		c.send(letter{from: n.number, to: m.from, answer: a})
	case m.answer != nil && c.round != nil:
		c.round.Answer(m.from, m.answer)
	case m.standing != nil:
		switch n.Needs(*m.standing, c.now) {
		case NeedConfirm:
			c.carryOut(n, wire.StepConfirm, *m.standing, 0)
		case NeedFetch:
			n.Kept, n.Trial, n.force = *m.standing, wire.Generation{}, m.standing.Hash
		}
	}
}

// step is what a node does with an order.
func (c *simCluster) step(n *simNode, step wire.Step, g wire.Generation, window int64) string {
	ruling, err := n.May(step, g, c.now)
	if err != nil {
		return err.Error()
	}
	if ruling == Do {
		if n.faulty && n.refuse == step {
			return "it does not want to"
		}
		c.carryOut(n, step, g, window)
	}
	return ""
}

func (c *simCluster) carryOut(n *simNode, step wire.Step, g wire.Generation, window int64) {
	switch step {
	case wire.StepCommit:
		n.force, n.until = g.Hash, c.now+window
	case wire.StepRevert:
		if g == n.Trial {
			n.force = n.Kept.Hash
		}
	}
	n.Done(step, g, c.now)
}

// Parties, of node 1.

func (c *simCluster) Members() (all []Member) {
	for _, n := range c.nodes[1:] {
		all = append(all, Member{Number: n.number, Name: string(rune('a' + n.number)), Heard: !n.dead && !c.cut(n.number), Active: n.number == c.active})
	}
	return all
}

func (c *simCluster) Own(step wire.Step) error {
	if why := c.step(c.node(1), step, c.target, simWindow); why != "" {
		return ErrImage
	}
	return nil
}

func (c *simCluster) Ask(step wire.Step, peers []uint16) []Reply {
	o := wire.Order{Step: step, For: c.target}
	if step == wire.StepCommit {
		o.Window = uint32(simWindow / 1e6)
	}
	c.round = NewRound(o, peers, c.now+simLimit)
	defer func() { c.round = nil }()
	for {
		for _, p := range c.round.Due(c.now) {
			c.send(letter{from: 1, to: p, order: &o})
		}
		if replies, over := c.round.Over(c.now); over {
			return replies
		}
		c.turn()
		for _, p := range peers {
			if c.node(p).dead || c.cut(p) {
				c.round.Gone(p)
			}
		}
	}
}

// unless runs a part of node 1's work, and reports whether it lived through it.
func (c *simCluster) unless(work func()) (lived bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(died); !ok {
				panic(r)
			}
		}
	}()
	work()
	return true
}

func newSim(t interface{ Fatalf(string, ...any) }, seed uint64, nodes, loss int) *simCluster {
	c := &simCluster{t: t, rng: rand.New(rand.NewPCG(seed, 7)), loss: loss, target: wire.Generation{Number: 2, Hash: 22}}
	for i := range nodes {
		c.nodes = append(c.nodes, &simNode{number: uint16(i + 1), force: 11, Ledger: Ledger{Kept: wire.Generation{Number: 1, Hash: 11}}})
	}
	return c
}

// Whatever is lost, repeated or reordered, whoever dies and refuses: nobody stays on trial,
// those that live agree in the end, on the new policy if it was confirmed and on the old if
// nothing says so, and what was not confirmed is in force nowhere once its time is over.
func TestREL29_ClusterAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newSim(t, rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 3).Draw(t, "nodes"), rapid.IntRange(0, 50).Draw(t, "loss"))
		c.active = uint16(rapid.IntRange(1, len(c.nodes)).Draw(t, "active"))
		if rapid.Bool().Draw(t, "somebody dies") {
			c.kill = uint16(rapid.IntRange(1, len(c.nodes)).Draw(t, "who"))
			c.killAt = rapid.Int64Range(1, int64(4e9)).Draw(t, "when")
		}
		if rapid.Bool().Draw(t, "somebody is cut off") {
			c.deaf = uint16(rapid.IntRange(1, len(c.nodes)).Draw(t, "who is")) // perhaps the one that was asked
			c.deafAt = rapid.Int64Range(1, int64(4e9)).Draw(t, "since")
		}
		if n := c.node(uint16(len(c.nodes))); rapid.IntRange(0, 3).Draw(t, "refuses") == 0 && n.number != 1 {
			n.faulty, n.refuse = true, wire.Step(rapid.IntRange(0, 1).Draw(t, "step"))
		}
		confirms := rapid.Bool().Draw(t, "confirms")
		put, confirmed := false, false
		tr := Transaction{Parties: c}
		c.unless(func() {
			c.carryOut(c.node(1), wire.StepPrepare, c.target, 0)
			if put = tr.Put(); put && confirms {
				confirmed = tr.Confirm() == nil
			}
		})
		if !put && !c.stopped && len(tr.Faults) == 0 {
			t.Fatalf("refused without a fault")
		}
		for end := c.now + 2*simWindow; c.now < end; {
			c.unless(c.turn)
		}
		c.loss = 0
		for end := c.now + simWindow; c.now < end; {
			c.unless(c.turn)
		}
		keeps := map[wire.Generation]int{}
		for _, n := range c.nodes {
			if n.dead {
				continue
			}
			if n.Trial.Number != 0 || n.force != n.Kept.Hash {
				t.Fatalf("node %d: still on trial: %+v, in force %d", n.number, n.Ledger, n.force)
			}
			keeps[n.Kept]++
		}
		if len(keeps) > 1 {
			t.Fatalf("the living disagree: %v", keeps)
		}
		if keeps[c.target] > 0 && !confirms || keeps[c.target] == 0 && confirmed && !c.node(1).dead {
			t.Fatalf("confirms %v, confirmed %v, kept by %d", confirms, confirmed, keeps[c.target])
		}
	})
}

// A node that is gone is left behind with its name, and one that refuses stops all.
func TestTransactionNamesTheNode(t *testing.T) {
	c := newSim(t, 1, 3, 0)
	c.active = 1
	c.node(2).dead = true
	tr := Transaction{Parties: c}
	c.carryOut(c.node(1), wire.StepPrepare, c.target, 0)
	if !tr.Put() || len(tr.Warnings) != 1 || tr.Warnings[0] != "node c is not heard: it takes this policy when it is back, if nothing newer is there" {
		t.Fatalf("%q %q", tr.Warnings, tr.Faults)
	}
	if err := tr.Confirm(); err != nil || c.node(3).Kept != c.target {
		t.Errorf("%v, node 3 keeps %v", err, c.node(3).Kept)
	}

	c = newSim(t, 1, 3, 0)
	c.active = 1
	c.node(3).faulty = true // at the first step
	tr = Transaction{Parties: c}
	c.carryOut(c.node(1), wire.StepPrepare, c.target, 0)
	if tr.Put() || !slices.Equal(tr.Faults, []string{"node d refuses: it does not want to"}) {
		t.Errorf("%q", tr.Faults)
	}
	for _, n := range c.nodes {
		if n.force != 11 || n.Trial.Number != 0 {
			t.Errorf("node %d has changed", n.number)
		}
	}
}

// Those that stand by swap first, the active node last, whichever is asked.
func TestTransactionSwapsTheActiveNodeLast(t *testing.T) {
	for active := uint16(1); active <= 3; active++ {
		c := newSim(t, 3, 3, 0)
		c.active = active
		c.carryOut(c.node(1), wire.StepPrepare, c.target, 0)
		tr := Transaction{Parties: order{c, t}}
		if !tr.Put() {
			t.Fatal(tr.Faults)
		}
	}
}

// order checks at each swap that nobody who stands by is behind the active node.
type order struct {
	*simCluster
	t *testing.T
}

func (o order) Ask(step wire.Step, peers []uint16) []Reply {
	r := o.simCluster.Ask(step, peers)
	o.check()
	return r
}

func (o order) Own(step wire.Step) error {
	err := o.simCluster.Own(step)
	o.check()
	return err
}

func (o order) check() {
	for _, n := range o.nodes {
		if n.force == 11 && o.node(o.active).force == 22 {
			o.t.Errorf("node %d is active and has swapped before node %d", o.active, n.number)
		}
	}
}
