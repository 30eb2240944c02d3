package main

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/internal/api"
)

func newPlan(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "plan FILE",
		Short: "Say what a reload of a policy would change, and which connections it would end",
		Long: `Compares the policy FILE with the one in force: what is added, removed, changed, moved,
or only reworded, and how many live connections would end (by on_change of their rules).
Nothing changes. What is wrong with FILE is printed as "holdfast check" does.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			plan, err := c.client().Plan(cmd.Context(), api.PlanRequest{File: path})
			if err != nil {
				return err
			}
			return c.printPlan(cmd, &plan, "nothing was changed")
		},
	}
}

func newReload(c *common) *cobra.Command {
	var confirm time.Duration
	var thisNode bool
	cmd := &cobra.Command{
		Use:   "reload [FILE]",
		Short: "Put a policy in force on all nodes without losing a packet or a connection",
		Long: `Reads the policy FILE, or the one that the node file names, and puts it in force at once:
no packet meets half of it. Connections go on, unless on_change of their rules ends them;
"holdfast plan" says which. A policy with a fault changes nothing, and neither does one
that adds or changes ports, groups, gateways or [cluster]: these need a restart.

In a cluster every node that is heard compiles it first; if one cannot, nothing changes
anywhere. Then all swap, those that stand by before the active one. A node that is not
heard is named, and takes the policy when it is back.

With --confirm the policy before comes back by itself on each node, whatever has become of
your session or of the other nodes, unless "holdfast confirm" comes first, on any of them.
What connections have ended stays ended.

What is confirmed is in force after a restart too. With --this-node the other nodes keep
theirs, and this one has it back after a restart.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := api.ReloadRequest{Confirm: confirm.Seconds(), ThisNode: thisNode}
			if len(args) > 0 {
				path, err := filepath.Abs(args[0])
				if err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				r.File = path
			}
			plan, err := c.client().Reload(cmd.Context(), r)
			if err != nil {
				return err
			}
			done := fmt.Sprintf("in force: generation %d, policy %s, %d rules; %d connections ended", plan.Generation, plan.Hash, plan.Rules, plan.Ended)
			if confirm > 0 {
				done += fmt.Sprintf("\ngoes back in %v unless you run `holdfast confirm`", confirm)
			}
			for _, w := range plan.Warnings {
				done += "\nWARNING: " + w
			}
			return c.printPlan(cmd, &plan, done)
		},
	}
	cmd.Flags().DurationVar(&confirm, "confirm", 0, "go back after this `TIME` unless confirmed")
	cmd.Flags().BoolVar(&thisNode, "this-node", false, "in a cluster: reload this node only")
	return cmd
}

// printPlan prints a plan and what came of it, or what is wrong with the policy.
func (c *common) printPlan(cmd *cobra.Command, plan *api.Plan, done string) error {
	if err := c.print(cmd.OutOrStdout(), plan, func(w io.Writer) {
		if len(plan.Errors) == 0 {
			printChanges(w, plan)
			fmt.Fprintln(w, done)
		}
	}); err != nil {
		return err
	}
	return tellErrors(cmd, plan.Errors)
}

func printChanges(w io.Writer, plan *api.Plan) {
	for _, n := range plan.Notices {
		fmt.Fprintln(w, n)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, x := range plan.Changes {
		fmt.Fprintf(t, "%s\t%s %s\t%s\n", x.What, x.Kind, x.Name, x.Position)
	}
	t.Flush()
	if len(plan.Changes) == 0 {
		fmt.Fprintln(w, "no rule, translation, route, table, limit or timeout differs")
	}
	for _, e := range plan.Ends {
		fmt.Fprintf(w, "ends %d connections of rule %s\n", e.Connections, cmp.Or(e.Rule, "(none)"))
	}
}

func newConfirm(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "confirm",
		Short: "Keep the policy of a reload --confirm",
		Long: `Keeps the policy that "holdfast reload --confirm" has put in force, on all nodes, so that it does not
go back. Any node will do that has it on trial: after a failover the new active one.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			done, err := c.client().Confirm(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), done, func(w io.Writer) {
				fmt.Fprintln(w, done.Done)
				for _, warning := range done.Warnings {
					fmt.Fprintln(w, "WARNING:", warning)
				}
			})
		},
	}
}

func newRules(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "rules",
		Short: "List the rules in force: packets that they decided on, live connections, place",
		Long: `Lists the rules in force in their order, the default behind them, and at the end rules
that a reload has taken away and that still have connections. Packets are first packets
of connections, since the start: a reload carries the counts over by the rules' ids. Of
logged packets it prints how many the log tells of, and how many more were suppressed.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := c.client().Rules(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), list, func(w io.Writer) { printRules(w, &list) })
		},
	}
}

func printRules(w io.Writer, list *api.Rules) {
	fmt.Fprintf(w, "%s  policy %s, generation %d\n\n", list.File, list.Hash, list.Generation)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "RULE\tACTION\tPACKETS\tCONNECTIONS\tLOGGED\tLABELS\tPLACE")
	for _, r := range list.Rules {
		place := r.Position
		if r.Gone {
			place = "gone, was at " + place
		}
		logged := fmt.Sprint(r.Logged)
		if r.Suppressed > 0 {
			logged += fmt.Sprintf("+%d", r.Suppressed)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", r.ID, r.Action, r.Packets, r.Connections, logged, cmp.Or(strings.Join(r.Labels, ","), "-"), place)
	}
	t.Flush()
}
