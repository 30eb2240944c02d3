package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/internal/api"
)

// sampleEvery is how often `drops --follow` asks.
const sampleEvery = time.Second

func newDrops(c *common) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "drops",
		Short: "Why packets died: reasons with counts, per port and direction",
		Long: `Prints how many packets died for which reason, per port, those that came in by it
(receive) and those that were to leave by it (send), since the daemon's start. With
--follow it goes on: every second a line for each count that has grown, with how much;
with --json one whole object per line.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := c.client().Drops(cmd.Context())
			if err != nil {
				return err
			}
			if follow {
				return c.followDrops(cmd, d)
			}
			return c.print(cmd.OutOrStdout(), d, func(w io.Writer) { printDrops(w, &d) })
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "go on until interrupted: every second, what has grown")
	return cmd
}

// followDrops prints a first sample whole and goes on until interrupted.
func (c *common) followDrops(cmd *cobra.Command, d api.Drops) (err error) {
	out := cmd.OutOrStdout()
	if !c.json {
		printDrops(out, &d)
	}
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for lines := json.NewEncoder(out); ; {
		if c.json {
			if err := lines.Encode(d); err != nil {
				return err
			}
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-tick.C:
		}
		before := counts(&d)
		if d, err = c.client().Drops(cmd.Context()); err != nil {
			if cmd.Context().Err() != nil {
				return nil // interrupted
			}
			return err
		}
		if !c.json {
			printGrown(out, time.Now(), before, &d)
		}
	}
}

// spot is where packets died, and why.
type spot struct{ port, direction, reason string }

// counts returns all counts by where and why.
func counts(d *api.Drops) map[spot]uint64 {
	all := map[spot]uint64{}
	for _, p := range d.Ports {
		for reason, n := range p.Receive {
			all[spot{p.Port, "receive", reason}] = n
		}
		for reason, n := range p.Send {
			all[spot{p.Port, "send", reason}] = n
		}
	}
	return all
}

// printGrown writes a line for each count that is larger than before.
func printGrown(w io.Writer, at time.Time, before map[spot]uint64, d *api.Drops) {
	now := counts(d)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, p := range d.Ports {
		for _, direction := range []string{"receive", "send"} {
			reasons := p.Receive
			if direction == "send" {
				reasons = p.Send
			}
			for _, reason := range slices.Sorted(maps.Keys(reasons)) {
				s := spot{p.Port, direction, reason}
				if grown := now[s] - before[s]; grown > 0 {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t+%d\n", at.Format("15:04:05"), s.port, s.direction, s.reason, now[s], grown)
				}
			}
		}
	}
	t.Flush()
}

func printDrops(w io.Writer, d *api.Drops) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, p := range d.Ports {
		printReasons(t, p.Port, "receive", p.Receive)
		printReasons(t, p.Port, "send", p.Send)
	}
	t.Flush()
}

func printReasons(w io.Writer, port, direction string, counts map[string]uint64) {
	for _, r := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\n", port, direction, r, counts[r])
	}
}
