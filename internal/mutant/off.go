//go:build !mutants

package mutant

// The bugs, none of them planted: the compiler leaves no trace of them.
const (
	MergeRollsBack      = false // a merge takes over an edge that lies behind
	GapAskedForOnce     = false // a lost request for a gap is not repeated
	AckBeforeApply      = false // what was received counts as applied
	KillForgotten       = false // a connection that a kill meant is entered after the kill
	NonceReused         = false // a counter is sealed under twice
	DeleteForgotten     = false // a delete that comes before its insert is forgotten
	TombForgotten       = false // what ended comes back by an older message
	EqualTermAccepted   = false // of two that serve in one term neither yields
	BothKeepServing     = false // a higher claim is not obeyed
	LapsedLeaseExtended = false // a node that comes back to life keeps its lease
	DeathTooEarly       = false // a peer counts as dead after half its time
	OwnStallBlamed      = false // time in which this node stood still is held against its peers
	GapSkipped          = false // a lane goes on behind a gap
	LossHidden          = false // a lane that has lost batches says that it is whole
	DeleteOfAnyLife     = false // a delete ends whatever life the index means
	WindowOpen          = false // a datagram opens twice
	UnreadyClaims       = false // a node says that it is ready when it is not
	FirstUpdateStays    = false // of two updates in a batch the first stays
	RequestNotRepeated  = false // a lost request for a connection is not repeated
	IndexReusedBlindly  = false // an index that is used again loses the connection before
	EndKeptSecret       = false // a new life is told what was told before it, and who knows of an end does not say so
	VoteGivenTwice      = false // a vote that a node has is given to another one
)
