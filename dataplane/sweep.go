package dataplane

import (
	"holdfast/conntrack"
)

// The pace of expiry. All workers together go over the whole table once per sweepPeriod,
// so a connection outlives its timeout by no more than that, unless the table is so
// large that it would take more than sweepRate entries per second and worker: at 40 ns
// each (measured 2026-11-21) that is 4 % of a core. One turn looks at sweepTurn entries
// at most, some 20 us.
const (
	sweepPeriod = int64(1e9)
	sweepRate   = 1_000_000
	sweepTurn   = 512
	sweepStep   = 64 // entries that one worker sweeps before the next one's share begins
)

// sweep expires connections in this worker's share of the dense array: every Workers-th
// step. The active node tells its peers and gives the ports back; a standby waits half as
// long again, so that it never expires what a living peer still owns.
func (w *Worker) sweep() {
	w.sweepFragments()
	if w.config.ID == 0 {
		w.config.SynProxy.measure(w.snapshot.Table, w.now)
	}
	grace := conntrack.GraceShadow
	if w.active {
		grace = conntrack.GraceOwner
	}
	workers := int64(w.config.Workers)
	high := int64(w.snapshot.Table.High())
	rate := min(high/workers+sweepStep, sweepRate) // entries per sweepPeriod
	due := min(w.now-w.sweptAt, sweepPeriod) * rate / sweepPeriod
	if due < sweepStep {
		return
	}
	w.sweptAt = w.now
	w.snapshot.Ports.Tick(w.now)
	for left := min(due, sweepTurn); left > 0; left -= sweepStep {
		next, n := w.snapshot.Table.Sweep(w.sweepAt, sweepStep, w.now, grace, w.ended[:])
		for k := range n {
			w.bereave(&w.ended[k].State, w.ended[k].Why)
		}
		if next != 0 {
			next += uint32((workers - 1) * sweepStep)
		}
		if next == 0 || int64(next) >= high {
			next = uint32(w.config.ID * sweepStep)
		}
		w.sweepAt = next
	}
}

// bereave gives back what a connection that ended had, and tells the peers.
func (w *Worker) bereave(last *conntrack.State, why conntrack.EndReason) {
	w.ends[why].Store(w.ends[why].Load() + 1)
	ports := w.snapshot.Ports
	ports.Release(ports.BindingOf(last.Original, last.Reply))
	if last.Complete() {
		w.snapshot.Limits.Leave(last.Rule, &last.Original.Src)
	}
	if !w.active {
		return
	}
	w.recorder.End(last, why, w.now)
	if why == conntrack.EndKilled {
		return // of a kill of its class the peers hear as a whole
	}
	if last.Incarnation.Node() != w.config.Node {
		// Another node told the peers of it, by its own index: they learn ours first.
		w.config.Journal.Insert(last)
	}
	w.config.Journal.Delete(last, why)
}

// Ends counts the connections that this worker has seen end for a reason: evicted ones
// say that the table is too small, or under attack. Safe from any goroutine.
func (w *Worker) Ends(why conntrack.EndReason) uint64 { return w.ends[why].Load() }
