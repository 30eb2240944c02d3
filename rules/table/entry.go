package table

import (
	"net/netip"
	"sync/atomic"

	"holdfast/rules/config"
)

// Sense says whether an entry puts addresses into its table or keeps them out.
type Sense uint8

// The senses.
const (
	Include Sense = iota
	Exclude       // written behind a "!"
)

// Cause says why an entry is in its table.
type Cause struct {
	Kind CauseKind
	Rule uint32 // Overload: the number of the rule that added it, see rules.Rule.Number
}

// CauseKind is one of the ways into a table.
type CauseKind uint8

// The ways.
const (
	Written  CauseKind = iota // in the policy or in the table's file
	Command                   // somebody said so
	Overload                  // a source went beyond a limit of a rule
)

// String returns the word that listings print.
func (k CauseKind) String() string { return [...]string{"written", "command", "overload"}[k] }

// counts is what has matched by an entry.
type counts struct {
	matches atomic.Uint64
	last    atomic.Int64 // ns; 0: never
}

// entry is one entry. What is not atomic never changes once it is published, but for place,
// which the table's lock guards.
type entry struct {
	prefix  netip.Prefix
	sense   Sense
	cause   Cause
	written config.Position // of Written ones
	added   int64           // ns; 0 for Written ones
	expires atomic.Int64    // ns; 0: never
	place   int             // in the queue of those that expire; -1: not there
	version atomicVersion   // of the change that it is by; 0 for Written ones. Written under the lock
	counts  *counts         // shared with the entry of this prefix in the Tables after a reload
}

// newEntry returns an entry that is not in a table yet.
func newEntry(p netip.Prefix, sense Sense, cause Cause, added int64, v Version) *entry {
	e := &entry{prefix: p, sense: sense, cause: cause, added: added, place: -1, counts: new(counts)}
	e.version.Store(v)
	return e
}

// Entry is an entry as listings show it.
type Entry struct {
	Prefix  netip.Prefix
	Sense   Sense
	Cause   Cause
	Written config.Position // zero: it was added
	Added   int64           // ns; 0: with the policy
	Expires int64           // ns; 0: never
	Matches uint64          // first packets of connections that a rule decided on by it
	Last    int64           // ns, when the last of them came; 0: none did
}

// String returns the entry as one writes it.
func (e Entry) String() string {
	s := e.Prefix.String()
	if e.Prefix.IsSingleIP() {
		s = e.Prefix.Addr().String()
	}
	if e.Sense == Exclude {
		return "!" + s
	}
	return s
}

func (e *entry) show() Entry {
	return Entry{
		Prefix: e.prefix, Sense: e.sense, Cause: e.cause, Written: e.written, Added: e.added,
		Expires: e.expires.Load(), Matches: e.counts.matches.Load(), Last: e.counts.last.Load(),
	}
}
