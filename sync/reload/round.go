package reload

import (
	"slices"

	"holdfast/sync/wire"
)

// roundRetry is when an order is said again that was not answered, in ns.
const roundRetry = int64(1e8)

// Reply is what came of asking a node for a step.
type Reply struct {
	Peer uint16
	What Result
	Why  string // Refused: a line for each fault
}

// Result says what came of it. The zero value is not known yet.
type Result uint8

// The results.
const (
	Done    Result = 1 + iota
	Refused        // and why
	Gone           // its node is not heard any more
	Late           // no answer in time, although it is heard
)

// Round asks several nodes for one step. Orders are said again until each has answered, is
// gone, or the time is over.
type Round struct {
	Order   wire.Order
	replies []Reply
	limit   int64 // when it ends, ns
	due     int64 // when the order is said again
}

// NewRound asks peers for a step until limit (ns).
func NewRound(o wire.Order, peers []uint16, limit int64) *Round {
	r := &Round{Order: o, limit: limit}
	for _, p := range peers {
		r.replies = append(r.replies, Reply{Peer: p})
	}
	return r
}

// Due returns whom to say the order to at now.
func (r *Round) Due(now int64) (peers []uint16) {
	if now < r.due {
		return nil
	}
	r.due = now + roundRetry
	for _, one := range r.replies {
		if one.What == 0 {
			peers = append(peers, one.Peer)
		}
	}
	return peers
}

// Next returns when to look again if nothing comes, in ns.
func (r *Round) Next() int64 { return min(r.due, r.limit) }

// Answer takes in an answer; one to another order counts for nothing.
func (r *Round) Answer(peer uint16, a *wire.Answer) {
	i := slices.IndexFunc(r.replies, func(one Reply) bool { return one.Peer == peer && one.What == 0 })
	if i < 0 || a.Step != r.Order.Step || a.For != r.Order.For {
		return
	}
	r.replies[i].What = Done
	if a.Outcome == wire.OutcomeRefused {
		r.replies[i].What, r.replies[i].Why = Refused, string(a.Words)
	}
}

// Gone tells that a node is not heard any more.
func (r *Round) Gone(peer uint16) {
	for i := range r.replies {
		if r.replies[i].Peer == peer && r.replies[i].What == 0 {
			r.replies[i].What = Gone
		}
	}
}

// Waits reports whether a node's answer is waited for.
func (r *Round) Waits(peer uint16) bool {
	return slices.ContainsFunc(r.replies, func(one Reply) bool { return one.Peer == peer && one.What == 0 })
}

// Over returns the replies once there is nothing to wait for any more.
func (r *Round) Over(now int64) ([]Reply, bool) {
	waits := slices.ContainsFunc(r.replies, func(one Reply) bool { return one.What == 0 })
	if waits && now < r.limit {
		return nil, false
	}
	for i := range r.replies {
		if r.replies[i].What == 0 {
			r.replies[i].What = Late
		}
	}
	return r.replies, true
}
