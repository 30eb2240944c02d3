package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/sync/seal"
)

// Options say what to show.
type Options struct {
	Binary    string        // the holdfast binary that the nodes run
	Trials    int           // how many failovers, each with a new lab
	Bytes     int64         // size of the download
	Fresh     int           // connections opened after the failover
	Sync      string        // the rule's sync: async; none is the negative control
	LimitMS   float64       // longest blackout that counts as passed
	Patience  time.Duration // how long a connection may stand still after the kill until it counts as lost
	Keep      bool          // leave the last lab up until ctx ends
	Progress  io.Writer     // for a person; never nil
	key       string        // of the cluster, made anew for every run
	directory string
}

// Defaults returns the options of `holdfast demo`.
func Defaults() Options {
	return Options{
		Trials: 1, Bytes: 256 << 20, Fresh: 10_000, Sync: "async", LimitMS: 500,
		Patience: 15 * time.Second, Progress: io.Discard,
	}
}

// Run shows it. The report is valid as far as it goes when there is an error; the
// error says that the demo itself could not be carried out.
func Run(ctx context.Context, o Options) (report Report, err error) {
	if err := raiseFileLimit(o.Fresh + 2048); err != nil {
		return report, err
	}
	if o.directory, err = os.MkdirTemp("", "holdfast-demo-"); err != nil {
		return report, fmt.Errorf("demo: %w", err)
	}
	defer os.RemoveAll(o.directory)
	o.key = string(seal.FormatKeyFile(seal.NewKey()))
	report.OK = true
	for i := range o.Trials {
		if o.Trials > 1 {
			fmt.Fprintf(o.Progress, "trial %d of %d\n", i+1, o.Trials)
		}
		keep := o.Keep && i == o.Trials-1
		t, err := runTrial(ctx, o, keep)
		if err != nil {
			report.OK = false
			return report, err
		}
		report.Trials = append(report.Trials, t)
		report.OK = report.OK && len(t.Problems) == 0
	}
	return report, nil
}

// raiseFileLimit makes room for n descriptors.
func raiseFileLimit(n int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("demo: file limit: %w", err)
	}
	if limit.Cur >= uint64(n) {
		return nil
	}
	limit.Cur = uint64(n)
	limit.Max = max(limit.Max, limit.Cur)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("demo: cannot open %d files at once (%w): raise `ulimit -n`", n, err)
	}
	return nil
}
