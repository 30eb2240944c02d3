package dataplane

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/packet"
	"holdfast/nat"
)

// refuseTranslation drops the first packet of a connection that cannot be translated. An
// address without an image is the sender's to know of (RFC 6296 section 3.7; J4, J5); a
// lack of ports or targets is ours, and its counter tells (I9, I15).
func (w *Worker) refuseTranslation(b *burst, i int, why nat.Outcome) fate {
	switch why {
	case nat.NoTarget:
		return dropped(drop.NATNoTarget)
	case nat.Untranslatable:
		w.refuseUnreachable(b, i, packet.UnreachableProhibited)
		return dropped(drop.NATUntranslatable)
	}
	return dropped(drop.NATExhausted)
}
