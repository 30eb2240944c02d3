package node

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
	"holdfast/conntrack/selector"
	"holdfast/dataplane"
	"holdfast/dataplane/gate"
)

// Limits of watching.
const (
	watchersMax = 8
	watchQueue  = 1 << 15 // events that wait for one watcher; what comes then is shed
	watchPeriod = 5 * time.Millisecond
	watchBatch  = 512 // events that are written together
)

// watching is who watches, and what gathers for them while there is anybody:
//
//	workers, kills --> Recorders --> Gatherer --> a queue per watcher --> its request
//
// The lock guards what follows it and the watchers' queues.
type watching struct {
	role func() gate.Role

	sync.Mutex
	watchers map[*watcher]struct{} // nil: nobody, and nothing is recorded
	gatherer *dataplane.Gatherer
}

// watcher is one request that watches.
type watcher struct {
	chosen *selector.Selector
	since  uint64        // only events after this one
	wake   chan struct{} // there is something to take
	queue  []dataplane.Event
	shed   uint64 // after what is queued
	roles  []gate.Role
	role   gate.Role // told last
}

// Watch implements api.Daemon.
func (d *daemon) Watch(ctx context.Context, words []string, each func([]api.WatchEvent) error) error {
	s, err := parseWatch(words)
	if err != nil {
		return err
	}
	w, err := d.join(s)
	if err != nil {
		return err
	}
	defer d.leave(w)
	var spare []dataplane.Event
	lines := make([]api.WatchEvent, 0, watchBatch)
	for {
		roles, events, shed := d.watching.take(w, spare[:0])
		spare = events
		for _, r := range roles {
			lines = append(lines, api.WatchEvent{Event: "role", Time: time.Now(), SeenBy: d.name, Role: r.String()})
		}
		now, clock := time.Now(), gate.Now()
		for i := range events {
			e := &events[i]
			lines = append(lines, d.watchEvent(e, now.Add(time.Duration(e.At-clock))))
			if len(lines) == watchBatch {
				if each(lines) != nil {
					return nil // the client is gone
				}
				lines = lines[:0]
			}
		}
		if shed > 0 {
			lines = append(lines, api.WatchEvent{Event: "shed", Time: time.Now(), SeenBy: d.name, Count: shed})
		}
		if len(lines) > 0 && each(lines) != nil {
			return nil
		}
		lines = lines[:0]
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		}
	}
}

// parseWatch reads a selector of events. They have no age, and happen when they happen.
func parseWatch(words []string) (*selector.Selector, error) {
	s, err := parse(words)
	if err != nil {
		return nil, err
	}
	for _, word := range words {
		switch key, _, _ := strings.Cut(word, "="); key {
		case "min-age", "max-age", "min-idle", "max-idle":
			return nil, fmt.Errorf("%w: selector: %s= is for listings: an event is told when it happens", api.ErrUsage, key)
		}
	}
	return s, nil
}

// join makes a watcher; the first one makes the producers record.
func (d *daemon) join(s *selector.Selector) (*watcher, error) {
	h := &d.watching
	h.Lock()
	defer h.Unlock()
	if len(h.watchers) == watchersMax {
		return nil, fmt.Errorf("%d watch already, and no more can: end one of them", watchersMax)
	}
	if h.watchers == nil {
		h.watchers = map[*watcher]struct{}{}
		h.gatherer = dataplane.NewGatherer(d.producers())
		go d.gather(h.gatherer)
	}
	w := &watcher{chosen: s, since: h.gatherer.Stamp(), wake: make(chan struct{}, 1), role: h.role()}
	w.roles = append(w.roles, w.role)
	h.watchers[w] = struct{}{}
	return w, nil
}

// producers returns where it is said what happens to connections.
func (d *daemon) producers() (all []*dataplane.Recorder) {
	for _, w := range d.workers {
		all = append(all, w.Events())
	}
	for i := range d.killing.events {
		all = append(all, &d.killing.events[i])
	}
	return all
}

// leave ends a watcher; with the last one nothing is recorded any more.
func (d *daemon) leave(w *watcher) {
	h := &d.watching
	h.Lock()
	defer h.Unlock()
	delete(h.watchers, w)
	if len(h.watchers) == 0 {
		h.gatherer.Stop()
		h.watchers, h.gatherer = nil, nil
	}
}

// gather hands what g gathers to the watchers, until the last one leaves.
func (d *daemon) gather(g *dataplane.Gatherer) {
	h, names := &d.watching, d.names()
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	for range tick.C {
		role := h.role()
		h.Lock()
		if h.gatherer != g {
			h.Unlock()
			return
		}
		events, shed := g.Gather()
		for w := range h.watchers {
			w.offer(events, shed, role, &names)
		}
		h.Unlock()
	}
}

// offer queues what the watcher wants of the events. What the recorders shed might have
// been for it. The caller holds the lock.
func (w *watcher) offer(events []dataplane.Event, shed uint64, role gate.Role, names *selector.Names) {
	if role != w.role {
		w.role = role
		w.roles = append(w.roles, role)
	}
	var v conntrack.View
	for i := range events {
		e := &events[i]
		if e.Stamp() <= w.since {
			continue
		}
		viewOf(e, &v)
		switch {
		case !w.chosen.Match(&v, names):
		case len(w.queue) == watchQueue:
			w.shed++
		default:
			w.queue = append(w.queue, *e)
		}
	}
	w.shed += shed
	if len(w.queue)+len(w.roles) > 0 || w.shed > 0 {
		select {
		case w.wake <- struct{}{}:
		default: // it is awake
		}
	}
}

// take takes all that waits for a watcher and gives it spare to fill next.
func (h *watching) take(w *watcher, spare []dataplane.Event) (roles []gate.Role, events []dataplane.Event, shed uint64) {
	h.Lock()
	defer h.Unlock()
	roles, events, shed = w.roles, w.queue, w.shed
	w.roles, w.queue, w.shed = nil, spare, 0
	return roles, events, shed
}

// viewOf fills in what a selector may ask of an event.
func viewOf(e *dataplane.Event, v *conntrack.View) {
	v.Incarnation, v.Original, v.Reply = e.Incarnation, e.Original, e.Reply
	v.TCP, v.Flags, v.Class = e.TCP, e.Flags, e.Class
}

// watchEvent puts an event into the API's words.
func (d *daemon) watchEvent(e *dataplane.Event, at time.Time) api.WatchEvent {
	var v conntrack.View
	viewOf(e, &v)
	line := api.WatchEvent{Event: "new", Time: at, SeenBy: d.name, Watched: &api.Watched{
		ID: e.Incarnation.String(), Proto: protoName(e.Original.Proto), State: stateName(&v),
		Original: tuple(&e.Original), Reply: tuple(&e.Reply),
		Replied: e.Flags&conntrack.Replied != 0, Assured: e.Flags&conntrack.Assured != 0,
		Rule: d.ruleName(e.Class.Rule), In: d.portName(e.Class.Ingress), Out: d.portName(e.Class.Egress),
		Gateway: d.gatewayName(e.Class.Gateway), Node: e.Incarnation.Node(),
	}}
	switch e.Kind {
	case dataplane.EventChange:
		line.Event = "change"
		v.TCP, v.Flags = e.WasTCP, e.WasFlags
		if was := stateName(&v); was != line.State {
			line.Was = was
		}
	case dataplane.EventEnd:
		line.Event, line.Reason = "end", e.Why.String()
	}
	if e.Incarnation == 0 {
		line.ID, line.Node = "", 0
	}
	return line
}
