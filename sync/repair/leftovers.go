package repair

import (
	"sync/atomic"

	"holdfast/conntrack"
	"holdfast/sync/digest"
	"holdfast/sync/wire"
)

// Named notes which of this node's connections a peer has spoken of since a transfer was
// asked for. Safe from any goroutine.
type Named struct{ bits []atomic.Uint64 }

// NewNamed returns an empty one for a table of so many connections at most.
func NewNamed(capacity int) *Named { return &Named{bits: make([]atomic.Uint64, (capacity+63)/64)} }

// Add notes the connection at an index.
func (n *Named) Add(index uint32) { n.bits[index/64].Or(1 << (index % 64)) }

// Has reports whether it was noted.
func (n *Named) Has(index uint32) bool { return n.bits[index/64].Load()>>(index%64)&1 != 0 }

// Leftovers are the connections of this node that a peer, which forwards, no longer has:
// those of the shards it was asked for that it has not named, and that began before its
// transfer did. That they began later or were told by a lane since, the peer has named
// them; so what is left has ended there, and word of it never came.
type Leftovers struct {
	table  *conntrack.Table
	named  *Named
	cut    conntrack.Incarnation
	shards shardSet
	at     uint32
	hash   digest.Hash
	state  conntrack.State
}

// Leftovers returns those of the transfer that e has ended.
func (n *Need) Leftovers(e *wire.TransferEnd, table *conntrack.Table, named *Named) *Leftovers {
	return &Leftovers{table: table, named: named, cut: e.Cut, shards: newShardSet(n.bits, n.shards)}
}

// Step looks at up to count entries more and gives those that are left over to discard,
// at now (CLOCK_BOOTTIME ns). It reports whether it has looked at all.
func (l *Leftovers) Step(count int, now int64, discard func(index uint32, i conntrack.Incarnation)) (done bool) {
	for high := l.table.High(); count > 0; count-- {
		if l.at >= high {
			return true
		}
		if !l.named.Has(l.at) && l.table.Export(l.at, now, &l.state) && l.over(&l.state) {
			discard(l.at, l.state.Incarnation)
		}
		l.at++
	}
	return false
}

// over reports whether a connection that was not named must have ended at the peer.
func (l *Leftovers) over(s *conntrack.State) bool {
	if s.Sync == conntrack.SyncNone || s.Incarnation > l.cut {
		return false
	}
	return l.shards.has(l.hash.ShardOf(&s.Original))
}
