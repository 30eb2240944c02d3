package tracker

import (
	"fmt"
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/sync/journal"
)

// Births measures new connections in a table that keeps its size: as many end, between
// two bursts and not measured, as begin.
type Births struct {
	load    *Load
	journal *journal.Journal
	next    int // connection that begins next
	live    []birth
	oldest  int // in live
	ended   conntrack.State
	parsed  [burst]packet.Parsed
	hits    [burst]conntrack.Hit
	result  conntrack.Result
}

// birth names a connection that may end.
type birth struct {
	index       uint32
	incarnation conntrack.Incarnation
}

// births is how many of the connections that the measurement has begun live at once.
const births = 1 << 14

// Births returns a measurement. The load's table must have room for 16,384 more.
func (l *Load) Births() *Births {
	return &Births{load: l, journal: journal.New(0, journal.NewOutlet(nil)), next: l.Conns}
}

// Begin begins at least n connections: a lookup that misses, the insertion of both tuples,
// and the message to the peers in the journal. It returns how many and how long it took.
func (b *Births) Begin(n int) (done int, took time.Duration, err error) {
	table, now := b.load.Table, b.load.now
	for done < n {
		for i := range b.parsed {
			original, _ := tuples(b.next + i)
			b.parsed[i] = segment(original, packet.FlagSYN, 99, 0)
		}
		if err := b.end(); err != nil {
			return done, took, err
		}
		var proposals [burst]conntrack.Proposal
		for i := range proposals {
			original, reply := tuples(b.next + i)
			proposals[i] = conntrack.Proposal{Original: original, Reply: reply, Class: conntrack.Class{Rule: 1, Egress: 1}}
		}
		b.next += burst
		begin := time.Now()
		table.Lookup(b.parsed[:], b.hits[:])
		for i := range b.parsed {
			if table.Track(&b.parsed[i], &b.hits[i], now, &b.result) != conntrack.OutcomeMiss {
				return done, took, fmt.Errorf("%v exists: %v, %+v", b.parsed[i].Tuple, b.result.Reason, b.hits[i])
			}
			if got := table.Insert(&proposals[i], &b.parsed[i], now, &b.result); got != conntrack.Inserted {
				return done, took, fmt.Errorf("%v: outcome %d, %v", b.parsed[i].Tuple, got, b.result.Reason)
			}
			b.journal.Insert(&b.result.State)
			b.live = append(b.live, birth{b.result.Index, b.result.Incarnation})
		}
		b.journal.Flush()
		took += time.Since(begin)
		done += burst
	}
	return done, took, nil
}

// end ends as many connections as begin next, the oldest first.
func (b *Births) end() error {
	for len(b.live)-b.oldest > births {
		one := b.live[b.oldest]
		if !b.load.Table.Remove(one.index, one.incarnation, b.load.now, &b.ended) {
			return fmt.Errorf("connection %v is gone", one.incarnation)
		}
		if b.oldest++; b.oldest == births {
			b.live, b.oldest = append(b.live[:0], b.live[births:]...), 0
		}
	}
	return nil
}
