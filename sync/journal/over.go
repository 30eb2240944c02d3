package journal

import (
	"holdfast/conntrack"
	"holdfast/internal/mutant"
	"holdfast/sync/wire"
)

// An end is final, and so that it is so on all nodes, who knows of one answers whoever still
// tells of the connection:
//
//	node B                                      node A, forwarding, started again
//	  7 ended: A's life before told it            took 7 from an old word of a third node
//	  |  <--- insert 7 ---------------------------- |   the shard differs: repair
//	  |  ---- ended 7, over up to 7 --------------> |   ends 7 here, and tells all peers
//
// Without an answer B would refuse 7 for ever and A keep it: the two would never be equal, and
// whatever was ended would live on.

// overMax bounds the ends that wait to be said. What finds no room is said when the repair
// tells of it again.
const overMax = 64

// refuse notes that the peer is to be told that the connection, which it has told of whole, has ended.
func (a *Applier) refuse() {
	if len(a.over) < overMax && !mutant.EndKeptSecret {
		o := &a.applied.Over
		a.over = append(a.over, wire.Ended{
			Index: a.state.Index, Incarnation: uint32(a.state.Incarnation), UpTo: o.UpTo, Killed: o.Killed,
		})
	}
}

// Over hands what is to be said of connections that have ended to send.
func (a *Applier) Over(send func(*wire.Ended)) {
	for i := range a.over {
		send(&a.over[i])
	}
	a.over = a.over[:0]
}

// Ended takes in that a connection which this node has told of is over, as a peer knows. It
// ends here too, and all peers are told. But where it began on this node, which forwards,
// and what the peer knows is the end of a later life of its tuple, then this node had not
// heard of that life: the connection lives, and is told again under a greater incarnation.
func (a *Applier) Ended(m *wire.Ended, forwards bool, now int64) {
	if !a.table.Export(m.Index, now, &a.state) || uint32(a.state.Incarnation) != m.Incarnation {
		return // it has ended meanwhile, or begun anew
	}
	s := &a.state
	began := s.Incarnation.Node() == a.table.Node()
	if forwards && began && !m.Killed && m.UpTo > s.Incarnation {
		if a.table.Renew(m.Index, s.Incarnation, m.UpTo, now, s) {
			a.observer.Touches(&s.Original)
			a.shared.Insert(s)
		}
		return
	}
	a.observer.Touches(&s.Original)
	var last conntrack.State
	if !a.table.Remove(m.Index, s.Incarnation, now, &last) {
		return
	}
	a.pool.Release(a.pool.BindingOf(last.Original, last.Reply))
	a.leave(&last)
	a.shared.End(&last)
}
