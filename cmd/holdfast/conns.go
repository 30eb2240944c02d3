package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"holdfast/cmd/internal/api"
)

const selectorHelp = `
A selector is a list of key=value words that must all hold:
  label= rule= gateway= port= proto= src= dst= addr= sport= dport= nat= state=
  node= min-age= max-age= min-idle= max-idle= id=`

func newConns(c *common) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "conns [count] [SELECTOR]",
		Short: "List connections",
		Long:  "Lists the connections that the selector names, or all. `conns count` prints how many.\n" + selectorHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "table" && format != "conntrack" {
				return fmt.Errorf("%w: --format %s: it is `table` or `conntrack`", api.ErrUsage, format)
			}
			count := len(args) > 0 && args[0] == "count"
			if count {
				args = args[1:]
			}
			list, err := c.client().Conns(cmd.Context(), args, count)
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), list, func(w io.Writer) {
				switch {
				case count:
					fmt.Fprintln(w, list.Count)
				case format == "conntrack":
					for i := range list.Connections {
						fmt.Fprintln(w, list.Connections[i].Conntrack())
					}
				default:
					printConns(w, &list)
				}
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "table", "`table`, or conntrack: lines as `conntrack -L` prints them")
	return cmd
}

func printConns(w io.Writer, list *api.Conns) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tPROTO\tSTATE\tORIGINAL\tREPLY\tRULE\tIN\tOUT\tIDLE\tPACKETS")
	for _, x := range list.Connections {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.1fs\t%d/%d\n", x.ID, x.Proto, x.State, x.Original, x.Reply,
			x.Rule, x.In, x.Out, x.Idle, x.Packets[0], x.Packets[1])
	}
	t.Flush()
	fmt.Fprintf(w, "%d connections\n", list.Count)
}

func newKill(c *common) *cobra.Command {
	r := api.KillRequest{}
	cmd := &cobra.Command{
		Use:   "kill SELECTOR",
		Short: "End connections, on every node",
		Long: "Ends the connections that the selector names, on every node, and prints how many.\n" +
			"Everything is the word `all`.\n" + selectorHelp,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"silent", "reset", "unreachable"}, r.Manner) {
				return fmt.Errorf("%w: --manner %s: it is silent, reset or unreachable", api.ErrUsage, r.Manner)
			}
			r.Selector = args
			res, err := c.client().Kill(cmd.Context(), r)
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), res, func(w io.Writer) {
				verb := "killed"
				if res.DryRun {
					verb = "would be killed"
				}
				for node, n := range res.Killed {
					fmt.Fprintf(w, "%s: %d connections %s\n", node, n, verb)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&r.DryRun, "dry-run", false, "only count")
	cmd.Flags().StringVar(&r.Manner, "manner", "silent", "how ends learn: silent, reset or unreachable (the last two are not built yet)")
	return cmd
}

func newPromote(c *common) *cobra.Command {
	r := api.PromoteRequest{}
	cmd := &cobra.Command{
		Use:   "promote [GROUP]",
		Short: "Make this node the active one",
		Long: `Asks the active node to hand over to this one; where none is active, this node takes
the role at once. Refused while this node's table may lack connections, unless forced.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				r.Group = args[0]
			}
			return c.done(cmd)(c.client().Promote(cmd.Context(), r))
		},
	}
	cmd.Flags().BoolVar(&r.Force, "force", false, "take the role at once, ready or not")
	return cmd
}

func newDemote(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "demote [GROUP]",
		Short: "Hand the role of active node to a ready peer",
		Args:  usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := api.DemoteRequest{}
			if len(args) == 1 {
				r.Group = args[0]
			}
			return c.done(cmd)(c.client().Demote(cmd.Context(), r))
		},
	}
}

func (c *common) done(cmd *cobra.Command) func(api.Done, error) error {
	return func(d api.Done, err error) error {
		if err != nil {
			return err
		}
		return c.print(cmd.OutOrStdout(), d, func(w io.Writer) { fmt.Fprintln(w, d.Done) })
	}
}
