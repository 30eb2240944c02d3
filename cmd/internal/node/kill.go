package node

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/conntrack/selector"
	"holdfast/dataplane"
	"holdfast/dataplane/gate"
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
	killStep     = 1024 // entries of the table that one call looks at
	killAnswer   = time.Second
	killPerPeer  = 4 * time.Microsecond // that the answer may come later, for each connection told by a Delete
	abortPatient = 5 * time.Second      // that a kill waits for room in the workers' orders, in all
	killPause    = time.Millisecond     // between two looks at that, and at what peers lack
	killAhead    = 1024                 // batches of Deletes that a peer may lack: a lane keeps four times as many
	peerPatient  = 2 * time.Second      // that a kill waits for peers to take Deletes, in all
)

var manners = map[string]dataplane.Manner{
	"": dataplane.Silent, "silent": dataplane.Silent, "reset": dataplane.Reset, "unreachable": dataplane.Unreachable,
}

// killing is what serves kills one by one: their counts would mix.
type killing struct {
	sync.Mutex

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
	k.tell = nil // the peer tells everybody
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
	byClass bool // the class alone decides, and nobody need be told
	classes conntrack.Kill
	tell    func([]conntrack.Reaped) // called with what is about to go, may be nil

	marked  atomic.Int64
	untold  int           // connections whose ends were to be told and were not
	waited  time.Duration // for the workers
	lagged  time.Duration // for the peers
	worker  int           // that gets the next order
	pending []dataplane.Abort
}

func newKill(d *daemon, s *selector.Selector, before conntrack.Incarnation, manner dataplane.Manner) *kill {
	k := &kill{d: d, s: s, names: d.names(), before: before, manner: manner, pending: make([]dataplane.Abort, 0, 256)}
	k.byClass = s.OfClass(&k.names) && manner == dataplane.Silent
	k.tell = k.delete
	return k
}

func (k *kill) meansClass(c *conntrack.Class) bool { return k.s.MatchClass(c, &k.names) }

// everywhere carries it out on this node, the active one, and on its peers.
func (k *kill) everywhere() api.KillResult {
	d := k.d
	wholesale := k.s.OfClass(&k.names)
	if k.byClass {
		k.classes = d.table.Kill(k.meansClass, k.before)
	} else {
		// Where the ends are to be told, each connection is marked, class or not: a mark
		// keeps it until the reap knows what its ends expect.
		k.mark()
	}
	var asked *cluster.KillAsked
	if wholesale {
		k.tell = nil
		asked = d.cluster.Kill(&wire.Kill{Before: k.before, Selector: []byte(k.s.String())})
		if !k.byClass {
			k.classes = d.table.Kill(k.meansClass, k.before) // what a peer still tells of must not come back
		}
	}
	k.reap()
	limit := killAnswer
	if !wholesale {
		asked = d.cluster.Kill(&wire.Kill{Before: k.before, Kind: wire.KillTold})
		limit += time.Duration(k.count()) * killPerPeer
	}
	result := api.KillResult{Killed: map[string]int{d.name: k.count()}, Untold: k.untold}
	for _, a := range asked.Wait(limit) {
		switch {
		case a.Refused:
			result.Unanswered = append(result.Unanswered, api.KillUnanswered{Node: a.Peer, Why: "it does not understand the selector: does it run another version?"})
		case a.Answered:
			result.Killed[a.Peer] = int(a.Killed)
		case a.Away:
			result.Unanswered = append(result.Unanswered, api.KillUnanswered{Node: a.Peer, Why: "it is not connected, and will hear of the kill when it is back"})
		default:
			result.Unanswered = append(result.Unanswered, api.KillUnanswered{Node: a.Peer, Why: fmt.Sprintf("no answer within %v", limit.Round(time.Millisecond))})
		}
	}
	return result
}

// mark ends every connection that is meant, by itself. Two goroutines go over the table:
// it is a walk over memory, and one core does not keep up with that.
func (k *kill) mark() {
	half := k.d.table.High() / 2
	var parts sync.WaitGroup
	parts.Go(func() { k.markPart(0, half) })
	k.markPart(half, 1<<31)
	parts.Wait()
}

func (k *kill) markPart(from, to uint32) {
	choice := conntrack.Choice{Class: k.meansClass}
	if !k.s.OfClass(&k.names) {
		choice.Conn = func(v *conntrack.View) bool { return k.s.Match(v, &k.names) }
	}
	now := gate.Now()
	for from < to && !k.d.killing.ending.Load() {
		next, n := k.d.table.KillEach(from, min(killStep, to-from), now, k.before, &choice)
		k.marked.Add(int64(n))
		if next == 0 {
			return
		}
		from = next
		runtime.Gosched()
	}
}

// count returns how many connections it has ended here.
func (k *kill) count() int { return int(k.marked.Load()) + k.d.table.ReapedOf(&k.classes) }

// reap takes away what is dead.
func (k *kill) reap() {
	reaped := make([]conntrack.Reaped, 64)
	for from, more := uint32(0), true; more && !k.d.killing.ending.Load(); {
		next, n := k.d.table.Reap(from, killStep, gate.Now(), reaped, k.tell)
		for i := range reaped[:n] {
			k.release(&reaped[i])
		}
		from, more = next, next != 0
	}
	k.order()
	k.d.shared.Flush()
}

// release gives back what a connection held, and orders what its ends are to be told.
func (k *kill) release(r *conntrack.Reaped) {
	pool := k.d.pool
	pool.Release(pool.BindingOf(r.State.Original, r.State.Reply))
	if a, ok := dataplane.AbortOf(r, k.manner); ok {
		if k.pending = append(k.pending, a); len(k.pending) == cap(k.pending) {
			k.order()
		}
	}
}

// delete tells the peers of connections that are about to go.
func (k *kill) delete(dying []conntrack.Reaped) {
	for i := range dying {
		s := &dying[i].State
		if s.Incarnation.Node() != k.d.number {
			k.d.shared.Insert(s) // the peers know it by its creator's index: a delete needs ours
		}
		k.d.shared.Delete(s, conntrack.EndKilled)
	}
	k.d.shared.Flush()
	for k.lagged < peerPatient && k.d.cluster.Lag() > killAhead && !k.d.killing.ending.Load() {
		k.lagged += killPause
		time.Sleep(killPause)
	}
}

// order hands the orders to the workers, in turn, and waits for room, within reason.
func (k *kill) order() {
	for len(k.pending) > 0 {
		taken := 0
		for range k.d.workers {
			taken += k.d.workers[k.worker%len(k.d.workers)].Abort(k.pending[taken:])
			k.worker++
			if taken == len(k.pending) {
				break
			}
		}
		k.pending = append(k.pending[:0], k.pending[taken:]...)
		if len(k.pending) == 0 {
			return
		}
		if k.waited >= abortPatient || k.d.killing.ending.Load() {
			k.untold += len(k.pending)
			k.pending = k.pending[:0]
			return
		}
		k.waited += killPause
		time.Sleep(killPause)
	}
}
