package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/internal/api"
	"holdfast/rules/config"
)

const tablesHelp = `Tables hold addresses that rules name by "<name>" in their from and to. The policy says
which there are and may give them entries; commands add others, which packets meet at
once. An entry is an address, a prefix, a range, or one of them behind a "!", which keeps
its addresses out; the narrowest entry that has an address decides about it. Connections
that live are not asked again: "holdfast kill" ends them.

Commands change the node that they ask, and no other: run them on each node.
`

func newTables(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tables",
		Short: "List the tables of addresses; show, test and change them",
		Long:  "Lists the tables with how many entries they have.\n\n" + tablesHelp,
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := c.client().Tables(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), list, func(w io.Writer) { printTables(w, &list) })
		},
	}
	cmd.AddCommand(newTablesShow(c), newTablesTest(c), newTablesAdd(c), newTablesDelete(c), newTablesFlush(c), newTablesReplace(c))
	return cmd
}

func printTables(w io.Writer, list *api.Tables) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "TABLE\tWRITTEN\tADDED\tMAX\tTIMEOUT\tREFUSED")
	for _, x := range list.Tables {
		most, timeout := fmt.Sprint(x.Max), "-"
		if x.Const {
			most = "const"
		} else if x.Timeout > 0 {
			timeout = ago(x.Timeout)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%d\n", x.Name, x.Written, x.Added, most, timeout, x.Refused)
	}
	t.Flush()
}

// ago writes a number of seconds, "-" for a negative one.
func ago(seconds float64) string {
	if seconds < 0 {
		return "-"
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

func newTablesShow(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "List the entries of a table",
		Long: `Lists the entries of a table, first those that the policy has with their place in it,
then those that were added with what is left of their lifetime; and how many connections
a rule has decided on by each, and how long ago the last of them was.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := c.client().TableEntries(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), list, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
				fmt.Fprintln(t, "ENTRY\tFROM\tLEFT\tMATCHES\tLAST")
				for i := range list.Entries {
					x := &list.Entries[i]
					fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", x.Entry, cameFrom(x), ago(x.Left), x.Matches, ago(x.Last))
				}
				t.Flush()
			})
		},
	}
}

// cameFrom says why an entry is there.
func cameFrom(e *api.TableEntry) string {
	switch {
	case e.Written != "":
		return e.Written
	case e.Rule != "":
		return e.Cause + " " + e.Rule
	}
	return e.Cause
}

func newTablesTest(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "test NAME ADDR",
		Short: "Say whether a table holds an address, and by which entry",
		Long:  "Says whether a table holds an address, and by which entry. Exit status 0 if it does, 1 if not.",
		Args:  usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := c.client().TableTest(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			if err := c.print(cmd.OutOrStdout(), r, func(w io.Writer) {
				switch {
				case r.Entry == nil:
					fmt.Fprintf(w, "%s is not in %s: no entry has it\n", r.Address, r.Table)
				case r.Holds:
					fmt.Fprintf(w, "%s is in %s by %s (%s)\n", r.Address, r.Table, r.Entry.Entry, cameFrom(r.Entry))
				default:
					fmt.Fprintf(w, "%s is not in %s: %s (%s) keeps it out\n", r.Address, r.Table, r.Entry.Entry, cameFrom(r.Entry))
				}
			}); err != nil {
				return err
			}
			if !r.Holds {
				return errSilent
			}
			return nil
		},
	}
}

// timeoutFlag gives a command the flag --timeout; the function returns what it says.
func timeoutFlag(cmd *cobra.Command) func() (*float64, error) {
	var timeout time.Duration
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long the entries stay, such as 1h; 0: for good (default: as the table says)")
	return func() (*float64, error) {
		if !cmd.Flags().Changed("timeout") {
			return nil, nil
		}
		if timeout < 0 {
			return nil, fmt.Errorf("%w: --timeout %v: it is 0 or more", api.ErrUsage, timeout)
		}
		seconds := timeout.Seconds()
		return &seconds, nil
	}
}

func newTablesAdd(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME ADDR...",
		Short: "Add addresses, prefixes or ranges to a table",
		Long: `Adds entries to a table. One that is there already lives anew. An entry that the policy
has with a "!" cannot be added.

  holdfast tables add brutes 203.0.113.5 198.51.100.0/24 --timeout 1h
  holdfast tables add brutes '!198.51.100.7'
`,
		Args: usage(cobra.MinimumNArgs(2)),
	}
	timeout := timeoutFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		r := api.TableRequest{Table: args[0], Entries: args[1:]}
		if r.Timeout, err = timeout(); err != nil {
			return err
		}
		done, err := c.client().TableAdd(cmd.Context(), r)
		if err != nil {
			return err
		}
		return c.print(cmd.OutOrStdout(), done, func(w io.Writer) {
			fmt.Fprintf(w, "%s: %d added to %s", done.Node, done.Added, done.Table)
			if done.Refreshed > 0 {
				fmt.Fprintf(w, ", %d were there", done.Refreshed)
			}
			fmt.Fprintln(w)
		})
	}
	return cmd
}

func newTablesDelete(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME ADDR...",
		Short: "Take entries that were added out of a table",
		Long: `Takes entries that were added out of a table. An entry is named as it was added, not by
an address that it holds. What the policy has stays: to except from it, add an entry
with a "!".`,
		Args: usage(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.deleted(cmd)(c.client().TableDelete(cmd.Context(), api.TableRequest{Table: args[0], Entries: args[1:]}))
		},
	}
}

func newTablesFlush(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "flush NAME",
		Short: "Take all entries that were added out of a table",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.deleted(cmd)(c.client().TableFlush(cmd.Context(), api.TableRequest{Table: args[0]}))
		},
	}
}

func (c *common) deleted(cmd *cobra.Command) func(api.TableChange, error) error {
	return func(done api.TableChange, err error) error {
		if err != nil {
			return err
		}
		return c.print(cmd.OutOrStdout(), done, func(w io.Writer) {
			fmt.Fprintf(w, "%s: %d deleted from %s\n", done.Node, done.Deleted, done.Table)
		})
	}
}

// tableFileMax bounds what is read for a table, in bytes, as the policy's own files are.
const tableFileMax = 8 << 20

func newTablesReplace(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replace NAME FILE",
		Short: "Put the entries of a file in the place of all that were added",
		Long: `Puts the entries of a file, or of standard input where FILE is -, in the place of all
that were added to a table, in one step: what both lists hold is held throughout. A file has
one entry to a line, and comments behind #. A file with a mistake changes nothing.

  fetch-blocklist | holdfast tables replace blocklist -
`,
		Args: usage(cobra.ExactArgs(2)),
	}
	timeout := timeoutFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		r := api.TableRequest{Table: args[0], Entries: []string{}}
		if r.Timeout, err = timeout(); err != nil {
			return err
		}
		if r.Entries, err = readEntries(cmd, args[1]); err != nil {
			return err
		}
		done, err := c.client().TableReplace(cmd.Context(), r)
		if err != nil {
			return err
		}
		return c.print(cmd.OutOrStdout(), done, func(w io.Writer) {
			fmt.Fprintf(w, "%s: %d entries in %s, in the place of %d\n", done.Node, done.Added, done.Table, done.Deleted)
		})
	}
	return cmd
}

// readEntries reads a file of entries, "-" for standard input.
func readEntries(cmd *cobra.Command, path string) (entries []string, err error) {
	in, name := cmd.InOrStdin(), "standard input"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("reading the entries: %w", err)
		}
		defer f.Close()
		in, name = f, path
	}
	data, err := io.ReadAll(io.LimitReader(in, tableFileMax+1))
	if err != nil {
		return nil, fmt.Errorf("reading the entries: %w", err)
	}
	all, err := config.ParseTable(name, data)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		entries = append(entries, a.V.String())
	}
	return entries, nil
}
