// Command holdfast is a stateful firewall whose connections survive the death of a
// node: the daemon, its control commands and a demonstration, in one binary.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
)

// version is set by the build (-ldflags -X main.version=...).
var version = "development"

// Exit codes, the same for every command.
const (
	exitDone        = 0
	exitRefused     = 1 // refused, not found, or degraded
	exitUsage       = 2
	exitUnreachable = 3
)

// errSilent ends a command with exitRefused after it has said everything itself.
var errSilent = errors.New("said already")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	root := newRoot()
	err := root.ExecuteContext(ctx)
	stop()
	if err != nil && !errors.Is(err, errSilent) {
		fmt.Fprintln(os.Stderr, "holdfast:", err)
	}
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, api.ErrUnreachable):
		return exitUnreachable
	case errors.Is(err, api.ErrUsage):
		return exitUsage
	}
	return exitRefused
}

// common holds the flags that every control command has.
type common struct {
	socket string
	json   bool
}

func (c *common) client() *api.Client { return api.NewClient(c.socket) }

// print writes v as one JSON object where --json was given, else lets text say it.
func (c *common) print(w io.Writer, v any, text func(io.Writer)) error {
	if !c.json {
		text(w)
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newRoot() *cobra.Command {
	c := &common{}
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "A stateful firewall whose connections survive the death of a node",
		Long: `Holdfast is a stateful firewall for Linux appliances with dedicated NICs. It takes
packets with AF_XDP, tracks connections in user space and replicates each one to
its peers while it forwards, so that a node can die and its connections hold fast.

Try it: "holdfast demo" (as root) kills the active one of two firewalls in the
middle of a download.

Exit status: 0 done; 1 refused, not found or (status) degraded; 2 wrong usage;
3 daemon not reachable.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage(cobra.NoArgs), // an unknown command
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&c.socket, "socket", "/run/holdfast/holdfast.sock", "unix socket of the daemon")
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print one JSON object")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: %s: %w; see `%s --help`", api.ErrUsage, cmd.CommandPath(), err, cmd.CommandPath())
	})
	root.AddCommand(
		newRun(), newWitness(c), newCheck(c), newStatus(c), newConns(c), newKill(c), newWatch(c), newPromote(c), newDemote(c),
		newRules(c), newExplain(c), newPlan(c), newReload(c), newConfirm(c),
		newDrops(c), newCrashes(c), newGateways(c), newTables(c), newDetach(c), newKey(), newSync(c), newDemo(c), newVersion(c),
	)
	return root
}

// usage turns an argument check into one whose failure is wrong usage (exit 2).
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return fmt.Errorf("%w: %s: %w; see `%s --help`", api.ErrUsage, cmd.CommandPath(), err, cmd.CommandPath())
		}
		return nil
	}
}

func newVersion(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.print(cmd.OutOrStdout(), map[string]string{"version": version}, func(w io.Writer) {
				fmt.Fprintln(w, "holdfast", version)
			})
		},
	}
}
