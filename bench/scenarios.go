package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/bench/report"
)

// Scenario measures one row.
type Scenario struct {
	ID, Name string
	Better   report.Better
	Takes    [2]time.Duration // full, quick: about, on two cores
	Run      func(ctx context.Context, quick bool, progress io.Writer) (Row, error)
}

// takes is how long it takes, about.
func (s *Scenario) takes(quick bool) time.Duration {
	if quick {
		return s.Takes[1]
	}
	return s.Takes[0]
}

// limit is when it is given up: what hangs must not hide the rows behind it.
func (s *Scenario) limit(quick bool) time.Duration { return 5*s.takes(quick) + 2*time.Minute }

// about is the two times in seconds.
func about(full, quick float64) [2]time.Duration {
	return [2]time.Duration{time.Duration(full * float64(time.Second)), time.Duration(quick * float64(time.Second))}
}

// scenarios are all there are, in the order of their rows.
func scenarios() []Scenario {
	const more, less = report.More, report.Less
	return []Scenario{
		{"N1", "forwarded packets per second, established, 64 bytes, against a bare AF_XDP forwarder", more, about(600, 130), forwarding},
		{"N1-tcp", "the same with TCP connections that handshakes opened", more, about(200, 40), forwardingTCP},
		{"N2", "ns per packet of an established connection, tracker alone", less, about(60, 25), tracking},
		{"N3", "ns per new connection, tracker and journal alone", less, about(60, 8), births},
		{"N4", "bytes per connection", less, about(40, 40), memory},
		{"N5", "which rule decides on a first packet, 10 to 100,000 rules", less, about(100, 80), matching},
		{"N6", "a reload of 100,000 rules, from the text to the swap", less, about(60, 8), reloading},
		{"N7", "replication bytes for a new, a changed and an ended connection", less, about(2, 2), bytesPerChange},
		{"N8", "throughput with replication on, against off", more, about(250, 60), replicating},
		{"N9", "bulk transfer to a joining node while the live stream goes on", more, about(60, 20), joining},
		{"rounds", "the cost of comparing tables, and what packets feel of it", less, about(80, 80), comparing},
		{"N10", "blackout after kill -9 of the active node", less, about(800, 30), blackouts},
		{"N12", "established connections that survive a failover", more, about(800, 30), survivors},
		{"N14", "kill by gateway, last packet", less, about(200, 12), killByGateway},
		{"N15", "kill by any selector, last packet", less, about(120, 6), killByAny},
		{"N16", "two workers against one, tracker alone", more, about(60, 12), twoWorkers},
		{"N18", "a deferred first packet, two nodes", less, about(20, 8), deferring},
		{"flood", "a SYN flood against a table of 100,000 connections, real clients going on", more, about(40, 20), flood},
		{"loss", "frames lost at a rate that anybody keeps up with", less, about(220, 25), losing},
	}
}

func newList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the rows", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			for _, s := range scenarios() {
				fmt.Fprintf(t, "%s\t%s\n", s.ID, s.Name)
			}
			for _, g := range report.Goals {
				if g.Missing != "" {
					fmt.Fprintf(t, "%s\t%s: not measured yet, because %s\n", g.ID, g.Name, g.Missing)
				}
			}
			return t.Flush()
		},
	}
}
