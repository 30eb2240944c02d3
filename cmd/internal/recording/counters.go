package recording

import (
	"fmt"
	"net/netip"

	"holdfast/sync/seal"
	"holdfast/sync/wire"
)

// What is worth saying about a datagram's or a batch's number.
const (
	noteLate     = "late"     // overtaken on the way
	noteRepeated = "repeated" // this counter was there before: a replay, or a copy of the network
	noteAgain    = "again"    // a batch that was there before: told again on request
	noteFilled   = "fills a gap"
)

// track follows the counters of one lane of one direction of a session.
type track struct {
	next   uint64 // after the highest seen; 0: none seen
	window seal.Window
}

// take says what is to be said about a counter: how many are missing before it (they may
// come late), and a note.
func (t *track) take(counter uint64) (missing uint64, note string) {
	fresh := t.window.Fresh(counter)
	if fresh {
		t.window.Mark(counter)
	}
	switch {
	case !fresh:
		return 0, noteRepeated
	case counter < t.next:
		return 0, noteLate
	}
	if t.next != 0 {
		missing = counter - t.next
	}
	t.next = counter + 1
	return missing, ""
}

// trackKey names a lane of a direction.
type trackKey struct {
	from, to netip.AddrPort
	session  uint32
	lane     seal.Lane
}

// streams follows the batch numbers that one node tells another in one life.
type streams struct {
	boot  uint64
	lanes [wire.LanesMax]track
}

// take says what is to be said about a batch.
func (s *streams) take(h wire.Header) string {
	switch _, note := s.lanes[h.Lane].take(h.Sequence); note {
	case noteRepeated:
		return noteAgain
	case noteLate:
		return noteFilled
	}
	return ""
}

// gapNote says how many datagrams are missing.
func gapNote(missing uint64) string { return fmt.Sprintf("%d missing before", missing) }
