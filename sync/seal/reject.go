package seal

import (
	"fmt"
	"sync/atomic"
)

// Reject says why a datagram was refused, or Accepted. The zero value is neither: code
// that forgets to decide refuses. The names are stable, the numbers are not.
type Reject uint8

// The reasons to refuse a datagram.
const (
	RejectUnset             Reject = iota // nobody decided: a defect
	Accepted                              // not refused
	RejectTruncated                       // shorter than its kind must be
	RejectBadMagic                        // not of this protocol
	RejectBadVersion                      // a version of the format that this node does not speak
	RejectUnknownKind                     // neither knock, handshake nor sealed
	RejectUnknownSession                  // sealed for a session that this node does not hold
	RejectLaneOutOfRange                  // a lane that no session has
	RejectReplayed                        // counter seen before, or older than the window
	RejectUnauthentic                     // not made by a holder of the key
	RejectMalformed                       // a handshake or knock with fields out of range, or too long
	RejectHandshakeReplayed               // a handshake1 seen before, or our own reflected
	RejectHandshakeUnasked                // a handshake2 that answers nothing outstanding
	RejectKnockIgnored                    // a knock that names no session of ours, or comes too soon
	rejectsCount
)

var rejectNames = [rejectsCount]string{
	RejectUnset:             "unset",
	Accepted:                "accepted",
	RejectTruncated:         "truncated",
	RejectBadMagic:          "bad-magic",
	RejectBadVersion:        "bad-version",
	RejectUnknownKind:       "unknown-kind",
	RejectUnknownSession:    "unknown-session",
	RejectLaneOutOfRange:    "lane-out-of-range",
	RejectReplayed:          "replayed",
	RejectUnauthentic:       "unauthentic",
	RejectMalformed:         "malformed",
	RejectHandshakeReplayed: "handshake-replayed",
	RejectHandshakeUnasked:  "handshake-unasked",
	RejectKnockIgnored:      "knock-ignored",
}

// String returns the stable name of r.
func (r Reject) String() string {
	if r >= rejectsCount {
		return fmt.Sprintf("reject(%d)", uint8(r))
	}
	return rejectNames[r]
}

// Rejects returns all reasons to refuse, in a fixed order, for listings.
func Rejects() []Reject {
	var all []Reject
	for r := RejectTruncated; r < rejectsCount; r++ {
		all = append(all, r)
	}
	return all
}

// Counters counts datagrams by what became of them. One goroutine adds, any number
// read. The zero value is ready to use.
type Counters struct {
	count [rejectsCount]atomic.Uint64
}

// add counts one datagram. A plain load and store, because only the owner adds.
func (c *Counters) add(r Reject) { c.count[r].Store(c.count[r].Load() + 1) }

// Count returns how many datagrams met r.
func (c *Counters) Count(r Reject) uint64 {
	if r >= rejectsCount {
		return 0
	}
	return c.count[r].Load()
}
