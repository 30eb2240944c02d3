package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"holdfast/cmd/internal/api"
	"holdfast/sync/cluster"
	"holdfast/sync/seal"
)

// witnessFlags is what `holdfast witness` is told.
type witnessFlags struct {
	keyFile, address, device string
	nodes                    []string
}

func newWitness(_ *common) *cobra.Command {
	var f witnessFlags
	cmd := &cobra.Command{
		Use:   "witness --key-file FILE --address ADDRESS:PORT --node ADDRESS:PORT --node ADDRESS:PORT",
		Short: "A third node without ports that settles who serves",
		Long: `Runs the witness of a cluster whose policy says alone = "witness", until SIGTERM or
Ctrl-C: it has one vote on who forwards, and gives it to nobody else before the node
that has it must have fallen silent. It keeps nothing, needs no root, and belongs on a
machine whose way to each node is not the nodes' way to each other.

Each --node is the "address" of a node's [cluster] witness. SIGHUP reads the key
file anew. Losing the witness alone changes nothing.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.keyFile, "key-file", "", "the key `FILE` that all nodes share")
	flags.StringVar(&f.address, "address", "", "where the nodes ask: the `ADDRESS:PORT` of this end")
	flags.StringArrayVar(&f.nodes, "node", nil, "`ADDRESS:PORT` of a node; once for each")
	flags.StringVar(&f.device, "device", "", "bind to this `DEVICE` (needs CAP_NET_RAW); any if empty")
	return cmd
}

func (f *witnessFlags) run(ctx context.Context, log *slog.Logger) (err error) {
	links, err := f.links()
	if err != nil {
		return fmt.Errorf("%w: holdfast witness: %w; see `holdfast witness --help`", api.ErrUsage, err)
	}
	keys, err := seal.ReadKeyFile(f.keyFile)
	if err != nil {
		return err
	}
	ways, err := cluster.OpenLinks(links, cluster.Life{Keys: keys})
	if err != nil {
		return err
	}
	defer func() {
		for _, w := range ways {
			err = errors.Join(err, w.Close())
		}
	}()
	w := cluster.NewWitness(ways, nil)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, unix.SIGHUP)
	defer signal.Stop(hangups)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
				keys, err := seal.ReadKeyFile(f.keyFile)
				if err == nil {
					err = w.SetKeys(keys)
				}
				if err != nil {
					log.Error("the keys stay as they are", "err", err)
					continue
				}
				log.Info("keys read", "used", keys[0].Fingerprint())
			}
		}
	}()
	log.Info("witness", "address", f.address, "nodes", f.nodes)
	return w.Run(ctx)
}

// links makes the ways to the nodes of what the flags say.
func (f *witnessFlags) links() (all []cluster.LinkConfig, err error) {
	if f.keyFile == "" {
		return nil, errors.New("--key-file is missing")
	}
	own, err := netip.ParseAddrPort(f.address)
	if err != nil {
		return nil, fmt.Errorf("--address %q: %w", f.address, err)
	}
	if len(f.nodes) < 2 || len(f.nodes) > 8 {
		return nil, fmt.Errorf("%d nodes: a cluster has two to eight, say --node once for each", len(f.nodes))
	}
	seen := map[netip.AddrPort]bool{}
	for _, text := range f.nodes {
		node, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, fmt.Errorf("--node %q: %w", text, err)
		}
		if seen[node] {
			return nil, fmt.Errorf("--node %s is said twice", node)
		}
		seen[node] = true
		all = append(all, cluster.LinkConfig{Device: f.device, Local: own, Peer: node})
	}
	return all, nil
}
