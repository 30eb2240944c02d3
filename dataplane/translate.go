package dataplane

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/nat"
)

// translationReasons is what the first packet of a connection dies of that cannot be
// translated.
var translationReasons = [...]drop.Reason{
	nat.NoTarget: drop.NATNoTarget, nat.Untranslatable: drop.NATUntranslatable, nat.Exhausted: drop.NATExhausted,
}

// refuseTranslation drops the first packet of a connection that cannot be translated. An
// address without an image is the sender's to know of (RFC 6296 section 3.7; J4, J5); a
// lack of ports or targets is ours, and its counter tells (I9, I15).
func (w *Worker) refuseTranslation(b *burst, i int, why nat.Outcome) fate {
	if why == nat.Untranslatable {
		w.refuseUnreachable(b, i, packet.UnreachableProhibited)
	}
	return dropped(translationReasons[why])
}
