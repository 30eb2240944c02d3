package dataplane

import (
	"holdfast/conntrack"
)

// How many entries of the table a worker looks at per turn: few while packets wait,
// many while it is idle, so that an idle worker goes over a million in about a second.
const (
	sweepBusy = 64
	sweepIdle = 4096
)

// sweep expires connections in this worker's share of the dense array. The active node
// tells its peers and gives the ports back; a standby waits half as long again, so that
// it never expires what a living peer still owns.
func (w *Worker) sweep(busy bool) {
	budget := sweepIdle
	if busy {
		budget = sweepBusy
	}
	grace := conntrack.GraceShadow
	if w.active {
		grace = conntrack.GraceOwner
	}
	for ; budget > 0; budget -= sweepBusy {
		mine := w.sweepAt/sweepBusy%uint32(w.config.Workers) == uint32(w.config.ID)
		if !mine {
			if w.sweepAt += sweepBusy; w.sweepAt >= w.snapshot.Table.High() {
				w.sweepAt = 0
			}
			continue
		}
		next, n := w.snapshot.Table.Sweep(w.sweepAt, sweepBusy, w.now, grace, w.ended[:])
		w.sweepAt = next
		for k := range n {
			w.bereave(&w.ended[k].State, w.ended[k].Why)
		}
	}
}

// bereave gives back what a connection that ended had, and tells the peers.
func (w *Worker) bereave(last *conntrack.State, why conntrack.EndReason) {
	ports := w.snapshot.Ports
	ports.Release(ports.BindingOf(last.Original, last.Reply))
	if w.active {
		w.config.Journal.Delete(last, why)
	}
}
