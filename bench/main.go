package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := newRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// Row is one row of the report. Every ID is a row of the goals.
type Row struct {
	ID     string  `json:"id"`
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Notes  string  `json:"notes,omitempty"`
	Points []Point `json:"points"`
}

// Point is one measured value. Min and Max are over the rounds, Value is their median.
type Point struct {
	At    string             `json:"at"`
	Value float64            `json:"value"`
	Min   float64            `json:"min"`
	Max   float64            `json:"max"`
	Must  float64            `json:"must,omitempty"`
	Aim   float64            `json:"aim,omitempty"`
	OK    bool               `json:"ok"`
	Peers map[string]float64 `json:"peers,omitempty"`
}

// Result is what a run prints and stores.
type Result struct {
	Machine Machine `json:"machine"`
	Rows    []Row   `json:"rows"`
}

// Scenario measures one row.
type Scenario struct {
	ID, Name string
	Run      func(ctx context.Context, quick bool, progress io.Writer) (Row, error)
}

// scenarios are all there are, in the order of their rows.
func scenarios() []Scenario {
	return []Scenario{
		{"N1", "forwarded packets per second, established, 64 bytes, against a bare AF_XDP forwarder", forwarding},
		{"N1-tcp", "the same with TCP connections that handshakes opened", forwardingTCP},
		{"N2", "ns per packet of an established connection, tracker alone", tracking},
		{"N3", "ns per new connection, tracker and journal alone", births},
		{"N4", "bytes per connection", memory},
		{"N5", "which rule decides on a first packet, 10 to 100,000 rules", matching},
		{"N6", "a reload of 100,000 rules, from the text to the swap", reloading},
		{"N7", "replication bytes for a new, a changed and an ended connection", bytesPerChange},
		{"N8", "throughput with replication on, against off", replicating},
		{"N9", "bulk transfer to a joining node while the live stream goes on", joining},
		{"rounds", "the cost of comparing tables, and what packets feel of it", comparing},
		{"N14", "kill by gateway, last packet", killByGateway},
		{"N15", "kill by any selector, last packet", killByAny},
		{"N16", "two workers against one, tracker alone", twoWorkers},
		{"N18", "a deferred first packet, two nodes", deferring},
		{"flood", "a SYN flood against a table of 100,000 connections, real clients going on", flood},
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{Use: "bench", Short: "Holdfast beside its peers", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(newList(), newRun(), newCompare(), newGenerators(), newBare(), newAFXDP())
	return root
}

func newList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the rows", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			for _, s := range scenarios() {
				fmt.Fprintf(cmd.OutOrStdout(), "%-4s %s\n", s.ID, s.Name)
			}
		},
	}
}

func newRun() *cobra.Command {
	var quick, asJSON bool
	var out string
	cmd := &cobra.Command{
		Use: "run [ROW...]", Short: "Measure rows, all of them by default",
		RunE: func(cmd *cobra.Command, args []string) error {
			result := Result{Machine: describe()}
			for _, id := range args {
				if !slices.ContainsFunc(scenarios(), func(s Scenario) bool { return s.ID == id }) {
					return fmt.Errorf("no row %s: see `bench list`", id)
				}
			}
			for _, s := range scenarios() {
				if len(args) > 0 && !slices.Contains(args, s.ID) {
					continue
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", s.ID, s.Name)
				row, err := s.Run(cmd.Context(), quick, cmd.ErrOrStderr())
				if err != nil {
					return fmt.Errorf("%s: %w", s.ID, err)
				}
				result.Rows = append(result.Rows, row)
			}
			if out != "" {
				if err := result.store(out); err != nil {
					return err
				}
			}
			if asJSON {
				return result.encode(cmd.OutOrStdout())
			}
			_, err := io.WriteString(cmd.OutOrStdout(), result.Markdown())
			return err
		},
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "few and short rounds: for looking, not for acceptance")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object; progress goes to standard error")
	cmd.Flags().StringVar(&out, "out", "", "also store the result in this `FILE` (JSON) and its table beside it (.md)")
	return cmd
}

func (r *Result) encode(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// store writes FILE.json's object and the table that documents are made from.
func (r *Result) store(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(r.encode(f), f.Close()); err != nil {
		return err
	}
	return os.WriteFile(strings.TrimSuffix(path, ".json")+".md", []byte(r.Markdown()), 0o644)
}

// Markdown returns the result as a table.
func (r *Result) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores, Linux %s, %s\n\n", r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Date)
	b.WriteString("| row | at | Holdfast | min - max | peers | goal |\n|---|---|---|---|---|---|\n")
	for _, row := range r.Rows {
		for _, p := range row.Points {
			fmt.Fprintf(&b, "| %s %s | %s | %s %s | %s - %s | %s | %s |\n", row.ID, row.Name, p.At,
				figure(p.Value), row.Unit, figure(p.Min), figure(p.Max), p.peers(), p.goal())
		}
	}
	for _, row := range r.Rows {
		if row.Notes != "" {
			fmt.Fprintf(&b, "\n%s: %s\n", row.ID, row.Notes)
		}
	}
	return b.String()
}

func (p *Point) peers() string {
	var parts []string
	for name, v := range p.Peers {
		parts = append(parts, name+" "+figure(v))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func (p *Point) goal() string {
	if p.Must == 0 {
		return ""
	}
	verdict := "reached"
	if !p.OK {
		verdict = "**missed**"
	}
	return fmt.Sprintf("must %s, aim %s: %s", figure(p.Must), figure(p.Aim), verdict)
}

// figure prints a number with as many digits as mean something.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func newCompare() *cobra.Command {
	return &cobra.Command{
		Use: "compare A.json B.json", Short: "Compare two stored results row by row", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var results [2]Result
			for i, path := range args {
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				if err := json.Unmarshal(b, &results[i]); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(t, "row\tat\tA\tB\tB/A")
			for _, a := range results[0].Rows {
				for _, p := range a.Points {
					if q := results[1].find(a.ID, p.At); q != nil {
						fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.3f\n", a.ID, p.At, figure(p.Value), figure(q.Value), q.Value/p.Value)
					}
				}
			}
			return t.Flush()
		},
	}
}

func (r *Result) find(id, at string) *Point {
	for _, row := range r.Rows {
		for i := range row.Points {
			if row.ID == id && row.Points[i].At == at {
				return &row.Points[i]
			}
		}
	}
	return nil
}
