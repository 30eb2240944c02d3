package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/pprof"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"

	"holdfast/cmd/internal/api"
	"holdfast/cmd/internal/node"
	"holdfast/dataplane/xdp"
)

const defaultNodeFile = "/etc/holdfast/node.toml"

func newRun() *cobra.Command {
	var file, profile string
	cmd := &cobra.Command{
		Use:   "run --config FILE",
		Short: "Run the daemon in the foreground",
		Long: `Runs the node that FILE describes (see examples/node.toml) until SIGTERM or Ctrl-C.
Then the role is handed to a peer, and the node's ports stay mute until
"holdfast detach". SIGHUP to the active node is "holdfast reload".

Logs go to standard error. Under systemd (Type=notify) it tells when it runs.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			stop, err := startProfile(profile)
			if err != nil {
				return err
			}
			return errors.Join(node.Run(cmd.Context(), file, version, log), stop())
		},
	}
	cmd.Flags().StringVar(&file, "config", defaultNodeFile, "the node `FILE`")
	cmd.Flags().StringVar(&profile, "cpuprofile", "", "write a CPU profile (go tool pprof) to this `FILE`")
	return cmd
}

// startProfile begins a CPU profile of the daemon where a file is named; stop ends it.
func startProfile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("profile: %w", err), f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

func newCheck(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say everything that is wrong with a node file or a policy",
		Long: `Reads a node file together with the policy that it names, or a policy alone, and
prints everything that is wrong as file:line:column: what is wrong: how to mend.
Nothing is started and no device is touched.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			report := node.Check(args[0])
			if err := c.print(cmd.OutOrStdout(), report, func(w io.Writer) {
				for _, n := range report.Notices {
					fmt.Fprintln(w, n)
				}
				if len(report.Errors) == 0 {
					fmt.Fprintf(w, "%s: good: %d rules, policy %s\n", args[0], report.Rules, report.Hash)
				}
			}); err != nil {
				return err
			}
			return tellErrors(cmd, report.Errors)
		},
	}
}

// tellErrors prints what is wrong with a policy, and returns an error if anything is.
func tellErrors(cmd *cobra.Command, wrong []string) error {
	for _, e := range wrong {
		fmt.Fprintln(cmd.ErrOrStderr(), e)
	}
	if len(wrong) > 0 {
		return errSilent
	}
	return nil
}

func newDetach(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "detach [DEVICE...]",
		Short: "Give this node's devices back to the kernel",
		Long: `Takes the addresses off and the ports down, then removes every program of Holdfast
from the named devices, or from all devices that carry one. Refused while a daemon
runs: stop it first.`,
		RunE: func(cmd *cobra.Command, devices []string) error {
			if os.Geteuid() != 0 {
				return errors.New("holdfast detach needs root (CAP_NET_ADMIN, CAP_BPF): start it as root")
			}
			lock, err := api.Lock(c.socket)
			if err != nil {
				return err
			}
			defer lock.Close()
			if len(devices) == 0 {
				if devices, err = attachedDevices(); err != nil {
					return err
				}
			}
			var errs []error
			done := []string{}
			for _, device := range devices {
				if err := xdp.Detach(device); err != nil {
					errs = append(errs, err)
					continue
				}
				done = append(done, device)
			}
			errs = append(errs, c.print(cmd.OutOrStdout(), map[string][]string{"detached": done}, func(w io.Writer) {
				for _, device := range done {
					fmt.Fprintln(w, device, "is the kernel's again; it is down and has no addresses")
				}
				if len(done) == 0 && len(errs) == 0 {
					fmt.Fprintln(w, "no device carries a program of Holdfast")
				}
			}))
			return errors.Join(errs...)
		},
	}
}

// attachedDevices lists the devices of this network namespace that carry our programs.
func attachedDevices() (names []string, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing devices: %w", err)
	}
	for _, l := range links {
		if l.Attrs().EncapType != "ether" {
			continue // the loopback, a tunnel: never ours
		}
		name := l.Attrs().Name
		attached, err := xdp.Attached(name)
		if err != nil {
			return nil, err
		}
		if attached {
			names = append(names, name)
		}
	}
	return names, nil
}
