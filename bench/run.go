package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/bench/report"
	"holdfast/internal/lab"
)

// suite is one run: which rows, how, and what came of them.
type suite struct {
	quick  bool
	rows   []Scenario
	bar    *bar
	result report.Result
	failed []string // rows
}

func newRun() *cobra.Command {
	var quick, asJSON bool
	var out string
	cmd := &cobra.Command{
		Use: "run [ROW...]", Short: "Measure rows, all of them by default",
		RunE: func(cmd *cobra.Command, args []string) error {
			rows, err := chosen(args)
			if err != nil {
				return err
			}
			s := &suite{quick: quick, rows: rows, bar: newBar(cmd.ErrOrStderr(), rows, quick)}
			s.run(cmd.Context())
			if out != "" {
				if err := s.store(out); err != nil {
					return err
				}
			}
			if asJSON {
				err = s.result.Encode(cmd.OutOrStdout())
			} else {
				_, err = io.WriteString(cmd.OutOrStdout(), s.result.Table())
			}
			if err == nil && len(s.failed) > 0 {
				err = fmt.Errorf("not measured: %s (the result says why)", strings.Join(s.failed, ", "))
			}
			return errors.Join(err, cmd.Context().Err())
		},
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "few and short rounds: for looking, not for acceptance")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object; progress goes to standard error")
	cmd.Flags().StringVar(&out, "out", "", "also store the result in this `FILE`, or in a folder under the name of the day")
	return cmd
}

// chosen are the scenarios that are named, all of them where none is.
func chosen(ids []string) (rows []Scenario, err error) {
	all := scenarios()
	for _, id := range ids {
		if !slices.ContainsFunc(all, func(s Scenario) bool { return s.ID == id }) {
			return nil, fmt.Errorf("no row %s is measured: see `bench list`", id)
		}
	}
	for _, s := range all {
		if len(ids) == 0 || slices.Contains(ids, s.ID) {
			rows = append(rows, s)
		}
	}
	return rows, nil
}

// run measures one row after the other. A row that cannot be measured says why and hides no
// other.
func (s *suite) run(ctx context.Context) {
	s.result = report.Result{Schema: report.Schema, Machine: describe()}
	defer s.bar.close()
	for i := range s.rows {
		row := s.row(ctx, &s.rows[i])
		if ctx.Err() != nil && row.Missing != "" {
			return // interrupted: what is measured is kept
		}
		s.result.Rows = append(s.result.Rows, row)
	}
}

func (s *suite) row(ctx context.Context, scenario *Scenario) Row {
	limit := scenario.limit(s.quick)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("given up after %v", limit))
	defer cancel()
	load, begin := loadAverage(), time.Now()
	s.bar.begin(scenario)
	row, err := scenario.Run(ctx, s.quick, s.bar)
	row.Notes = strings.TrimSpace(row.Notes)
	row.ID, row.Better, row.Quick = scenario.ID, scenario.Better, s.quick
	row.Measured, row.Seconds, row.Load = begin.UTC().Truncate(time.Second), time.Since(begin).Round(time.Millisecond).Seconds(), load
	if row.Name == "" {
		row.Name = scenario.Name
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		row.Points, row.Missing = nil, err.Error()
		if lab.Available() == nil { // without namespaces it could not be
			s.failed = append(s.failed, scenario.ID)
		}
		fmt.Fprintf(s.bar, "  %s is not measured: %v\n", scenario.ID, err)
	}
	s.bar.end()
	return row
}

// store writes the result; in a folder it is named after the day.
func (s *suite) store(out string) error {
	if info, err := os.Stat(out); err == nil && info.IsDir() {
		if out, err = report.NextName(out, s.result.Machine.Date); err != nil {
			return err
		}
	}
	return s.result.Store(out)
}

// loadAverage is how many threads wanted a core, over the last minute (proc(5), loadavg).
func loadAverage() float64 {
	text, _ := os.ReadFile("/proc/loadavg") // without it: 0
	first, _, _ := strings.Cut(string(text), " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
}
