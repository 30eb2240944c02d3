package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane"
	"holdfast/dataplane/capture"
)

func newCrashes(c *common) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "crashes",
		Short: "Packets that made a worker panic, with the stacks",
		Long: `Prints the last panics of workers since the daemon's start. Each was contained: the
packet was dropped and no other, and is dropped undecoded from then on, here and at the
peers, for ten minutes. Every one is a defect of Holdfast: please report it, with the file
that --write writes (pcapng: the packets, with the stacks as comments). The packets are as
they came, so look at what is in them before you give them away.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := c.client().Crashes(cmd.Context())
			if err != nil {
				return err
			}
			if file != "" {
				if err := writeCrashes(file, &all); err != nil {
					return err
				}
			}
			return c.print(cmd.OutOrStdout(), all, func(w io.Writer) { printCrashes(w, &all) })
		},
	}
	cmd.Flags().StringVar(&file, "write", "", "write the packets to this pcapng `FILE` too, which must not exist")
	return cmd
}

func printCrashes(w io.Writer, all *api.Crashes) {
	for i := range all.Crashes {
		c := &all.Crashes[i]
		way := "in by"
		if c.Own {
			way = "out by"
		}
		fmt.Fprintf(w, "%s  worker %d, %d bytes %s %s, digest %s\n  %s\n%s\n", c.At.Local().Format("2006-01-02 15:04:05.000"),
			c.Worker, len(c.Frame), way, c.Port, c.Digest, c.Panic, indented(c.Stack))
	}
	fmt.Fprintf(w, "%d panics since the daemon's start, %d shown\n", all.Count, len(all.Crashes))
}

// indented is a text with every line moved in.
func indented(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}

// writeCrashes writes the packets that could be blamed.
func writeCrashes(name string, all *api.Crashes) error {
	var crashes []capture.Crash
	for i := range all.Crashes {
		c := &all.Crashes[i]
		if len(c.Frame) == 0 {
			continue
		}
		sense := dataplane.LogInbound
		if c.Own {
			sense = dataplane.LogOutbound
		}
		crashes = append(crashes, capture.Crash{At: c.At, Port: c.Port, Sense: sense, Frame: c.Frame, Says: c.Panic, Stack: c.Stack, Worker: c.Worker})
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing crashes: %w", err)
	}
	if err := capture.WriteCrashes(f, all.Ports, crashes, "holdfast "+version); err != nil {
		f.Close()
		return fmt.Errorf("writing crashes to %s: %w", name, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("writing crashes to %s: %w", name, err)
	}
	return nil
}
