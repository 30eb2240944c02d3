package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Figure prints a number with as many digits as mean something.
func Figure(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e3:
		return thousands(int64(math.Round(v)))
	case a >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// times prints a ratio; that of a peer far away is easier to read the other way up.
func times(ratio float64) string {
	if ratio > 0 && ratio < 0.1 {
		return "1/" + Figure(math.Round(1/ratio)) + "x"
	}
	return Figure(ratio) + "x"
}

// thousands groups the digits.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Table is one result as Markdown, which `bench run` prints.
func (r *Result) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores, Linux %s, %s, %s\n\n", r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Go, r.Machine.Date)
	var lines []line
	for i := range r.Rows {
		lines = append(lines, linesOf(&r.Rows[i], "")...)
	}
	writeTable(&b, lines)
	for _, row := range r.Rows {
		if row.Notes != "" {
			fmt.Fprintf(&b, "\n%s: %s\n", row.ID, row.Notes)
		}
	}
	return b.String()
}

// Table is the latest figures of rows as Markdown, which documents have between marks.
func (h History) Table(ids []string) string {
	var lines []line
	used := map[string]bool{}
	for _, id := range ids {
		row, from := h.Latest(id)
		if row == nil {
			g := goalOf(id)
			lines = append(lines, line{row: id + ", " + g.Name, value: "not measured yet: " + g.missing()})
			continue
		}
		used[from.Name] = true
		lines = append(lines, linesOf(row, from.Name)...)
	}
	var b strings.Builder
	writeTable(&b, lines)
	if len(used) > 0 {
		fmt.Fprintf(&b, "\nFrom `bench/results`: %s.", strings.Join(slices.Sorted(maps.Keys(used)), ", "))
		for _, l := range lines {
			if l.quick {
				b.WriteString(" (q): quick form, few rounds, for looking.")
				break
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// line is one line of a table.
type line struct {
	row, at, goal, value, peers string
	quick                       bool
}

func linesOf(row *Row, from string) (all []line) {
	if row.Missing != "" {
		return []line{{row: row.ID + ", " + row.Name, value: "not measured: " + row.Missing}}
	}
	name := row.ID + ", " + row.Name
	for i := range row.Points {
		p := &row.Points[i]
		l := line{row: name, at: p.At, goal: p.goal(row.Better), peers: p.peers(row.PeerUnit), quick: row.Quick && from != ""}
		l.value = fmt.Sprintf("%s %s (%s - %s)", Figure(p.Value), row.unit(p), Figure(p.Min), Figure(p.Max))
		if p.Min == p.Max {
			l.value = Figure(p.Value) + " " + row.unit(p)
		}
		if l.quick {
			l.value += " (q)"
		}
		if p.GeneratorBound {
			l.value += ", generator-bound"
		}
		all = append(all, l)
		name = "" // once
	}
	return all
}

func writeTable(b *strings.Builder, lines []line) {
	b.WriteString("| row | at | goal | Holdfast (least - most) | peers |\n|---|---|---|---|---|\n")
	for _, l := range lines {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", l.row, l.at, l.goal, l.value, l.peers)
	}
}

func (p *Point) goal(better Better) string {
	switch {
	case p.Must == 0 && p.Aim == 0:
		return ""
	case p.Must == 0 && better.Meets(p.Value, p.Aim):
		return "aim " + Figure(p.Aim) + ": met"
	case p.Must == 0:
		return "aim " + Figure(p.Aim)
	}
	text := "must " + Figure(p.Must)
	if p.Aim != 0 {
		text += ", aim " + Figure(p.Aim)
	}
	if !p.OK {
		return text + ": **missed**"
	}
	if p.Aim != 0 && better.Meets(p.Value, p.Aim) {
		return text + ": both met"
	}
	return text + ": met"
}

// peers names them with Holdfast's ratio to each.
func (p *Point) peers(unit string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(p.Peers)) {
		part := name + " " + Figure(p.Peers[name])
		if unit != "" {
			part += " " + unit
		}
		if ratio, ok := p.ratio(name); ok {
			part += " (" + times(ratio) + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

// own is Holdfast in the peers' unit.
func (p *Point) own() float64 {
	if p.Own != 0 {
		return p.Own
	}
	return p.Value
}

// ratio is Holdfast's figure to a peer's.
func (p *Point) ratio(name string) (float64, bool) {
	if r, ok := p.Ratios[name]; ok {
		return r, true
	}
	if p.Peers[name] == 0 {
		return 0, false
	}
	return p.own() / p.Peers[name], true
}
