package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"holdfast/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := newRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// Row and Point are what a scenario makes.
type (
	Row   = report.Row
	Point = report.Point
)

func newRoot() *cobra.Command {
	root := &cobra.Command{Use: "bench", Short: "Holdfast beside its peers", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(newList(), newRun(), newCompare(), newReport(), newGenerators(), newBare(), newAFXDP())
	return root
}

func newCompare() *cobra.Command {
	return &cobra.Command{
		Use: "compare A.json B.json", Short: "Compare two stored results; fails where B is worse than the rounds scatter", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var results [2]*report.Result
			for i, path := range args {
				var err error
				if results[i], err = report.Load(path); err != nil {
					return err
				}
			}
			worse, err := report.WriteChanges(cmd.OutOrStdout(), report.Compare(results[0], results[1]))
			if err == nil && worse > 0 {
				err = fmt.Errorf("%d points of %s are worse than in %s", worse, args[1], args[0])
			}
			return err
		},
	}
}
