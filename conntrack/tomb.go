package conntrack

import "holdfast/internal/mutant"

// A message of a peer can be older than the end of the connection that it speaks of: an
// answer that crossed the delete, or what another lane of the peer lost and sent again. So
// that nothing comes back, a shard remembers the last connections that have ended in it, by
// the hash of their original tuple, and Apply takes nobody up to the life that ended. A
// later life of the same tuple has a greater incarnation and lives.
//
// With 50,000 ends a second that reaches back for more than a second; ends are told and
// lost batches brought again within some 20 ms. What is older still than that is found by
// comparing the tables.
//
// An end is final: somebody who served has said it. So a peer that tells of what lies here
// has not heard of the end, or has heard of the connection again from who had not. Apply
// refuses, and says why (Over), so that the peer can be told: it ends the connection too
// (Remove), or, where it knows that it began later, gives it a greater incarnation (Renew).
//
// So only who ends a connection writes a tombstone. A standby that gives one up because it has
// heard nothing of it for long does not, and neither does who takes its tuple away for a
// greater incarnation: its peer may live and tell of it again.

// tombsPerShard is how many ends a shard remembers.
const tombsPerShard = 32

// tombs are the last ends in a shard, the oldest overwritten first. Its lock guards them.
type tombs struct {
	next uint32
	_    uint32
	last [tombsPerShard]tomb
}

// tomb says that every life of a tuple up to one is over.
type tomb struct {
	hash uint64 // of the original tuple
	upTo Incarnation
}

// memory says what a table keeps of a connection that leaves it.
type memory uint8

const (
	remembered memory = iota // it has ended: it must not come back
	forgotten                // it is not known here any more: a peer may tell of it again
)

// entombLocked notes that a life of the tuple with this hash is over.
func (t *Table) entombLocked(home uint32, original uint64, upTo Incarnation) {
	s := &t.tombs.all[home]
	s.last[s.next%tombsPerShard] = tomb{original, upTo}
	s.next++
}

// entombedLocked returns up to which life the tuple with this hash is known to be over, 0: none.
func (t *Table) entombedLocked(home uint32, original uint64) (upTo Incarnation) {
	s := &t.tombs.all[home]
	if s.next == 0 || mutant.TombForgotten {
		return 0
	}
	for k := range s.last {
		if one := &s.last[k]; one.hash == original {
			upTo = max(upTo, one.upTo)
		}
	}
	return upTo
}
