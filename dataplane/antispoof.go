package dataplane

import (
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// Antispoof is how a port judges the sources of packets that have no connection yet (L6,
// RFC 3704). The zero value is the strict way. An address of the node itself, or one that
// it answers for, is nobody's source, whatever the way.
type Antispoof uint8

// The ways, as the policy's `antispoof` names them.
const (
	AntispoofStrict Antispoof = iota // the routes lead back to the source by the port, or a gateway on it may
	AntispoofLoose                   // the routes lead back by some port
	AntispoofOff                     // the routes are not asked
)

// comesFrom reports whether a source may come in by a port: whether it lies where the
// routes say that it does, or behind a gateway, and not in this node itself (RFC 2827, and
// RFC 3704 section 4 for several providers).
func (w *Worker) comesFrom(in *share, src packet.Addr) bool {
	back := w.hopTo(src)
	if back.Kind == fib.Local || w.unclaimed(&src, &back) {
		return false
	}
	switch in.Antispoof {
	case AntispoofOff:
		return true
	case AntispoofLoose:
		return back.Port != packet.NoPort
	}
	return back.Port == in.ID || w.behindGateway(in.ID, &src, &back)
}
