//go:build mutants

package mutant

// The bugs. A test plants one at a time, before anything runs.
var (
	MergeRollsBack, GapAskedForOnce, AckBeforeApply, KillForgotten, NonceReused, DeleteForgotten, TombForgotten, EqualTermAccepted, BothKeepServing, LapsedLeaseExtended, DeathTooEarly, OwnStallBlamed, GapSkipped, LossHidden, DeleteOfAnyLife, WindowOpen, UnreadyClaims, FirstUpdateStays, RequestNotRepeated, IndexReusedBlindly, EndKeptSecret, VoteGivenTwice bool
)

// All are the bugs by name.
var All = map[string]*bool{
	"MergeRollsBack":      &MergeRollsBack,
	"GapAskedForOnce":     &GapAskedForOnce,
	"AckBeforeApply":      &AckBeforeApply,
	"KillForgotten":       &KillForgotten,
	"NonceReused":         &NonceReused,
	"DeleteForgotten":     &DeleteForgotten,
	"TombForgotten":       &TombForgotten,
	"EqualTermAccepted":   &EqualTermAccepted,
	"BothKeepServing":     &BothKeepServing,
	"LapsedLeaseExtended": &LapsedLeaseExtended,
	"DeathTooEarly":       &DeathTooEarly,
	"OwnStallBlamed":      &OwnStallBlamed,
	"GapSkipped":          &GapSkipped,
	"LossHidden":          &LossHidden,
	"DeleteOfAnyLife":     &DeleteOfAnyLife,
	"WindowOpen":          &WindowOpen,
	"UnreadyClaims":       &UnreadyClaims,
	"FirstUpdateStays":    &FirstUpdateStays,
	"RequestNotRepeated":  &RequestNotRepeated,
	"IndexReusedBlindly":  &IndexReusedBlindly,
	"EndKeptSecret":       &EndKeptSecret,
	"VoteGivenTwice":      &VoteGivenTwice,
}
