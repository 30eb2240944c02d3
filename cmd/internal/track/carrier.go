package track

import (
	"context"
	"sync"
	"time"

	"holdfast/dataplane/gateway"
)

// Level is something that is told to be up or down, such as a carrier; what bounces does not
// count.
type Level struct {
	tracker *Tracker
	item    *item
	words   [2]string // why, up and down

	mu     sync.Mutex
	settle settle
}

// AddLevel adds something that is told. It must stay down for downAfter, or up for upAfter,
// to count; the first that is told counts at once. words say why it is up and down.
func (t *Tracker) AddLevel(one Item, downAfter, upAfter time.Duration, words [2]string) *Level {
	l := &Level{tracker: t, words: words, settle: settle{downAfter: int64(downAfter), upAfter: int64(upAfter)}}
	l.item = t.add(one, l.run)
	return l
}

// Tell tells its state now. It does not block.
func (l *Level) Tell(down bool) {
	l.mu.Lock()
	l.settle.tell(down, l.tracker.config.Now())
	l.mu.Unlock()
	l.item.signal()
}

// look lets time pass, and returns what counts and when to look again, 0: when told.
func (l *Level) look() (s State, due int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle.tick(l.tracker.config.Now())
	switch {
	case !l.settle.known:
	case l.settle.down:
		s.Health, s.Why = gateway.Dead, l.words[1]
	default:
		s.Health, s.Why = gateway.Alive, l.words[0]
	}
	return s, l.settle.due()
}

func (l *Level) run(ctx context.Context, it *item) {
	alarm := l.tracker.alarm()
	defer alarm.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-it.wake:
		case <-alarm.C:
		}
		s, due := l.look()
		l.tracker.set(it, s)
		alarm.at(due)
	}
}

// AddSelf adds the node itself: look is asked every interval what is wrong with it, "" for
// nothing, and must not block. What is wrong twice in a row counts, and is over when it was not
// seen for settled.
func (t *Tracker) AddSelf(one Item, interval, settled time.Duration, look func() string) {
	t.add(one, func(ctx context.Context, it *item) {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		s := settle{downAfter: int64(interval), upAfter: int64(settled), known: true, wasUp: true}
		why := ""
		for {
			select {
			case <-ctx.Done():
				return
			case <-it.wake:
				continue
			case <-tick.C:
			}
			now := t.config.Now()
			found := look()
			if found != "" {
				why = found
			}
			s.tell(found != "", now)
			s.tick(now)
			if s.down {
				t.set(it, State{Health: gateway.Dead, Why: why})
			} else {
				t.set(it, State{Health: gateway.Alive, Why: "workers move, the table has room"})
			}
		}
	})
}
