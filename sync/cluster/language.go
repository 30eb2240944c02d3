package cluster

import (
	"fmt"
	"sync/atomic"

	"holdfast/sync/wire"
)

// language is which version of wire's language is spoken with a peer: the highest that
// both know, as its last hello says. Without one the peer is refused: of what it says
// only hellos and heartbeats, which mean the same in every version, are taken in. So roles
// are settled, but this node does not count as ready, and says why.
//
// The peer's reader writes it; status reads it from anywhere. The zero value refuses nothing.
type language struct {
	spoken atomic.Uint32 // 0: no hello yet, or refused
	why    atomic.Pointer[string]
}

// agree takes what both speak from a hello and reports whether there is a common version.
func (l *language) agree(ours, theirs wire.Versions) bool {
	version, ok := ours.Common(theirs)
	if ok {
		l.spoken.Store(uint32(version))
		l.why.Store(nil)
		return true
	}
	if l.why.Load() == nil {
		why := fmt.Sprintf("speaks versions %d to %d of the sync language and this node %d to %d: "+
			"connections are not replicated between them; run versions of Holdfast on both that are next to each other",
			theirs.Min, theirs.Max, ours.Min, ours.Max)
		l.why.Store(&why)
	}
	l.spoken.Store(0)
	return false
}

// refused reports whether the two have no version in common.
func (l *language) refused() bool { return l.why.Load() != nil }

// status returns the version that is spoken, and why none is.
func (l *language) status() (version uint8, refused string) {
	if why := l.why.Load(); why != nil {
		refused = *why
	}
	return uint8(l.spoken.Load()), refused
}
