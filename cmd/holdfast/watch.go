package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/cmd/internal/api"
)

const watchHelp = `Prints what happens to the connections that the selector names, or to all, as it happens:
each began (new), each change of its state (change), each end with its reason (end), once
and in order, until interrupted.

  holdfast watch                              everything
  holdfast watch src=10.0.0.66                what a host does
  holdfast watch proto=tcp state=established  every TCP connection that opens, and its end
  holdfast watch --json port=wan              one JSON object per line

The active node tells of connections; the first line says whether this node is it, and a
line says when that changes: a watch on each node sees a pair through a failover. The
ends: expired, killed, evicted (a full table made room), limited (its source has more
than its rule allows) and replaced (a new connection with the same addresses and ports
took its place). Who does not keep up is told how many
events were shed.
`

func newWatch(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "watch [SELECTOR]",
		Short: "Print what happens to connections, as it happens",
		Long: watchHelp + strings.Replace(selectorHelp, "min-age= max-age= min-idle= max-idle= ", "", 1) +
			"\n(the ages of listings do not apply; state= is the state after a change)",
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			line := func(e api.WatchEvent) error { return printEvent(out, &e) }
			if c.json {
				lines := json.NewEncoder(out)
				line = func(e api.WatchEvent) error { return lines.Encode(e) }
			}
			return c.client().Watch(cmd.Context(), args, line)
		},
	}
}

// printEvent writes an event as one line.
func printEvent(w io.Writer, e *api.WatchEvent) error {
	at := e.Time.Local().Format("15:04:05.000")
	var err error
	switch {
	case e.Event == "role" && e.Role == "active":
		_, err = fmt.Fprintf(w, "%s role    %s is active\n", at, e.SeenBy)
	case e.Event == "role":
		_, err = fmt.Fprintf(w, "%s role    %s is %s: it tells of connections when it is active\n", at, e.SeenBy, e.Role)
	case e.Event == "shed":
		_, err = fmt.Fprintf(w, "%s shed    %d events are missing here\n", at, e.Count)
	case e.Watched != nil:
		_, err = fmt.Fprintf(w, "%s %-7s %s\n", at, e.Event, watchedLine(e))
	}
	return err
}

// watchedLine says which connection it is, what became of it, and whose it is.
func watchedLine(e *api.WatchEvent) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-4s %s", e.Proto, e.Original)
	if mirror := (api.Tuple{Src: e.Original.Dst, Dst: e.Original.Src, SrcPort: e.Original.DstPort, DstPort: e.Original.SrcPort}); e.Reply != mirror && !strings.HasPrefix(e.Proto, "icmp") {
		fmt.Fprintf(&b, " (answered as %s)", e.Reply)
	}
	b.WriteString("  ")
	if e.Was != "" {
		b.WriteString(e.Was + " -> ")
	}
	b.WriteString(e.State)
	if e.Assured {
		b.WriteString(" [ASSURED]")
	}
	if e.Reason != "" {
		b.WriteString(" " + e.Reason)
	}
	fmt.Fprintf(&b, "  %s>%s rule=%s", e.In, e.Out, e.Rule)
	if e.Gateway != "" {
		b.WriteString(" gateway=" + e.Gateway)
	}
	if e.ID != "" {
		b.WriteString(" id=" + e.ID)
	}
	return b.String()
}
