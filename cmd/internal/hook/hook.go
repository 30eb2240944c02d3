// Package hook runs the operator's programs when something happens: a role, a gateway, the
// peers.
//
// Whoever tells of an event is never held up: Tell writes it down and returns. Each hook has a
// goroutine that runs its events one after the other, in the order in which they happened, so a
// script never sees an old role last. At most Parallel programs run at once. A hook that is too
// slow for what happens loses the oldest events first, which is counted and logged: the last
// state always comes.
//
//	Tell ---> queue of the hook (16, the oldest goes) ---> its goroutine ---> slot ---> program
package hook

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"holdfast/cmd/internal/program"
	"holdfast/rules/config"
)

// Hook is a program and what it is run for.
type Hook struct {
	Events  []config.Event
	Argv    []string
	Timeout time.Duration
}

// Bounds.
const (
	Parallel = 4  // programs at once
	queueMax = 16 // events that a hook may be behind
)

// Runner runs hooks. Make it with New; nil has none.
type Runner struct {
	log   *slog.Logger
	hooks []*queue
	slots chan struct{}
	ctx   context.Context // ends what runs
	abort context.CancelFunc
	done  sync.WaitGroup
}

// queue is a hook with what it has not been run for yet.
type queue struct {
	Hook
	mu     sync.Mutex
	events []event // waiting, oldest first
	lost   int     // since the program was run last
	closed bool
	wake   chan struct{}
}

// event is something that has happened.
type event struct {
	kind config.Event
	vars []string
}

// New returns a running Runner.
func New(hooks []Hook, log *slog.Logger) *Runner {
	r := &Runner{log: log, slots: make(chan struct{}, Parallel)}
	r.ctx, r.abort = context.WithCancel(context.Background())
	for _, h := range hooks {
		q := &queue{Hook: h, wake: make(chan struct{}, 1)}
		r.hooks = append(r.hooks, q)
		r.done.Go(func() { r.serve(q) })
	}
	return r
}

// Tell tells of an event; vars are NAME=value, to which HOLDFAST_EVENT comes. It never
// waits. Safe from any goroutine, but not after Close.
func (r *Runner) Tell(kind config.Event, vars ...string) {
	if r == nil {
		return
	}
	e := event{kind, append([]string{"HOLDFAST_EVENT=" + kind.String()}, vars...)}
	for _, q := range r.hooks {
		if slices.Contains(q.Events, kind) {
			q.put(e)
		}
	}
}

// Has reports whether there is a hook for a kind of event.
func (r *Runner) Has(kind config.Event) bool {
	return r != nil && slices.ContainsFunc(r.hooks, func(q *queue) bool { return slices.Contains(q.Events, kind) })
}

// Close waits until everything that was told is done, at most for patience; then it ends
// what still runs.
func (r *Runner) Close(patience time.Duration) {
	if r == nil {
		return
	}
	for _, q := range r.hooks {
		q.close()
	}
	timer := time.AfterFunc(patience, r.abort)
	r.done.Wait()
	timer.Stop()
	r.abort()
}

func (q *queue) put(e event) {
	q.mu.Lock()
	if len(q.events) == queueMax {
		q.events = slices.Delete(q.events, 0, 1)
		q.lost++
	}
	q.events = append(q.events, e)
	q.mu.Unlock()
	q.signal()
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default: // it is awake
	}
}

// next returns the oldest event and how many were lost before it; over: there is none, and
// none will come.
func (q *queue) next() (e event, lost int, found, over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.events) == 0 {
		return event{}, 0, false, q.closed
	}
	e, lost = q.events[0], q.lost
	q.events, q.lost = slices.Delete(q.events, 0, 1), 0
	return e, lost, true, false
}

// serve runs a hook's events until the queue is closed and empty.
func (r *Runner) serve(q *queue) {
	for {
		e, lost, found, over := q.next()
		switch {
		case over:
			return
		case !found:
			<-q.wake
			continue
		}
		if lost > 0 {
			r.log.Warn("a hook is too slow: it was not run for some events", "hook", q.Argv[0], "events", lost)
		}
		r.slots <- struct{}{}
		r.run(q, e)
		<-r.slots
	}
}

// run runs the program once. What it says is logged.
func (r *Runner) run(q *queue, e event) {
	begin := time.Now()
	out, err := program.Run(r.ctx, program.Command{Argv: q.Argv, Env: e.vars, Timeout: q.Timeout})
	took := time.Since(begin).Round(time.Millisecond)
	if err != nil {
		r.log.Error("hook", "event", e.kind.String(), "took", took, "err", err, "output", out)
		return
	}
	r.log.Info("hook", "event", e.kind.String(), "hook", q.Argv[0], "took", took, "output", out)
}
