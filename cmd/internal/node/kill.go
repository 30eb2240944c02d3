package node

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/conntrack/selector"
	"holdfast/dataplane"
	"holdfast/dataplane/gate"
	"holdfast/dataplane/packet"
	"holdfast/sync/cluster"
	"holdfast/sync/wire"
)

// A kill is one transaction:
//
//	         class alone decides, silent:           anything else:
//	mark     one store per class                    every connection that is meant, in steps
//	tell     one message, the selector's words      one Delete per connection, as it is reaped
//	reap     connections leave the table, NAT ports come back, ends are told by the manner
//	answer   how many, here and on each peer
//
// After the first step no packet of a killed connection passes. A route that is to be
// switched must be switched before: new connections would go the old way (Q4).

// Pace of kills.
const (
	killStep      = 1024 // entries of the table that one call looks at
	killAnswer    = time.Second
	killPerDelete = 4 * time.Microsecond // that the answer may come later, for each connection told by a Delete
	abortPatient  = 5 * time.Second      // that a kill waits for room in the workers' orders, in all
	killPause     = time.Millisecond     // between two looks at that, and at what peers lack
	killAhead     = 1024                 // batches of Deletes that a peer may lack: a lane keeps four times as many
	peerPatient   = 2 * time.Second      // that a kill waits for peers to take Deletes, in all
)

var manners = map[string]dataplane.Manner{
	"": dataplane.Silent, "silent": dataplane.Silent, "reset": dataplane.Reset, "unreachable": dataplane.Unreachable,
}

// killing is what serves kills one by one: their counts would mix.
type killing struct {
	sync.Mutex

	events [2]dataplane.Recorder // says which connections it has ended, where somebody watches; of each half of the table

	entry   sync.Mutex // guards the way in: nobody enters once ending is set
	running sync.WaitGroup
	ending  atomic.Bool // the daemon ends: leave the table alone
}

// Kill implements api.Daemon: matching connections end here and on every peer.
func (d *daemon) Kill(r api.KillRequest) (api.KillResult, error) {
	s, manner, err := d.parseKill(&r)
	if err != nil {
		return api.KillResult{}, err
	}
	if r.DryRun {
		n := 0
		d.each(s, func(*conntrack.View) { n++ })
		return api.KillResult{DryRun: true, Killed: map[string]int{d.name: n}}, nil
	}
	// Here it would end copies only: the active node tells of its own again, and until then
	// a failover would lose them.
	if c := d.cluster.Status(gate.Now()); c.Beat.Role != gate.Active && c.Active != "" {
		return api.KillResult{}, fmt.Errorf("%s stands by: connections are ended on the active node, from where every node hears of it: run it on %s", d.name, c.Active)
	}
	if !d.killing.begin() {
		return api.KillResult{}, fmt.Errorf("%s ends: ask the node that takes over", d.name)
	}
	defer d.killing.running.Done()
	d.killing.Lock()
	defer d.killing.Unlock()
	k := newKill(d, s, d.table.Latest(), manner)
	return k.everywhere(), nil
}

// parseKill reads a request. Errors say what to write.
func (d *daemon) parseKill(r *api.KillRequest) (*selector.Selector, dataplane.Manner, error) {
	if len(r.Selector) == 0 {
		return nil, 0, fmt.Errorf("%w: kill needs a selector; everything is the word `all`", api.ErrUsage)
	}
	manner, ok := manners[r.Manner]
	if !ok {
		return nil, 0, fmt.Errorf("%w: manner %q: it is silent, reset or unreachable", api.ErrUsage, r.Manner)
	}
	s, err := parse(r.Selector)
	if err != nil {
		return nil, 0, err
	}
	if text := s.String(); wire.ValidSelector([]byte(text)) != nil {
		return nil, 0, fmt.Errorf("%w: the selector has %d bytes: at most %d reach the other nodes", api.ErrUsage, len(text), wire.SelectorMax)
	}
	return s, manner, nil
}

// obeyKill carries out a kill that a peer tells of (cluster.Config.Kill): the marks at
// once where the class decides, the rest in the background.
func (d *daemon) obeyKill(m *wire.Kill, done func(count int)) bool {
	s, err := selector.ParseText(string(m.Selector))
	if err != nil {
		d.log.Warn("a peer's kill is refused", "selector", string(m.Selector), "err", err)
		return false
	}
	if !d.killing.begin() {
		return false
	}
	k := newKill(d, s, m.Before, dataplane.Silent)
	if k.byClass {
		k.classes = d.table.Kill(k.meansClass, k.before)
	}
	go func() {
		defer d.killing.running.Done()
		d.killing.Lock()
		defer d.killing.Unlock()
		if !k.byClass { // its rules have other labels than ours
			k.mark()
		}
		k.reap()
		done(k.count())
	}()
	return true
}

// endOwn ends the connections of the node itself, because it has lost the right to speak:
// they die with the role, and must not hold ports that the active node gives to others.
func (d *daemon) endOwn() {
	if !d.killing.begin() {
		return
	}
	own := func(c *conntrack.Class) bool { return c.Ingress == packet.Self || c.Egress == packet.Self }
	k := &kill{d: d, why: conntrack.EndKilled, classes: d.table.Kill(own, 0)}
	go func() {
		defer d.killing.running.Done()
		d.killing.Lock()
		defer d.killing.Unlock()
		k.reap()
	}()
}

// begin counts a kill in, unless the daemon ends.
func (g *killing) begin() bool {
	g.entry.Lock()
	defer g.entry.Unlock()
	if g.ending.Load() {
		return false
	}
	g.running.Add(1)
	return true
}

// end waits until no kill uses the table any more.
func (g *killing) end() {
	g.entry.Lock()
	g.ending.Store(true)
	g.entry.Unlock()
	g.running.Wait()
}

// kill is one kill under way.
type kill struct {
	d       *daemon
	s       *selector.Selector
	names   selector.Names
	before  conntrack.Incarnation
	manner  dataplane.Manner
	why     conntrack.EndReason     // as watch and the peers hear of it
	choose  func() conntrack.Choice // what is meant, for one goroutine
	byClass bool                    // the class alone decides, and nobody need be told
	classes conntrack.Kill
	tell    bool // a Delete for each

	marked atomic.Int64
	untold atomic.Int64 // connections whose ends were to be told and were not
}

func newKill(d *daemon, s *selector.Selector, before conntrack.Incarnation, manner dataplane.Manner) *kill {
	k := &kill{d: d, s: s, names: d.names(), before: before, manner: manner, why: conntrack.EndKilled}
	k.byClass = s.OfClass(&k.names) && manner == dataplane.Silent
	k.choose = func() conntrack.Choice {
		choice := conntrack.Choice{Class: k.meansClass}
		if !k.s.OfClass(&k.names) {
			choice.Conn = func(v *conntrack.View) bool { return k.s.Match(v, &k.names) }
		}
		return choice
	}
	return k
}

func (k *kill) meansClass(c *conntrack.Class) bool { return k.s.MatchClass(c, &k.names) }

// everywhere carries it out on this node, the active one, and on its peers.
func (k *kill) everywhere() api.KillResult {
	d := k.d
	wholesale := k.s.OfClass(&k.names)
	k.tell = !wholesale
	if k.byClass {
		k.classes = d.table.Kill(k.meansClass, k.before)
	} else {
		// Where the ends are to be told, each connection is marked, class or not: a mark
		// keeps it until the reap knows what its ends expect.
		k.mark()
	}
	var asked *cluster.KillAsked
	if wholesale {
		asked = d.cluster.Kill(&wire.Kill{Before: k.before, Selector: []byte(k.s.String())})
		if !k.byClass {
			k.classes = d.table.Kill(k.meansClass, k.before) // what a peer still tells of must not come back
		}
	}
	k.reap()
	limit := killAnswer
	if !wholesale {
		asked = d.cluster.Kill(&wire.Kill{Before: k.before, Kind: wire.KillTold})
		limit += time.Duration(k.count()) * killPerDelete
	}
	result := api.KillResult{Killed: map[string]int{d.name: k.count()}, Untold: int(k.untold.Load())}
	for _, a := range asked.Wait(limit) {
		if why := silence(&a, limit); why != "" {
			result.Unanswered = append(result.Unanswered, api.KillUnanswered{Node: a.Peer, Why: why})
		} else {
			result.Killed[a.Peer] = int(a.Killed)
		}
	}
	return result
}

// silence says why a peer's count is not known; "" where it is.
func silence(a *cluster.KillAnswer, limit time.Duration) string {
	switch {
	case a.Refused:
		return "it does not understand the selector: compare its version (`holdfast version`)"
	case a.Answered:
		return ""
	case a.Away:
		return "it is not connected, and hears of the kill when it is back"
	}
	return fmt.Sprintf("no answer within %v: look at `holdfast status` there", limit.Round(time.Millisecond))
}

// mark ends every connection that is meant, by itself.
func (k *kill) mark() {
	k.halves(func(_ int, from, to uint32) { k.markPart(from, to) })
}

// halves goes over the table with two goroutines: that is a walk over memory, and one core
// does not keep up with it.
func (k *kill) halves(part func(number int, from, to uint32)) {
	half := k.d.table.High() / 2
	var parts sync.WaitGroup
	parts.Go(func() { part(0, 0, half) })
	part(1, half, math.MaxUint32)
	parts.Wait()
}

// steps calls one with steps of a part, until the table or the daemon ends.
func (k *kill) steps(from, to uint32, one func(from, count uint32) (next uint32)) {
	for from < to && !k.d.killing.ending.Load() {
		if from = one(from, min(killStep, to-from)); from == 0 {
			return
		}
	}
}

func (k *kill) markPart(from, to uint32) {
	choice := k.choose()
	now := gate.Now()
	k.steps(from, to, func(from, count uint32) uint32 {
		next, n := k.d.table.KillEach(from, count, now, k.before, &choice)
		k.marked.Add(int64(n))
		return next
	})
}

// count returns how many connections it has ended here.
func (k *kill) count() int { return int(k.marked.Load()) + k.d.table.ReapedOf(&k.classes) }

// reap takes away what is dead.
func (k *kill) reap() {
	k.halves(func(number int, from, to uint32) {
		r := reaper{kill: k, events: &k.d.killing.events[number], reaped: make([]conntrack.Reaped, 64), pending: make([]dataplane.Abort, 0, 2*enough)}
		k.steps(from, to, r.step)
		r.order(1)
	})
	k.d.shared.Flush()
}

// reaper takes away a part of what is dead.
type reaper struct {
	*kill
	events  *dataplane.Recorder
	reaped  []conntrack.Reaped
	pending []dataplane.Abort // orders for the workers
	worker  int               // that gets the next
	waited  time.Duration     // for room in the workers
	lagged  time.Duration     // for peers to take what they were told
}

func (r *reaper) step(from, count uint32) (next uint32) {
	var tell func([]conntrack.Reaped)
	if r.tell {
		tell = r.delete
	}
	r.events.Begin()
	now := gate.Now()
	next, n := r.d.table.Reap(from, count, now, r.reaped, tell)
	active := r.d.lease.Held(now) // a standby's copies are no events
	for i := range r.reaped[:n] {
		if active {
			r.events.End(&r.reaped[i].State, r.why, now)
		}
		r.release(&r.reaped[i])
	}
	r.events.Pause()
	r.order(enough)
	return next
}

// release gives back what a connection held, and orders what its ends are to be told.
func (r *reaper) release(gone *conntrack.Reaped) {
	pool := r.d.pool
	pool.Release(pool.BindingOf(gone.State.Original, gone.State.Reply))
	if gone.State.Complete() {
		r.d.limits().Leave(gone.State.Rule, &gone.State.Original.Src)
	}
	if a, ok := dataplane.AbortOf(gone, r.manner); ok {
		r.pending = append(r.pending, a)
	}
}

// delete tells the peers of connections that are about to go, no faster than they take it.
func (r *reaper) delete(dying []conntrack.Reaped) {
	for i := range dying {
		s := &dying[i].State
		if s.Incarnation.Node() != r.d.number {
			r.d.shared.Insert(s) // the peers know it by its creator's index: a delete needs ours
		}
		r.d.shared.Delete(s, r.why)
	}
	r.d.shared.Flush()
	for r.lagged < peerPatient && r.d.cluster.Lag() > killAhead && !r.d.killing.ending.Load() {
		r.lagged += killPause
		time.Sleep(killPause)
	}
}

// enough orders are worth a call of the workers.
const enough = 256

// order hands the orders to the workers, in turn, where there are that many, and waits for
// room, within reason.
func (r *reaper) order(least int) {
	for len(r.pending) >= least {
		taken := 0
		for range r.d.workers {
			taken += r.d.workers[r.worker%len(r.d.workers)].Abort(r.pending[taken:])
			r.worker++
		}
		r.pending = append(r.pending[:0], r.pending[taken:]...)
		if len(r.pending) == 0 {
			return
		}
		if r.waited >= abortPatient || r.d.killing.ending.Load() {
			r.untold.Add(int64(len(r.pending)))
			r.pending = r.pending[:0]
			return
		}
		r.waited += killPause
		time.Sleep(killPause)
	}
}
