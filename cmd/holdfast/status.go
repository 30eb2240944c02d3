package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/internal/api"
	"holdfast/conntrack"
)

func newStatus(c *common) *cobra.Command {
	var history bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Role, peers, replication, ports: the state of this node on one screen",
		Long: `Prints the role of this node, what it knows of its peers, how far replication has
come and how its ports are driven. Exit status 1 means degraded: the last lines say
why.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.client().Status(cmd.Context(), history)
			if err != nil {
				return err
			}
			if err := c.print(cmd.OutOrStdout(), s, func(w io.Writer) { printStatus(w, &s) }); err != nil {
				return err
			}
			if len(s.Degraded) > 0 {
				return errSilent
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&history, "history", false, "also print every decision about roles, with its cause")
	return cmd
}

// printPaths writes by which ways a peer is heard.
func printPaths(w io.Writer, paths []api.Path) {
	for _, way := range paths {
		heard, used := "never heard", ""
		if way.Heard >= 0 {
			heard = fmt.Sprintf("heard %.0f ms ago", way.Heard*1e3)
		}
		if way.Used {
			used = "in use"
		}
		fmt.Fprintf(w, "  by %s\t%s\t%s\t%s\n", way.Name, way.Kind, heard, used)
	}
}

// lastHeard says what a peer is and when it was heard; of one that is silent, what it was.
func lastHeard(p *api.Peer) (role, heard string) {
	switch {
	case p.Heard < 0:
		return "UNKNOWN", "never heard"
	case p.Silent():
		return "SILENT, was " + p.Role, fmt.Sprintf("for %.0f s", p.Heard)
	}
	return p.Role, fmt.Sprintf("heard %.0f ms ago", p.Heard*1e3)
}

// printStatus writes the screen that somebody reads at three in the morning: what this
// node is first, what is wrong last.
func printStatus(w io.Writer, s *api.Status) {
	fmt.Fprintf(w, "%s  holdfast %s, up %s\n\n", s.Node, s.Version, time.Since(s.Started).Round(time.Second))
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, g := range s.Groups {
		ready := "ready"
		if !g.Ready {
			ready = "NOT READY: " + g.NotReady
		}
		active := g.Active
		if active == "" {
			active = "nobody"
		}
		fmt.Fprintf(t, "group %s\t%s\tterm %d\tactive: %s\t%s\n", g.Name, strings.ToUpper(g.Role), g.Term, active, ready)
	}
	for _, g := range s.Groups {
		fmt.Fprintf(t, "detection\tjitter p99 %.1f ms, max %.1f ms\t%d false alarms\t%d stalls\t%d lapses of the lease, %d of them in stalls\n",
			g.JitterP99*1e3, g.JitterMax*1e3, g.FalseAlarms, g.Stalls, g.LeaseLapse, g.LapsesStalled)
	}
	for _, p := range s.Peers {
		role, heard := lastHeard(&p)
		fmt.Fprintf(t, "peer %s\t%s\t%s\tsession %s\t%d behind, %d unconfirmed, policy %s, generation %d\t%s\n",
			p.Name, role, heard, p.Session, p.Behind, p.Unacked, cmp.Or(p.Policy, "not known"), p.Generation, &p.Equality)
		if len(p.Paths) > 1 {
			printPaths(t, p.Paths)
		}
	}
	if v := s.Witness; v != nil {
		heard, granted := "never heard", ""
		if v.Heard >= 0 {
			heard = fmt.Sprintf("heard %.0f ms ago", v.Heard*1e3)
		}
		if v.Granted >= 0 && v.Granted <= 1 {
			granted = "votes for this node"
		}
		fmt.Fprintf(t, "witness %s\t\t%s\t%s\n", v.Address, heard, granted)
	}
	for _, p := range s.Ports {
		carrier := "up"
		if !p.Carrier {
			carrier = "NO CARRIER"
		}
		fmt.Fprintf(t, "port %s\t%s\t%s\t%s, %d queues\tin %d, out %d packets\n", p.Name, p.On(), carrier, p.Mode, p.Queues, p.Received.Packets, p.Sent.Packets)
	}
	for _, k := range s.Tracks {
		if k.State != "up" && k.Kind != "carrier" {
			fmt.Fprintf(t, "track %s\t%s\t%s\t%s\n", k.Name, k.What, strings.ToUpper(k.State), k.Why)
		}
	}
	fmt.Fprintf(t, "connections\t%d of %d\t%d evicted\tpolicy %s\tgeneration %d, %d rules\n",
		s.Connections.Count, s.Connections.Capacity, s.Connections.Ended[conntrack.EndEvicted.String()], s.Policy.Hash, s.Policy.Generation, s.Policy.Rules)
	if p := &s.SynProxy; p.Flooded || p.Answered > 0 {
		flooded := ""
		if p.Flooded {
			flooded = "\tFLOODED: adaptive rules have SYNs answered here"
		}
		fmt.Fprintf(t, "syn proxy\t%d answered, %d proven, %d refused\t%d half-open%s\n", p.Answered, p.Proven, p.Refused, p.HalfOpen, flooded)
	}
	if l := &s.Log; l.Logged+l.Suppressed+l.Shed+l.Lost > 0 {
		fmt.Fprintf(t, "log\t%d packets\t%d suppressed\t%d shed\t%d in files, %d lost\n", l.Logged, l.Suppressed, l.Shed, l.Stored, l.Lost)
	}
	if o := s.Overload; o != (api.Overload{}) {
		fmt.Fprintf(t, "overload\t%d sources into tables, %d found them full\t%d connections flushed, %d flushes shed\n", o.Taken, o.NoRoom, o.Flushed, o.Shed)
	}
	if p := &s.Deferred; p.Waited+p.Alone+p.Full > 0 {
		fmt.Fprintf(t, "deferred\t%d waited\t%d acknowledged, %d late\t%d alone, %d full\n", p.Waited, p.Acknowledged, p.Late, p.Alone, p.Full)
	}
	if k := s.Containment; k != (api.Containment{}) {
		fmt.Fprintf(t, "crashes\t%d panics contained\t%d packets in quarantine\t`holdfast crashes` has the stacks\n", k.Panics, k.Quarantined)
	}
	if left := s.Policy.Confirm; left != nil {
		fmt.Fprintf(t, "reload\tgeneration %d goes back in %.0f s unless `holdfast confirm` comes first\n", s.Policy.Generation, *left)
	}
	t.Flush()
	for _, e := range s.History {
		fmt.Fprintf(w, "\n%s  %s in term %d: %s (%s)", e.At.Format("2006-01-02 15:04:05.000"), e.Role, e.Term, e.Cause, e.Evidence)
	}
	if len(s.History) > 0 {
		fmt.Fprintln(w)
	}
	if len(s.Degraded) > 0 {
		fmt.Fprintln(w)
	}
	for _, d := range s.Degraded {
		fmt.Fprintln(w, "DEGRADED:", d)
	}
}
