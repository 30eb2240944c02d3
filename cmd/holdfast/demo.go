package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"holdfast/cmd/internal/api"
	"holdfast/cmd/internal/demo"
)

func newDemo(c *common) *cobra.Command {
	o := demo.Defaults()
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Kill the active one of two firewalls in the middle of a download, and report",
		Long: `Builds two hosts, two switches and two firewall nodes in network namespaces, opens
TCP connections, a UDP flow and a ping through the active node, kills it with SIGKILL
in the middle of a download of 256 MB, and reports what the connections noticed.

Needs root and Linux >= 5.15 with AF_XDP. Everything is made in namespaces of its own
and is gone afterwards, also after Ctrl-C. Exit status 0 only if nothing was lost.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Trials < 1 {
				return fmt.Errorf("%w: --trials %d: at least one", api.ErrUsage, o.Trials)
			}
			binary, err := os.Executable()
			if err != nil {
				return fmt.Errorf("demo: %w", err)
			}
			o.Binary = binary
			o.Progress = cmd.OutOrStdout()
			if c.json {
				o.Progress = cmd.ErrOrStderr()
			}
			report, err := demo.Run(cmd.Context(), o)
			if errors.Is(err, context.Canceled) {
				return fmt.Errorf("demo: interrupted; everything it had made is gone")
			}
			if err != nil {
				return err
			}
			if c.json {
				err = report.WriteJSON(cmd.OutOrStdout())
			} else {
				report.WriteText(cmd.OutOrStdout())
			}
			if err == nil && !report.OK {
				return errSilent
			}
			return err
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Trials, "trials", o.Trials, "how many times, each with a new lab")
	f.BoolVar(&o.Keep, "keep", false, "leave the last lab up until Ctrl-C and print how to look inside")
	f.StringVar(&o.Sync, "sync", o.Sync, "the rule's replication: async, or none to see everything lost")
	f.Int64Var(&o.Bytes, "bytes", o.Bytes, "size of the download")
	f.IntVar(&o.Fresh, "fresh", o.Fresh, "connections to open after the failover")
	return cmd
}
