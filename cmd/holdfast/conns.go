package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
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
	fmt.Fprintln(t, "ID\tPROTO\tSTATE\tORIGINAL\tREPLY\tRULE\tIN\tOUT\tGATEWAY\tIDLE\tPACKETS")
	for _, x := range list.Connections {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.1fs\t%d/%d\n", x.ID, x.Proto, x.State, x.Original, x.Reply,
			x.Rule, x.In, x.Out, cmp.Or(x.Gateway, "-"), x.Idle, x.Packets[0], x.Packets[1])
	}
	t.Flush()
	fmt.Fprintf(w, "%d connections\n", list.Count)
}

const killHelp = `Ends the connections that the selector names, on every node, and prints how many ended
on each. Everything is the word "all". Run it on the active node.

  holdfast kill gateway=isp1                  all that leave by a gateway
  holdfast kill label=guests --dry-run        only count
  holdfast kill src=10.0.0.66                 all that a host has begun
  holdfast kill proto=tcp max-idle=1h state=established
  holdfast kill rule=web-out --manner reset   and reset both ends of each

Words that speak of the rule and the way (rule=, label=, gateway=, port=) alone end
millions of connections in about a millisecond; any other makes the node look at every
connection, which takes about a tenth of a second for a million. From the moment it has
done so no packet of a killed connection passes; both directions die together, and a
connection between the same hosts by another gateway lives.

The manner says how the ends learn of it:
  silent       their packets drop until they give up
  reset        TCP: a reset to both ends, so that applications reconnect at once
  unreachable  "administratively prohibited" to the client: ends datagram sockets and
               attempts to connect; an established TCP connection disregards it

Where routes change too, change them first: else new connections go the old way.
`

func newKill(c *common) *cobra.Command {
	r := api.KillRequest{}
	cmd := &cobra.Command{
		Use:   "kill SELECTOR",
		Short: "End connections, on every node",
		Long:  killHelp + selectorHelp,
		Args:  usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"silent", "reset", "unreachable"}, r.Manner) {
				return fmt.Errorf("%w: --manner %s: it is silent, reset or unreachable", api.ErrUsage, r.Manner)
			}
			r.Selector = args
			res, err := c.client().Kill(cmd.Context(), r)
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), res, func(w io.Writer) { printKill(w, &res) })
		},
	}
	cmd.Flags().BoolVar(&r.DryRun, "dry-run", false, "only count")
	cmd.Flags().StringVar(&r.Manner, "manner", "silent", "how the ends learn of it: silent, reset or unreachable")
	return cmd
}

func printKill(w io.Writer, r *api.KillResult) {
	verb := "killed"
	if r.DryRun {
		verb = "would be killed"
	}
	for _, node := range slices.Sorted(maps.Keys(r.Killed)) {
		fmt.Fprintf(w, "%s: %d connections %s\n", node, r.Killed[node], verb)
	}
	for _, u := range r.Unanswered {
		fmt.Fprintf(w, "%s: not known: %s\n", u.Node, u.Why)
	}
	if r.Untold > 0 {
		fmt.Fprintf(w, "the ends of %d connections could not be told in time\n", r.Untold)
	}
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
