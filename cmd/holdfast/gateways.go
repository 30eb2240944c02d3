package main

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"holdfast/cmd/internal/api"
)

func newGateways(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "gateways",
		Short: "List the gateways: state, neighbour, live connections",
		Long: `Lists the gateways that the policy names, sorted by name: the port and the address, the
state, the MAC as far as it is known, and how many connections live that leave by the
gateway or came in by it. A gateway is asked by the active node as the policy says (probe);
LOSS is of the last 64 probes, LATENCY smoothed. One that nobody asks counts as up.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := c.client().Gateways(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), list, func(w io.Writer) { printGateways(w, &list) })
		},
	}
}

func printGateways(w io.Writer, list *api.Gateways) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "GATEWAY\tPORT\tADDRESS\tSTATE\tLOSS\tLATENCY\tNEIGHBOUR\tCONNECTIONS\tWHY")
	for _, g := range list.Gateways {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.0f %%\t%.1f ms\t%s\t%d\t%s\n", g.Name, g.Port, g.Address, g.State, g.Loss*100, g.Latency*1e3,
			cmp.Or(g.Neighbor, "unknown"), g.Connections, g.Why)
	}
	t.Flush()
}
