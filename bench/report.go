package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"holdfast/bench/report"
)

// newReport makes the page, and the tables of documents, of all results.
func newReport() *cobra.Command {
	var results, with, page string
	var tables bool
	cmd := &cobra.Command{
		Use: "report", Short: "Write the page, and with --tables those of README and docs, from the committed results", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			history, err := report.LoadHistory(results)
			if err != nil {
				return err
			}
			if tables {
				if err := writeTables(history); err != nil {
					return err
				}
			}
			if with != "" {
				last, err := report.Load(with)
				if err != nil {
					return err
				}
				history = append(history, last)
			}
			f, err := os.Create(page)
			if err != nil {
				return err
			}
			if err := errors.Join(history.WritePage(f), f.Close()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "wrote %s\n", page)
			return nil
		},
	}
	cmd.Flags().StringVar(&results, "results", "bench/results", "the `FOLDER` of committed results")
	cmd.Flags().StringVar(&with, "with", "", "a further result, not committed, as the newest (`FILE`)")
	cmd.Flags().StringVar(&page, "page", "bin/bench.html", "the page goes to this `FILE`")
	cmd.Flags().BoolVar(&tables, "tables", false, "write the tables of README.md and docs anew (in the project's folder)")
	return cmd
}

// writeTables writes the generated tables of all documents anew.
func writeTables(history report.History) error {
	documents, err := report.Documents(os.DirFS("."))
	if err != nil {
		return err
	}
	for _, name := range documents {
		text, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			return err
		}
		anew, err := history.Rewrite(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if anew != string(text) {
			if err := os.WriteFile(filepath.FromSlash(name), []byte(anew), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
