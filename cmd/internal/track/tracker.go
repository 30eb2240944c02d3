package track

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/dataplane/gateway"
)

// Say is what an item does to this node's candidacy while it is down. The zero value is
// nothing.
type Say struct {
	Weight int  // taken off the priority
	Fault  bool // this node does not serve where another can
}

// Item is something that is tracked.
type Item struct {
	Name string // as the file has it, or "port lan"
	Kind string // word of the file
	What string // in words: "port lan", "192.0.2.80:443 by eth0"
	Say  Say
}

// State is an item with what is known of it.
type State struct {
	Item
	Health  gateway.Health
	Held    bool // down because it was, as far as this node could see
	Why     string
	Loss    float64 // of the last attempts, 0 to 1
	Latency int64   // of answers, ns; 0: none
}

// Sum is what all items come to.
type Sum struct {
	Lowered int    // what is taken off the priority
	Fault   string // in words; "": none
}

// Config is what a Tracker needs.
type Config struct {
	Now func() int64 // ns
	// Changed is told of an item whose health has changed, one at a time and in order; Judged of
	// what all come to, when that changed. Neither must block.
	Changed func(State)
	Judged  func(Sum)
}

// Tracker holds the items. Make it with New, add to it, then run it. Safe for concurrent use.
type Tracker struct {
	config Config
	mu     sync.Mutex // guards items, serving and sum, and keeps Changed and Judged in order
	items  []*item
	sum    Sum
	// serving says that this node is active; its change is told to each item by wake.
	serving bool
	runs    []func(context.Context)
}

// item is an Item with what it is judged by.
type item struct {
	State
	wake chan struct{} // what is to be looked at anew
}

// New returns an empty Tracker of a standby.
func New(c Config) *Tracker { return &Tracker{config: c} }

// add enters an item, which is unknown; run is what looks after it.
func (t *Tracker) add(one Item, run func(context.Context, *item)) *item {
	it := &item{State: State{Item: one, Why: "not looked at yet"}, wake: make(chan struct{}, 1)}
	t.items = append(t.items, it)
	t.runs = append(t.runs, func(ctx context.Context) { run(ctx, it) })
	return it
}

// Run looks after all items until ctx ends.
func (t *Tracker) Run(ctx context.Context) {
	var parts sync.WaitGroup
	for _, run := range t.runs {
		parts.Go(func() { run(ctx) })
	}
	parts.Wait()
}

// Serve tells whether this node is active. It does not block for longer than a few stores.
func (t *Tracker) Serve(active bool) {
	t.mu.Lock()
	t.serving = active
	t.mu.Unlock()
	for _, it := range t.items {
		it.signal()
	}
}

func (t *Tracker) isServing() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.serving
}

func (it *item) signal() {
	select {
	case it.wake <- struct{}{}:
	default:
	}
}

// set takes in what is known of an item now.
func (t *Tracker) set(it *item, s State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Item = it.Item
	was := it.Health
	it.State = s
	if was == s.Health {
		return
	}
	sum := t.reckon()
	if t.config.Changed != nil {
		t.config.Changed(s)
	}
	if sum != t.sum {
		t.sum = sum
		if t.config.Judged != nil {
			t.config.Judged(sum)
		}
	}
}

// reckon adds up the says of the items that are down.
func (t *Tracker) reckon() (sum Sum) {
	var faults []string
	for _, it := range t.items {
		if it.Health != gateway.Dead {
			continue
		}
		sum.Lowered += it.Say.Weight
		if it.Say.Fault {
			faults = append(faults, fmt.Sprintf("%s is down (%s)", it.Name, it.What))
		}
	}
	sum.Fault = strings.Join(faults, ", ")
	return sum
}

// States lists the items, sorted by name.
func (t *Tracker) States() []State {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]State, len(t.items))
	for i, it := range t.items {
		all[i] = it.State
	}
	slices.SortFunc(all, func(a, b State) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// alarm is a timer that is told the instant to go off at, on the Tracker's clock.
type alarm struct {
	*time.Timer
	now func() int64
}

func (t *Tracker) alarm() alarm {
	a := alarm{time.NewTimer(time.Hour), t.config.Now}
	a.Stop()
	return a
}

// at sets the alarm; 0: never.
func (a alarm) at(when int64) {
	if when == 0 {
		a.Stop()
		return
	}
	a.Reset(time.Duration(max(0, when-a.now())))
}
