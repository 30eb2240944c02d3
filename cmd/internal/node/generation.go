package node

import (
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane"
	"holdfast/dataplane/gate"
	"holdfast/nat"
	"holdfast/rules"
	"holdfast/rules/config"
	"holdfast/rules/limit"
	"holdfast/rules/table"
	"holdfast/sync/reload"
	"holdfast/sync/wire"
)

// generation is a policy in force and all that a reload swaps with it. Immutable.
type generation struct {
	epoch      uint64          // 1 is that of the start, one more with each swap: what verdicts of this node are told apart by
	version    wire.Generation // in the cluster; its hash is another than `hash` nowhere
	image      []byte          // what it was read from, packed
	policy     *config.Policy
	hash       uint64
	since      time.Time
	limits     limit.Plan
	adaptive   conntrack.Adaptive
	seats      uint64 // what numbers of timeouts mean, see rules.Set.TimeoutsHash
	snapshot   *dataplane.Snapshot
	countsAnew bool                  // its limits are others than those in force when it was made
	gone       map[uint32]rules.Rule // by number: rules of former generations that have connections
}

// reloading is what a daemon knows of the policies that it runs.
type reloading struct {
	sync.Mutex // one reload, plan or confirmation at a time
	current    atomic.Pointer[generation]
	pending    *pending // a reload that waits to be confirmed; nil: none
	over       bool     // the daemon ends

	ledger    reload.Ledger
	store     *reload.Store // nil: nothing is kept over a restart (tests)
	keptImage []byte        // of ledger.Kept
	ready     *ready        // what is prepared; nil: nothing
	stale     string        // see beginning
	peering

	tally sync.Mutex        // guards what follows, and the swap
	hits  map[uint32]uint64 // packets that rules decided on in generations that are over, by number
	past  []*generation     // over, and perhaps still before the eyes of a worker
}

// generation returns what is in force; a daemon that has not started has the zero value.
func (d *daemon) generation() *generation {
	if g := d.reloading.current.Load(); g != nil {
		return g
	}
	return &generation{policy: &config.Policy{}}
}

// set returns the rules in force.
func (d *daemon) set() *rules.Set { return d.snapshot.Load().Rules }

// limits returns the counts of the limits in force; nil: no rule has one.
func (d *daemon) limits() *limit.Table { return d.snapshot.Load().Limits }

// ruleOf returns the rule of a number, one that is gone too where it has connections.
func (d *daemon) ruleOf(number uint32) (rules.Rule, bool) {
	if r, ok := d.set().ByNumber(number); ok {
		return r, true
	}
	r, ok := d.generation().gone[number]
	return r, ok
}

// former returns the sets of timeouts in force as those of the next generation follow them.
func (d *daemon) former() *rules.Former {
	f := &rules.Former{}
	if set := d.set(); set != nil {
		f.Sets = set.Timeouts()
		d.table.Classes(func(c conntrack.Class, _ int) { f.Live[c.Timeouts] = true })
	}
	return f
}

// prepare makes the next generation of a compiled policy beside the one in force, which it
// does not touch. What lives on goes on in both: connections, port maps, the entries that
// were added to tables, and the counts of sources where no limit is changed.
func (d *daemon) prepare(p *config.Policy, plan *plan, pool *nat.Pool) (*generation, error) {
	old := d.snapshot.Load()
	g := &generation{
		epoch: d.generation().epoch + 1, policy: p, hash: p.Hash(), since: time.Now(),
		limits: plan.limits, adaptive: plan.adaptive,
	}
	next := *old
	next.Generation, next.Rules, next.Steering = g.epoch, plan.rules, plan.routes
	next.Hits = dataplane.NewRuleHits(len(d.queues), plan.rules)
	var err error
	if next.Tables, err = table.New(plan.tables, old.Tables); err != nil {
		return nil, err
	}
	if next.NAT, err = nat.Prepare(plan.translations, plan.site, pool); err != nil {
		return nil, err // it names the place
	}
	if g.epoch == 1 || !reflect.DeepEqual(plan.limits, d.generation().limits) {
		g.countsAnew = true
		if next.Limits, err = d.countAnew(&plan.limits); err != nil {
			return nil, err
		}
	}
	g.seats = plan.rules.TimeoutsHash()
	g.snapshot, g.gone = &next, d.goneFrom(plan.rules)
	return g, nil
}

// countAnew counts the sources of all connections for other limits. What begins or ends
// while it counts is missed: a source may be one off until it has no connection.
func (d *daemon) countAnew(plan *limit.Plan) (*limit.Table, error) {
	t, err := limit.New(plan, uint32(d.table.Capacity()))
	if t == nil || err != nil {
		return nil, err
	}
	now := gate.Now()
	var s conntrack.State
	for i := range d.table.High() {
		if d.table.Export(i, now, &s) && s.Complete() {
			t.Enter(s.Rule, &s.Original.Src, now)
		}
	}
	return t, nil
}

// goneFrom returns the rules that connections have and the next Set does not.
func (d *daemon) goneFrom(next *rules.Set) map[uint32]rules.Rule {
	gone := map[uint32]rules.Rule{}
	if d.set() == nil {
		return gone
	}
	d.table.Classes(func(c conntrack.Class, _ int) {
		if _, stays := next.ByNumber(c.Rule); stays {
			return
		}
		if r, known := d.ruleOf(c.Rule); known {
			gone[c.Rule] = r
		}
	})
	return gone
}

// publish puts a generation in force: from one turn to the next a worker judges by all of
// it. Only the timeouts of idle connections come a moment before, by numbers that mean the
// same in both, or that no connection has. Nothing has changed where it returns an error.
func (d *daemon) publish(g *generation) error {
	if err := d.table.SetTimeouts(g.snapshot.Rules.Timeouts(), g.adaptive, gate.Now()); err != nil {
		return err
	}
	g.snapshot.NAT.Enforce()
	r := &d.reloading
	r.tally.Lock()
	if old := r.current.Load(); old != nil {
		r.past = append(r.past, old)
	}
	g.snapshot.Down = d.tracking.down
	d.snapshot.Store(g.snapshot)
	r.current.Store(g)
	r.tally.Unlock()
	return nil
}

// Bounds of passed.
const (
	passPatient = time.Second // a worker that does not move for that long does not matter
	passPause   = 200 * time.Microsecond
)

// passed waits until every worker judges by what is in force, and then keeps the counts of
// the generations before and lets go of them.
func (d *daemon) passed() {
	turns := make([]uint64, len(d.workers))
	for i, w := range d.workers {
		turns[i] = w.Progress().Turns()
		w.Wake()
	}
	for i, w := range d.workers {
		// The turn under way may have begun before the swap; the one after that has not.
		for deadline := time.Now().Add(passPatient); w.Progress().Turns() == turns[i]; {
			if time.Now().After(deadline) {
				return
			}
			time.Sleep(passPause)
		}
	}
	r := &d.reloading
	r.tally.Lock()
	defer r.tally.Unlock()
	if r.hits == nil {
		r.hits = map[uint32]uint64{}
	}
	for _, g := range r.past {
		g.addHits(r.hits)
	}
	r.past = nil
	// A rule that is gone keeps its count for one generation: it may come back.
	for number := range r.hits {
		if _, ok := d.ruleOf(number); !ok && !r.comesBack(number) {
			delete(r.hits, number)
		}
	}
}

// comesBack reports whether a rule is one of the policy that a pending reload returns to.
func (r *reloading) comesBack(number uint32) bool {
	if r.pending == nil {
		return false
	}
	_, ok := r.pending.before.snapshot.Rules.ByNumber(number)
	return ok
}

// addHits adds a generation's counts by the numbers of its rules.
func (g *generation) addHits(sum map[uint32]uint64) {
	listed := g.snapshot.Rules.Rules()
	for _, hits := range g.snapshot.Hits {
		for i := range hits {
			if n := hits[i].Load(); n > 0 {
				sum[listed[i].Number] += n
			}
		}
	}
}

// ruleHits returns what rules have decided on since the start, by their numbers.
func (d *daemon) ruleHits() map[uint32]uint64 {
	r := &d.reloading
	r.tally.Lock()
	defer r.tally.Unlock()
	sum := map[uint32]uint64{}
	for number, n := range r.hits {
		sum[number] = n
	}
	for _, g := range r.past {
		g.addHits(sum)
	}
	d.generation().addHits(sum)
	return sum
}
