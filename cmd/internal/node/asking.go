package node

import (
	"sync"
	"time"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane/gate"
	"holdfast/sync/reload"
	"holdfast/sync/wire"
)

// swapWindow is the trial of a reload without --confirm, from the first swap until all are
// told to keep it: who is not told in that time goes back.
const swapWindow = 10 * time.Second

// How long nodes that are heard may take for a step.
var stepLimits = [...]time.Duration{
	wire.StepPrepare: 20 * time.Second, // 100,000 rules are compiled in a few
	wire.StepCommit:  3 * time.Second,
	wire.StepConfirm: 2 * time.Second,
	wire.StepRevert:  time.Second,
}

// asking is a reload, or a confirmation, that this node was asked for: a reload.Parties.
// The caller holds the lock of reloading all the time.
type asking struct {
	d       *daemon
	version wire.Generation
	image   []byte
	window  time.Duration
	plan    api.Plan // of the swap

	mu    sync.Mutex // guards round
	round *reload.Round
	news  chan struct{} // an answer has come
}

func (d *daemon) newAsking(v wire.Generation, image []byte, window time.Duration) *asking {
	a := &asking{d: d, version: v, image: image, window: window, news: make(chan struct{}, 1)}
	d.reloading.asking.Store(a)
	d.reloading.serve(1, image)
	return a
}

func (a *asking) end() {
	a.d.reloading.asking.Store(nil)
	a.d.reloading.serve(1, nil)
}

// Members implements reload.Parties.
func (a *asking) Members() (all []reload.Member) {
	if a.d.cluster == nil {
		return nil
	}
	for _, m := range a.d.cluster.Members(gate.Now()) {
		all = append(all, reload.Member(m))
	}
	return all
}

// Own implements reload.Parties.
func (a *asking) Own(step wire.Step) error {
	plan, err := a.d.step(step, a.version, a.window)
	if step == wire.StepCommit {
		a.plan = plan
	}
	return err
}

// Ask implements reload.Parties.
func (a *asking) Ask(step wire.Step, peers []uint16) []reload.Reply {
	if len(peers) == 0 {
		return nil
	}
	o := wire.Order{Step: step, For: a.version}
	switch step {
	case wire.StepPrepare:
		o.Image = reload.NameOf(a.image)
	case wire.StepCommit:
		o.Window = uint32(a.window / time.Millisecond)
	}
	a.mu.Lock()
	a.round = reload.NewRound(o, peers, gate.Now()+stepLimits[step].Nanoseconds())
	a.mu.Unlock()
	for {
		replies, due, next, over := a.look()
		if over {
			return replies
		}
		for _, p := range due {
			a.d.cluster.Tell(p, o.Append)
		}
		timer := time.NewTimer(next)
		select {
		case <-a.news:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// look says what is due in the round, and when it is to be looked at again.
func (a *asking) look() (replies []reload.Reply, due []uint16, next time.Duration, over bool) {
	members := a.Members()
	a.mu.Lock()
	defer a.mu.Unlock()
	now := gate.Now()
	for _, m := range members {
		if !m.Heard {
			a.round.Gone(m.Number)
		}
	}
	if replies, over = a.round.Over(now); over {
		return replies, nil, 0, true
	}
	due = a.round.Due(now)
	return nil, due, time.Duration(max(a.round.Next()-now, 1)), false
}

// answer takes in what a peer answers. Its reader calls it.
func (a *asking) answer(from uint16, m *wire.Answer) {
	a.mu.Lock()
	if a.round != nil {
		a.round.Answer(from, m)
	}
	a.mu.Unlock()
	select {
	case a.news <- struct{}{}:
	default:
	}
}
