package replica

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/bench/tracker"
	"holdfast/conntrack"
	"holdfast/dataplane/gate"
	"holdfast/sync/repair"
	"holdfast/sync/seal"
)

// Joined is how a node came to hold what another one holds.
type Joined struct {
	Conns   int
	Applied time.Duration // from the request to the end of the transfer
	Proven  time.Duration // from the request to the proof that nothing differs
	CPU     time.Duration // of both nodes and the live stream, until Applied
	Live    float64       // changes per second that the lanes told meanwhile
	Resent  uint64        // batches that were asked for again
}

// Join lets a node join one that has so many connections, while live of them begin and as
// many end each second (0: none).
func Join(ctx context.Context, conns, live int) (j Joined, err error) {
	load, err := tracker.Fill(conns, 1<<17)
	if err != nil {
		return j, err
	}
	defer load.Close()
	table, err := conntrack.New(conntrack.Config{Capacity: uint32(conns + 1<<17), Node: 2})
	if err != nil {
		return j, err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	key := seal.NewKey()
	a, err := Start(0, load.Table, key)
	if err != nil {
		return j, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	// All of them are told, as they would have been, to nobody: the lane's backlog keeps the
	// last ones alone, so the joiner has to ask for the table.
	var s conntrack.State
	for i := range load.Table.High() {
		if load.Table.Export(i, gate.Now(), &s) {
			a.Lane.Insert(&s)
		}
	}
	a.Lane.Flush()
	if err := wait(ctx, "node 0 serves", 20*time.Second, func() bool { return a.Status().Active == "node0" }); err != nil {
		return j, err
	}
	changes := begin(a, live)
	defer changes.end()
	runtime.GC()
	b, err := Start(1, table, key)
	if err != nil {
		return j, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	return j, j.watch(ctx, a, b, changes)
}

// watch measures while b joins a.
func (j *Joined) watch(ctx context.Context, a, b *Node, changes *changes) error {
	j.Conns = a.Table.Len()
	report := func() repair.Report { return b.Status().Peers[0].Repair }
	if err := wait(ctx, "the joiner asks", 20*time.Second, func() bool { return report().Phase == repair.Joining }); err != nil {
		return fmt.Errorf("%w: it says %+v, its peer %+v", err, b.Status().Peers[0], a.Status().Peers[0])
	}
	start, told, cpu := time.Now(), changes.told.Load(), processTime()
	if err := wait(ctx, "the transfer ends", 2*time.Minute, func() bool { return report().Phase != repair.Joining }); err != nil {
		return err
	}
	j.Applied, j.CPU = time.Since(start), processTime()-cpu
	j.Live = float64(changes.told.Load()-told) / j.Applied.Seconds()
	if err := wait(ctx, "proof", 30*time.Second, func() bool { return report().Proven != 0 && b.Status().Ready }); err != nil {
		return fmt.Errorf("%w: %s, %+v", err, b.Status().NotReady, b.Status().Peers[0])
	}
	j.Proven = time.Since(start)
	j.Resent = a.Status().Peers[0].Resent
	if p := b.Status().Peers[0]; p.Rejected["not-applicable"] > 0 {
		return fmt.Errorf("%d messages could not be applied", p.Rejected["not-applicable"])
	}
	return nil
}

// processTime is the CPU time of this process so far.
func processTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
