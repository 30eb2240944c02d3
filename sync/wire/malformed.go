package wire

import "fmt"

// Malformed says what is wrong with received bytes. It is an error; the zero value is
// none and never returned as one. The names are stable, because they label a counter.
type Malformed uint8

// What can be wrong.
const (
	Truncated     Malformed = 1 + iota // ends before the message does
	TrailingBytes                      // goes on after the message
	BadKind                            // a batch that is neither stream nor control
	BadSequence                        // a sequence number where none belongs, or none where one does
	BadFlags                           // flags without a meaning, or against the rest
	BadType                            // a frame of another type than the decoder's
	BadLane                            // a lane out of range, or too many
	BadAddress                         // families mixed, or an address that cannot stand here
	BadValue                           // another value out of its range
	malformedCount
)

var malformedNames = [malformedCount]string{
	Truncated: "truncated", TrailingBytes: "trailing-bytes", BadKind: "bad-kind",
	BadSequence: "bad-sequence", BadFlags: "bad-flags", BadType: "bad-type",
	BadLane: "bad-lane", BadAddress: "bad-address", BadValue: "bad-value",
}

// String returns the stable name.
func (m Malformed) String() string {
	if m == 0 || m >= malformedCount {
		return fmt.Sprintf("malformed(%d)", uint8(m))
	}
	return malformedNames[m]
}

// Error says the same as a sentence.
func (m Malformed) Error() string { return "malformed message: " + m.String() }

// check returns m as an error, nil if nothing is wrong.
func (m Malformed) check() error {
	if m == 0 {
		return nil
	}
	return m
}
