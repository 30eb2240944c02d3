package cluster

import (
	"sync"
	"time"

	"holdfast/conntrack"
	"holdfast/sync/wire"
)

// answersMax bounds how many answers of ours to a peer's kills wait for its reader. One
// that finds no room is lost, and the asker says that none came.
const answersMax = 16

// kills holds those whose answers this node waits for. The zero value is ready for use.
type kills struct {
	mu    sync.Mutex
	asked map[conntrack.Incarnation]*KillAsked
}

// KillAsked is a kill that the peers were told of.
type KillAsked struct {
	node   *Node
	before conntrack.Incarnation
	all    chan struct{} // closed when nobody is waited for any more

	// Under kills.mu.
	answers []KillAnswer // by remote
	missing int
}

// KillAnswer is what a peer said to a kill.
type KillAnswer struct {
	Peer     string
	Answered bool
	Killed   uint32 // valid where Answered and not Refused
	Refused  bool   // it does not understand the selector
	Away     bool   // there was no session with it when the kill was told
}

// Kill tells every peer of a kill by the shared lane: one that is not there now hears of
// it with the rest of the lane when it is back.
func (n *Node) Kill(k *wire.Kill) *KillAsked {
	a := &KillAsked{node: n, before: k.Before, all: make(chan struct{}), answers: make([]KillAnswer, len(n.remotes))}
	for i, r := range n.remotes {
		a.answers[i] = KillAnswer{Peer: r.name(), Away: r.link.peer.Session() == nil}
		if !a.answers[i].Away {
			a.missing++
		}
	}
	if a.missing == 0 {
		close(a.all)
	}
	n.kills.mu.Lock()
	if n.kills.asked == nil {
		n.kills.asked = map[conntrack.Incarnation]*KillAsked{}
	}
	n.kills.asked[k.Before] = a
	n.kills.mu.Unlock()
	n.config.Shared.Kill(k)
	return a
}

// Wait returns what the peers have said when all that had a session have answered, and
// after limit at the latest. It is called once.
func (a *KillAsked) Wait(limit time.Duration) []KillAnswer {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-a.all:
	case <-timer.C:
	}
	n := a.node
	n.kills.mu.Lock()
	defer n.kills.mu.Unlock()
	delete(n.kills.asked, a.before)
	return a.answers
}

// Lag returns how many batches of the shared lane the slowest connected peer has not
// confirmed: who tells much by it waits before the lane's memory is used again.
func (n *Node) Lag() (most uint64) {
	lane := len(n.config.Journals)
	sent := n.config.Shared.Journal().Sent()
	for _, r := range n.remotes {
		if confirmed := r.confirmed[lane].Load(); r.link.peer.Session() != nil && sent > confirmed {
			most = max(most, sent-confirmed)
		}
	}
	return most
}

// killed takes in a peer's answer. Its reader calls it.
func (n *Node) killed(from *remote, m *wire.Killed) {
	n.kills.mu.Lock()
	defer n.kills.mu.Unlock()
	a := n.kills.asked[m.Before]
	if a == nil {
		return // too late, or a kill that a life before this one asked for
	}
	for i, r := range n.remotes {
		if r != from || a.answers[i].Answered {
			continue
		}
		one := &a.answers[i]
		one.Answered, one.Killed, one.Refused = true, m.Count, m.Outcome == wire.KillRefused
		if one.Away {
			continue
		}
		if a.missing--; a.missing == 0 {
			close(a.all)
		}
	}
}

// obey carries out a kill of the peer and reports whether it was understood (journal.Applier.OnKill).
func (r *remote) obey(k *wire.Kill) bool {
	before := k.Before
	if k.Kind == wire.KillTold {
		r.answer(wire.Killed{Before: before, Count: r.applier.Deleted()})
		return true
	}
	r.node.ledger.TouchAll()
	understood := r.node.config.Kill != nil && r.node.config.Kill(k, func(count int) {
		r.answer(wire.Killed{Before: before, Count: uint32(count)})
	})
	if !understood {
		r.answer(wire.Killed{Before: before, Outcome: wire.KillRefused})
	}
	return understood
}

// answer hands an answer to the reader, which sends it within readWait. Any goroutine may
// call it.
func (r *remote) answer(m wire.Killed) {
	select {
	case r.answers <- m:
	default:
	}
}

// sendAnswers is the reader's part of it.
func (r *remote) sendAnswers() {
	for {
		select {
		case m := <-r.answers:
			r.sendControl(m.Append)
			continue
		default:
		}
		return
	}
}
