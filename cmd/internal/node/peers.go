package node

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"holdfast/dataplane/gate"
	"holdfast/sync/reload"
	"holdfast/sync/wire"
)

// peering is what a daemon needs to talk with its peers about policies.
type peering struct {
	inbox  chan said                 // for obeyPeers, bounded: what finds no room is said again
	images [2]atomic.Pointer[[]byte] // that peers may fetch: of what is kept, and of what they are asked to prepare
	asking atomic.Pointer[asking]    // a round of this node; nil: none
	cannot atomic.Pointer[refusal]   // a peer's newer generation that this node cannot take; nil: none

	// Of obeyPeers.
	fetch *fetching
}

// said is what a peer has said.
type said struct {
	from    uint16
	message any // *wire.Standing, Order, Fetch or Chunk, its own bytes
}

// refusal says why a generation is not taken.
type refusal struct {
	version wire.Generation
	from    string
	why     string
	at      time.Time
}

// refusalHolds is how long a generation that could not be taken is not tried again.
const refusalHolds = time.Minute

// fetching is an image on its way here.
type fetching struct {
	*reload.Fetch
	from    uint16
	version wire.Generation
	order   *wire.Order // that asked for it; nil: this node catches up
}

const inboxMax = 256

// serve makes an image one that peers may fetch.
func (p *peering) serve(slot int, image []byte) { p.images[slot].Store(&image) }

// peerSays takes what a peer says (cluster.Config.Policies).
func (d *daemon) peerSays(from uint16, message any) {
	switch m := message.(type) {
	case *wire.Answer:
		if a := d.reloading.asking.Load(); a != nil {
			a.answer(from, m)
		}
		return
	case *wire.Chunk:
		m.Data = bytes.Clone(m.Data) // it lies in the reader's buffer
	}
	select {
	case d.reloading.inbox <- said{from, message}:
	default:
	}
}

// obeyPeers does what peers say of policies, until ctx ends.
func (d *daemon) obeyPeers(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	for {
		d.goOnFetching(timer)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case s := <-d.reloading.inbox:
			d.obey(s)
		}
	}
}

func (d *daemon) obey(s said) {
	switch m := s.message.(type) {
	case *wire.Standing:
		d.heed(s.from, m)
	case *wire.Order:
		d.obeyOrder(s.from, m)
	case *wire.Fetch:
		d.serveChunks(s.from, m)
	case *wire.Chunk:
		d.takeChunk(s.from, m)
	}
}

// obeyOrder carries out an order of a peer and answers. While this node is busy it says
// nothing: it is asked again.
func (d *daemon) obeyOrder(from uint16, o *wire.Order) {
	if o.Step == wire.StepPrepare && d.reloading.asking.Load() != nil {
		d.answer(from, o, fmt.Errorf("a reload is under way on this node too: try again"))
		return
	}
	if !d.reloading.TryLock() {
		return
	}
	defer d.reloading.Unlock()
	if o.Step != wire.StepPrepare {
		_, err := d.step(o.Step, o.For, time.Duration(o.Window)*time.Millisecond)
		d.answer(from, o, err)
		return
	}
	ruling, err := d.reloading.ledger.May(o.Step, o.For, gate.Now())
	if err == nil && ruling == reload.Do {
		err = d.mayReload()
	}
	switch {
	case err != nil || ruling == reload.Already:
		d.answer(from, o, err)
	case d.reloading.fetch != nil && d.reloading.fetch.order != nil && d.reloading.fetch.order.For == o.For:
		// It is on its way, and the answer comes with it.
	default:
		if err := d.startFetch(from, o.For, o.Image, o); err != nil {
			d.answer(from, o, err)
		}
	}
}

func (d *daemon) answer(to uint16, o *wire.Order, err error) {
	a := wire.Answer{Step: o.Step, For: o.For, Outcome: wire.OutcomeDone}
	if err != nil {
		a.Outcome, a.Words = wire.OutcomeRefused, words(err)
	}
	d.cluster.Tell(to, a.Append)
}

// words are the lines of an error, as many as an answer has room for.
func words(err error) []byte {
	all := lines(err)
	var b []byte
	for i, line := range all {
		more := fmt.Sprintf("and %d faults more: `holdfast check` there tells all", len(all)-i)
		if len(b)+len(line)+1+len(more) > wire.AnswerMax {
			if i == 0 {
				return []byte(line[:wire.AnswerMax])
			}
			return append(b, more...)
		}
		b = append(append(b, line...), '\n')
	}
	return b
}

// heed compares what a peer has with what this node has: what somebody has confirmed stays
// here too, and who keeps a newer generation is asked for it.
func (d *daemon) heed(from uint16, s *wire.Standing) {
	if !d.reloading.TryLock() {
		return // it is told again
	}
	defer d.reloading.Unlock()
	if d.reloading.over {
		return
	}
	switch d.reloading.ledger.Needs(s.Kept, gate.Now()) {
	case reload.NeedConfirm:
		if err := d.confirm(s.Kept); err != nil {
			d.log.Error("a peer has confirmed the policy, and it cannot be kept here", "err", err)
		}
	case reload.NeedFetch:
		if c := d.reloading.cannot.Load(); c != nil && c.version == s.Kept && time.Since(c.at) < refusalHolds {
			return
		}
		if d.reloading.fetch != nil || s.Image.Size == 0 || d.reloading.pending != nil && d.reloading.ledger.Trial.Number == 0 {
			return
		}
		if err := d.startFetch(from, s.Kept, s.Image, nil); err != nil {
			d.cannotTake(from, s.Kept, err)
		}
	}
}

// startFetch begins to fetch a generation, in place of another fetch.
func (d *daemon) startFetch(from uint16, v wire.Generation, image wire.Image, o *wire.Order) error {
	f, err := reload.NewFetch(image, gate.Now())
	if err != nil {
		return err
	}
	d.reloading.fetch = &fetching{Fetch: f, from: from, version: v, order: o}
	return nil
}

// goOnFetching asks for what is due, and sets the timer to when it looks again.
func (d *daemon) goOnFetching(timer *time.Timer) {
	f := d.reloading.fetch
	if f == nil {
		timer.Reset(time.Hour)
		return
	}
	now := gate.Now()
	if f.Late(now) {
		d.reloading.fetch = nil // who wants it taken says so again
		return
	}
	if m, ok := f.Due(now); ok {
		d.cluster.Tell(f.from, m.Append)
	}
	timer.Reset(time.Duration(max(f.Next()-now, int64(time.Millisecond))))
}

// serveChunks sends what a peer fetches.
func (d *daemon) serveChunks(to uint16, m *wire.Fetch) {
	for i := range d.reloading.images {
		image := d.reloading.images[i].Load()
		if image == nil || reload.NameOf(*image).Sum != m.Sum {
			continue
		}
		reload.Serve(*image, m, func(c *wire.Chunk) { d.cluster.Tell(to, c.Append) })
		return
	}
}

// takeChunk takes in a piece of what is fetched, and goes on where it is whole.
func (d *daemon) takeChunk(from uint16, m *wire.Chunk) {
	f := d.reloading.fetch
	if f == nil || f.from != from {
		return
	}
	whole, err := f.Chunk(m, gate.Now())
	if err == nil && !whole {
		return
	}
	d.reloading.fetch = nil
	if !d.reloading.TryLock() {
		return // a reload of this node's own; who wants it taken says so again
	}
	defer d.reloading.Unlock()
	if err == nil {
		err = d.take(f)
	}
	switch {
	case f.order != nil:
		d.answer(from, f.order, err)
	case err != nil:
		d.cannotTake(from, f.version, err)
	default:
		d.reloading.cannot.Store(nil)
	}
}

// take prepares what was fetched; where this node catches up, it stays at once. The caller
// holds the lock.
func (d *daemon) take(f *fetching) error {
	r := &d.reloading
	if ruling, err := r.ledger.May(wire.StepPrepare, f.version, gate.Now()); err != nil && f.order != nil || ruling == reload.Already {
		return err
	}
	if f.order == nil && r.pending != nil {
		// A trial that others have left behind.
		if err := d.revert(r.ledger.Trial, "a peer has a newer policy"); err != nil {
			return err
		}
	}
	if err := d.mayReload(); err != nil {
		return err
	}
	sources, err := reload.Unpack(f.Bytes())
	if err != nil {
		return err
	}
	p, err := sources.Policy()
	if err != nil {
		return err
	}
	if _, err := d.getReady(p, f.Bytes(), f.version); err != nil || f.order != nil {
		return err
	}
	d.log.Warn("a peer has a newer policy: taking it", "peer", d.cluster.NodeName(f.from), "generation", f.version.Number, "hash", hash(f.version.Hash))
	if _, err := d.step(wire.StepCommit, f.version, swapWindow); err != nil {
		return err
	}
	_, err = d.step(wire.StepConfirm, f.version, 0)
	return err
}

// cannotTake remembers why a peer's newer generation is not taken.
func (d *daemon) cannotTake(from uint16, v wire.Generation, err error) {
	name := d.cluster.NodeName(from)
	d.log.Error("a peer has a newer policy, and this node cannot take it", "peer", name, "generation", v.Number, "err", err)
	d.reloading.cannot.Store(&refusal{version: v, from: name, why: lines(err)[0], at: time.Now()})
}
