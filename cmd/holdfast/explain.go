package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"holdfast/cmd/internal/api"
	"holdfast/cmd/internal/explain"
)

func newExplain(c *common) *cobra.Command {
	var file, trace string
	var r api.ExplainRequest
	cmd := &cobra.Command{
		Use:   "explain --in PORT --proto PROTO --from ADDR:PORT --to ADDR:PORT",
		Short: "Say what would become of a packet, and why",
		Long: `Takes a packet through what the path would do with it, step by step: connection,
destination NAT, route, rules, limits, source NAT. Every rule that is asked is listed up to
the one that decides, with the first condition in which the packet differs; of a long
ruleset only those that matched and those that come nearest (--all: every one).

The running node is asked, as it is at this moment; nothing is sent, counted or changed.
With --config FILE a node file or a policy is asked, without a node: then no route of the
kernel, no neighbour and no connection is known. With --pcap too, each packet of a trace
that was taken on the port is explained on a line, and later packets of a connection, with
the answers that leave by the port, belong to it.

  holdfast explain --in lan --proto tcp --from 10.0.0.5:40000 --to 198.51.100.9:443
  holdfast explain --config policy.toml --in wan --proto icmp --from 198.51.100.9 --to 203.0.113.2
  holdfast explain --config policy.toml --in lan --pcap trace.pcap

ICMP packets are echo requests. --json prints one object; with --pcap one per packet.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.In == "" {
				return fmt.Errorf("%w: holdfast explain: --in names the port; see `holdfast explain --help`", api.ErrUsage)
			}
			switch {
			case trace != "" && file == "":
				return fmt.Errorf("%w: holdfast explain: --pcap needs --config; see `holdfast explain --help`", api.ErrUsage)
			case trace != "":
				return c.explainTrace(cmd, file, trace, r.In)
			case file != "":
				return c.explainFile(cmd, file, &r)
			}
			x, err := c.client().Explain(cmd.Context(), r)
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), x, func(w io.Writer) { printExplained(w, &x) })
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "ask this node `FILE` or policy, not the running node")
	cmd.Flags().StringVar(&trace, "pcap", "", "explain each packet of this pcap or pcapng `FILE`; with --config")
	cmd.Flags().StringVar(&r.In, "in", "", "the `PORT` that the packet comes in by")
	cmd.Flags().StringVar(&r.Proto, "proto", "tcp", "tcp, udp, icmp or icmpv6")
	cmd.Flags().StringVar(&r.From, "from", "", "source, as `ADDR:PORT`; for ICMP an address alone")
	cmd.Flags().StringVar(&r.To, "to", "", "destination, likewise, as `ADDR:PORT`")
	cmd.Flags().StringVar(&r.Flags, "flags", "", "TCP flags, `LETTERS` of FSRPAUEW (default S)")
	cmd.Flags().Uint8Var(&r.TTL, "ttl", 0, "time to live or hop limit (default 64)")
	cmd.Flags().BoolVar(&r.All, "all", false, "list every rule that is asked")
	return cmd
}

// explainFile explains a packet to what a file says.
func (c *common) explainFile(cmd *cobra.Command, file string, r *api.ExplainRequest) (err error) {
	v, err := explain.Load(file)
	if err != nil {
		return err
	}
	defer v.Close()
	x := api.Explained{File: v.Policy.File, Hash: fmt.Sprintf("%016x", v.Policy.Hash()), Unknown: explain.Unknown}
	if x.Explanation, err = v.Explain(r, 0); err != nil {
		return err
	}
	return c.print(cmd.OutOrStdout(), x, func(w io.Writer) { printExplained(w, &x) })
}

// explainTrace explains the packets of a trace.
func (c *common) explainTrace(cmd *cobra.Command, file, trace, port string) error {
	v, err := explain.Load(file)
	if err != nil {
		return err
	}
	defer v.Close()
	f, err := os.Open(trace)
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	defer f.Close()
	out := cmd.OutOrStdout()
	lines := json.NewEncoder(out)
	if err := v.Trace(f, port, func(x *api.Explanation) error {
		if c.json {
			return lines.Encode(x)
		}
		printTraced(out, x)
		return nil
	}); err != nil {
		return fmt.Errorf("%s: %w", trace, err)
	}
	return nil
}

// printTraced writes a packet of a trace on one line.
func printTraced(w io.Writer, x *api.Explanation) {
	why := ""
	for _, s := range x.Steps {
		if s.Step == "connection" && s.Before != "" {
			why = "  of a connection"
		}
	}
	if x.Rule != "" {
		why += fmt.Sprintf("  %s %s", x.Rule, fileLine(x.Position))
	}
	fmt.Fprintf(w, "%d  %s  in %s  %s%s\n", x.Number, strings.TrimSpace(x.Verdict+" "+x.Reason), x.In, x.Packet, why)
}

// fileLine writes file:line of file:line:column.
func fileLine(position string) string {
	if i := strings.LastIndexByte(position, ':'); i >= 0 {
		return position[:i]
	}
	return position
}

func printExplained(w io.Writer, x *api.Explained) {
	fmt.Fprintf(w, "%s, in by %s\n%s  policy %s", x.Packet, x.In, x.File, x.Hash)
	if x.Node != "" {
		fmt.Fprintf(w, ", generation %d on %s", x.Generation, x.Node)
	}
	fmt.Fprint(w, "\n\n")
	for i := range x.Steps {
		printStep(w, &x.Steps[i])
	}
	for _, s := range x.Unknown {
		fmt.Fprintf(w, "\nnot known from the file: %s", s)
	}
	if len(x.Unknown) > 0 {
		fmt.Fprintln(w)
	}
}

func printStep(w io.Writer, s *api.ExplainStep) {
	fmt.Fprintf(w, "%-11s %s", s.Step, s.Says)
	if s.Position != "" {
		fmt.Fprintf(w, " (%s)", fileLine(s.Position))
	}
	fmt.Fprintln(w)
	if s.After != "" {
		fmt.Fprintf(w, "%11s %s\n%11s becomes %s\n", "", s.Before, "", s.After)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, r := range s.Rules {
		fmt.Fprintf(t, "            %s\t%s\t%s\t%s\n", fileLine(r.Position), r.Action, r.ID, cmp.Or(r.Says, r.Differs))
	}
	t.Flush()
	if s.LeftOut > 0 {
		fmt.Fprintf(w, "            %d rules that differ earlier are left out: --all lists them\n", s.LeftOut)
	}
}
