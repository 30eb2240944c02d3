package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"holdfast/sync/seal"
)

func newKey() *cobra.Command {
	key := &cobra.Command{
		Use:   "key",
		Short: "Make keys for the sync link",
		Args:  usage(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	key.AddCommand(&cobra.Command{
		Use:   "new",
		Short: "Print a new key file; the same file goes to every node of the cluster",
		Long: `Prints a new key file. Store it with mode 0600 on every node of the cluster:

  (umask 077; holdfast key new > /etc/holdfast/cluster.key)`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s", seal.FormatKeyFile(seal.NewKey()))
			return err
		},
	})
	return key
}
