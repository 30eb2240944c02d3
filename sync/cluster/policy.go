package cluster

import (
	"holdfast/dataplane/gate"
	"holdfast/sync/wire"
)

// outboxMax bounds what waits for a peer's reader to be sent: more than the chunks of one
// Fetch. What finds no room is lost, like any datagram.
const outboxMax = 64

// heardLately is how long after its last beat a peer counts as heard by who reloads, in ns:
// longer than DeadAfter, because a node that compiles a large policy may be slow for a moment.
const heardLately = int64(1e9)

// Member is another node of the cluster.
type Member struct {
	Number uint16
	Name   string
	Heard  bool // there is a session, and it was heard within the last second
	Active bool
}

// Members returns the other nodes at now (CLOCK_BOOTTIME ns).
func (n *Node) Members(now int64) (all []Member) {
	for _, r := range n.remotes {
		m := Member{Number: r.number, Name: r.name()}
		heard := r.heard.Load()
		m.Heard = r.link.peer.Session() != nil && heard != 0 && now-heard < max(heardLately, 2*n.config.Timing.DeadAfter)
		if b := r.last.Load(); b != nil {
			m.Active = b.Role == gate.Active
		}
		all = append(all, m)
	}
	return all
}

// Standing returns what a peer has told of its policies; nil: nothing yet.
func (n *Node) Standing(peer uint16) *wire.Standing {
	for _, r := range n.remotes {
		if r.number == peer {
			return r.standing.Load()
		}
	}
	return nil
}

// SetStanding says which policies this node has. The peers hear of it at once, and again with
// every hello. Safe from any goroutine.
func (n *Node) SetStanding(s wire.Standing) {
	n.standing.Store(&s)
	n.mu.Lock()
	n.election.SetGeneration(s.Kept.Number)
	n.mu.Unlock()
	for _, r := range n.remotes {
		r.tell(s.Append)
	}
}

// Tell sends one control message to a peer, by its reader. It may be lost: who needs an
// answer asks again. Safe from any goroutine.
func (n *Node) Tell(peer uint16, message func([]byte) []byte) {
	for _, r := range n.remotes {
		if r.number == peer {
			r.tell(message)
		}
	}
}

func (r *remote) tell(message func([]byte) []byte) {
	select {
	case r.outbox <- message(wire.AppendControlHeader(nil)):
	default:
	}
}

// sendOutbox is the reader's part of it.
func (r *remote) sendOutbox() {
	for {
		select {
		case batch := <-r.outbox:
			r.link.Send(laneAnswer, r.sealed, batch)
			continue
		default:
		}
		return
	}
}

// onPolicy takes in a message about policies and reports whether it made sense.
func (r *remote) onPolicy(f *wire.Frame) bool {
	var m interface{ Decode(*wire.Frame) error }
	switch f.Type {
	case wire.TypeStanding:
		s := new(wire.Standing)
		if s.Decode(f) != nil {
			return false
		}
		r.standing.Store(s)
		m = s
	case wire.TypeOrder:
		m = new(wire.Order)
	case wire.TypeAnswer:
		m = new(wire.Answer)
	case wire.TypeFetch:
		m = new(wire.Fetch)
	default:
		m = new(wire.Chunk)
	}
	if f.Type != wire.TypeStanding && m.Decode(f) != nil {
		return false
	}
	if r.node.config.Policies != nil {
		r.node.config.Policies(r.number, m)
	}
	return true
}
