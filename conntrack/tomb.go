package conntrack

import (
	"math/bits"

	"holdfast/internal/mutant"
)

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

// tombs are the last ends in a shard, the oldest overwritten first. Its lock guards them. Who asks
// for one that is not there, as every connection of a transfer does, looks at one cache line.
//
//	0       4     8                40          64                      576
//	+-------+-----+----------------+-----------+-----------------------+
//	| next  | 0   | tags, a byte   | 0         | last, 16 bytes each   |
//	+-------+-----+----------------+-----------+-----------------------+
type tombs struct {
	next uint32
	_    uint32
	tags [tombsPerShard / 8]uint64 // of last[i] in byte i%8 of word i/8: a part of its hash
	_    [24]byte
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
	i := s.next % tombsPerShard
	s.last[i] = tomb{original, upTo}
	word, shift := &s.tags[i/8], i%8*8
	*word = *word&^(0xff<<shift) | uint64(tagOf(original))<<shift
	s.next++
}

// entombedLocked returns up to which life the tuple with this hash is known to be over, 0: none.
func (t *Table) entombedLocked(home uint32, original uint64) (upTo Incarnation) {
	s := &t.tombs.all[home]
	if s.next == 0 || mutant.TombForgotten {
		return 0
	}
	tag := tagOf(original)
	for w := range s.tags {
		for m := sameBytes(s.tags[w], tag); m != 0; m &= m - 1 {
			if one := &s.last[w*8+bits.TrailingZeros64(m)>>3]; one.hash == original {
				upTo = max(upTo, one.upTo)
			}
		}
	}
	return upTo
}
