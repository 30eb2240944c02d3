package report

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// slack is by how much a median must be worse than the other's for the difference to
// count, besides lying outside of all that the other's rounds gave.
const slack = 0.05

// Change is a point in two results.
type Change struct {
	ID, At, Unit string
	Better       Better
	A, B         Point
	Worse        bool // B is worse, beyond what the rounds of either scatter
}

// Compare returns the points that both results have.
func Compare(a, b *Result) (all []Change) {
	for _, row := range a.Rows {
		for _, p := range row.Points {
			if q := b.Find(row.ID, p.At); q != nil {
				all = append(all, Change{row.ID, p.At, row.unit(&p), row.Better, p, *q, worse(row.Better, p, *q)})
			}
		}
	}
	return all
}

// worse asks for both medians to lie outside of the other's rounds, the difference to be
// more than slack, and a must that was met and is missed counts in any case.
func worse(better Better, a, b Point) bool {
	if a.OK && !b.OK {
		return true
	}
	if better == More {
		return b.Value < a.Min && a.Value > b.Max && b.Value < a.Value*(1-slack)
	}
	return b.Value > a.Max && a.Value < b.Min && b.Value > a.Value*(1+slack)
}

// WriteChanges writes a table and returns how many points are worse.
func WriteChanges(w io.Writer, all []Change) (count int, err error) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "row\tat\tA\tmin - max\tB\tmin - max\tB/A\t")
	for _, c := range all {
		ratio, verdict := "", ""
		if c.A.Value != 0 {
			ratio = fmt.Sprintf("%.3f", c.B.Value/c.A.Value)
		}
		if c.Worse {
			count++
			verdict = "WORSE"
		}
		fmt.Fprintf(t, "%s\t%s\t%s %s\t%s - %s\t%s\t%s - %s\t%s\t%s\n", c.ID, c.At, Figure(c.A.Value), c.Unit,
			Figure(c.A.Min), Figure(c.A.Max), Figure(c.B.Value), Figure(c.B.Min), Figure(c.B.Max), ratio, verdict)
	}
	return count, t.Flush()
}
