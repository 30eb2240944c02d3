package cluster

import (
	"holdfast/dataplane/gate"
	"holdfast/sync/wire"
)

// This file is the node's side of votes: what is asked with a heartbeat, what is answered, and
// the lease that follows from it. All of it is the control goroutine's.

// asks is Election.Asks.
func (n *Node) asks() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.election.Asks()
}

// request returns what goes behind a heartbeat that is sent at a reading: nil where votes do
// not decide. The caller holds mu.
func (n *Node) request(reading int64) *wire.VoteRequest {
	if n.config.Alone != AloneWitness {
		return nil
	}
	q := &wire.VoteRequest{Reading: uint64(reading), Term: n.election.Beat().Term}
	if n.asked = n.election.Asks(); n.asked {
		q.Hold = uint64(n.config.Timing.DeadAfter)
	}
	return q
}

// answer gives this node's vote, or not, and says so. The answer goes by every sync link.
func (n *Node) answer(e event) {
	n.mu.Lock()
	granted := n.election.Asked(e.from.number, e.hold, n.clock())
	n.mu.Unlock()
	if e.hold == 0 {
		return
	}
	r := e.from
	m := wire.Vote{Reading: uint64(e.reading), Granted: granted}
	r.beatBatch = m.Append(wire.AppendControlHeader(r.beatBatch[:0]))
	s := r.link.peer.Session()
	if s == nil {
		return
	}
	for _, p := range r.link.paths {
		if p.kind != PathSync {
			continue
		}
		if d := s.Seal(laneBeats, r.beatSealed[:0], r.beatBatch); d != nil {
			// Weather: the next request comes in a moment.
			_ = p.Write(d)
		}
	}
}

// supported is Election.Supported.
func (n *Node) supported(now int64) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.election.Supported(now)
}

// extend extends the lease from a reading, or from that of the votes which it stands on, and
// reports whether this node still has one.
func (n *Node) extend(reading int64) bool {
	until := min(reading, n.supported(reading)) + n.config.Timing.Lease
	if n.config.Alone == AloneWitness && until <= n.config.Lease.Until() {
		return n.config.Lease.Held(n.clock())
	}
	return n.config.Lease.Extend(reading, until)
}

// prolong extends the lease by votes that have just come. Where it fails the next heartbeat
// finds out.
func (n *Node) prolong() {
	if n.Role() == gate.Active {
		reading := n.clock()
		until := min(n.vouched, n.supported(reading)) + n.config.Timing.Lease
		if until > n.config.Lease.Until() {
			n.config.Lease.Extend(reading, until)
		}
	}
}
