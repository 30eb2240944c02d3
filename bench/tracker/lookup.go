package tracker

import (
	"time"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
)

// Lookups looks at least n packets of established connections up, in bursts of size, and
// returns how many and how long it took. With a size of one every lookup waits for the
// entry that the one before has found, as a path does that takes each packet to its end.
func (l *Load) Lookups(n, size int) (done int, took time.Duration) {
	keys := make([]packet.Parsed, sampled)
	for i := range l.frames {
		packet.Decode(l.frames[i][:frameLen], &keys[i]) // it was decoded before: Packets would have failed
	}
	hits := make([]conntrack.Hit, size)
	at := 0
	begin := time.Now()
	for done < n {
		l.Table.Lookup(keys[at:at+size], hits)
		// The next key depends on what was found, by nothing.
		at = (at + size + int(hits[0].Index>>31)) % sampled
		done += size
	}
	return done, time.Since(begin)
}
