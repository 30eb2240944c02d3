package dataplane

import (
	"holdfast/dataplane/drop"
	"holdfast/dataplane/fib"
	"holdfast/dataplane/packet"
)

// Packets for the node itself take the path like all others: they are judged by the rules,
// with packet.Self as the port that they leave by, and begin connections in the one table.
// Only their last step differs: they go to the kernel, through the TAP of the port that
// they came in by, so that its rp_filter finds them where it expects them.
//
//	wire -> decode -> lookup -> (miss: admit) -> track -> deliver -> TAP -> kernel
//
// Echo requests need no connection: the kernel answers each, and its answer goes out as it
// is. So a flood of them with forged sources takes no room in the table (L8).

// toKernel hands a copy of a frame to the kernel's face of the port it came in by.
func (w *Worker) toKernel(s *share, frame []byte) fate {
	n, err := s.Kernel.Write(frame)
	switch {
	case err != nil:
		return dropped(drop.TapUnanswered)
	case n == 0:
		return dropped(drop.TapFull)
	}
	return fate{why: drop.Pass}
}

// mayAddress reports whether a source may speak to the node through a port. One that is
// valid on the port's link alone is there, and the routes do not speak of it.
func (w *Worker) mayAddress(in *share, src *packet.Addr) bool {
	if src.IsLinkLocal() && !src.Is4() {
		return w.hopTo(*src).Kind != fib.Local
	}
	return w.comesFrom(in, *src)
}

// goesOn reports whether a packet, which seems to have a connection, would go on from here
// to another host. What ends here may have come as far as its TTL allowed (L1).
func (w *Worker) goesOn(b *burst, i int) bool {
	exit, ok := w.snapshot.Table.ExitOf(&b.parsed[i], &b.hit[i])
	return ok && exit != packet.Self // without a connection admit decides
}

// deliver hands a packet of a connection with the node itself to the kernel.
func (w *Worker) deliver(b *burst, i int) fate {
	r := &w.result
	if r.Translated {
		r.Rewrite.Apply(b.frame[i], &b.parsed[i])
	}
	f := w.toKernel(b.in, b.frame[i])
	if f.why != drop.Pass {
		w.snapshot.Table.Uncount(&b.parsed[i], r)
	}
	return f
}
