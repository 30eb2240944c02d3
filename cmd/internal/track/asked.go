package track

import (
	"context"
	"time"

	"holdfast/dataplane/gateway"
)

// Reach says which nodes can ask something.
type Reach uint8

const (
	// Everywhere: every node, whatever its role.
	Everywhere Reach = iota
	// WhileActive: only the active node, since a standby has no address to ask from.
	WhileActive
)

// Asked is something that is asked again and again.
type Asked struct {
	Item
	Interval, Timeout time.Duration
	Patience          gateway.Patience
	Reach             Reach
	Hold              time.Duration // see the package comment; for WhileActive
	// Ask makes one attempt, in the time that ctx has. The error says why it failed.
	Ask func(ctx context.Context) error
}

// asked is the judge of one.
type asked struct {
	Asked
	tracker *Tracker
	monitor gateway.Monitor
	held    held
	asks    bool   // it is this node's to ask
	why     string // the last attempt failed
}

// AddAsked adds something to ask. Attempts do not overlap: the next begins an interval after the
// one before began, or when that is over.
func (t *Tracker) AddAsked(a Asked) {
	one := &asked{Asked: a, tracker: t, monitor: gateway.Monitor{Patience: a.Patience}, held: held{hold: int64(a.Hold)}}
	t.add(a.Item, one.run)
}

func (a *asked) run(ctx context.Context, it *item) {
	tick := time.NewTicker(a.Interval)
	defer tick.Stop()
	over := a.tracker.alarm()
	defer over.Stop()
	for {
		a.follow(a.tracker.config.Now())
		over.at(a.held.until)
		a.tracker.set(it, a.state())
		if a.asks {
			a.attempt(ctx)
			a.tracker.set(it, a.state())
		}
		select {
		case <-ctx.Done():
			return
		case <-it.wake:
		case <-over.C:
		case <-tick.C:
		}
	}
}

// follow begins and ends asking as the role says, and forgets what is held for long enough.
func (a *asked) follow(now int64) {
	asks := a.Reach == Everywhere || a.tracker.isServing()
	switch {
	case asks && !a.asks:
		a.monitor.Forget()
		a.held.until, a.held.alive = 0, 0
	case !asks && a.asks && a.monitor.Health() == gateway.Dead:
		a.held.begin(now)
	case !asks && a.asks:
		a.monitor.Forget()
	case !asks && a.held.end(now):
		a.monitor.Forget()
	}
	a.asks = asks
}

// attempt asks once and judges.
func (a *asked) attempt(ctx context.Context) {
	begin := a.tracker.config.Now()
	asking, cancel := context.WithTimeout(ctx, a.Timeout)
	err := a.Ask(asking)
	cancel()
	now := a.tracker.config.Now()
	if ctx.Err() != nil || a.Reach == WhileActive && !a.tracker.isServing() {
		return // an attempt that was cut short by the end, or by the role, says nothing
	}
	if err != nil {
		a.why = err.Error()
		a.monitor.Miss()
	} else {
		a.monitor.Answer(now - begin)
	}
	if a.monitor.Health() == gateway.Dead {
		a.held.fails()
	} else if err == nil {
		a.held.answers(now)
	}
}

// state says what is believed, and why.
func (a *asked) state() State {
	s := State{Health: a.monitor.Health(), Why: a.monitor.Why(), Loss: a.monitor.Loss(), Latency: a.monitor.Latency()}
	switch {
	case a.held.until != 0:
		s.Held = true
		s.Why = "held down: " + s.Why + " when this node was active"
	case !a.asks:
		s.Why = "only the active node can ask"
	case s.Health == gateway.Dead:
		s.Why += ": " + a.why
	}
	return s
}
