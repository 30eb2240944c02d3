package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"time"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// verdict of a row or point, which is also its class on the page.
type verdict string

const (
	met      verdict = "met"
	missed   verdict = "missed"
	noGoal   verdict = "no goal"
	unknown  verdict = "not measured"
	attained verdict = "aim met"
	smaller  verdict = "not at the goal's size"
)

// Class is the verdict as the page's style sheet has it.
func (v verdict) Class() string {
	switch v {
	case met, attained:
		return "met"
	case missed:
		return "missed"
	case unknown:
		return "unknown"
	}
	return "none"
}

// page is what the template shows.
type page struct {
	Machine             Machine
	Results             int
	Newest              string
	Met, Missed, Absent int // rows that have goals
	Rows                []pageRow
}

type pageRow struct {
	ID, Name, Must, Aim string
	Verdict             verdict
	Better, Unit        string
	From, Measured      string
	Load                float64
	Quick, Bound        bool
	Why                 string // there are no figures
	HeldBack, Notes     string
	Points              []pagePoint
}

type pagePoint struct {
	At, Goal string
	Verdict  verdict
	Bound    bool
	Charts   []chart
	History  *curve
	Once     string // the only result, where there is no history
	Details  []detail
}

type detail struct{ Name, Value string }

// WritePage writes one page that needs nothing else: every row's latest figures, its goal,
// its peers and its history.
func (h History) WritePage(w io.Writer) error {
	p := page{Results: len(h)}
	if len(h) > 0 {
		p.Machine, p.Newest = h[len(h)-1].Machine, h[len(h)-1].Name
	}
	for _, id := range h.IDs() {
		row := h.pageRow(id)
		p.Rows = append(p.Rows, row)
		switch row.Verdict {
		case met, attained:
			p.Met++
		case missed:
			p.Missed++
		case unknown, smaller:
			p.Absent++
		}
	}
	return pageTemplate.Execute(w, p)
}

func (h History) pageRow(id string) pageRow {
	g := goalOf(id)
	out := pageRow{ID: id, Name: g.Name, Must: g.Must, Aim: g.Aim, Verdict: unknown, Why: g.missing()}
	row, from := h.Latest(id)
	if row == nil {
		return out
	}
	if g.Name == id { // not among the goals
		out.Name = row.Name
	}
	if row.Missing != "" {
		out.Why = row.Missing
		return out
	}
	out.Why, out.Unit, out.From, out.Notes, out.Quick, out.Load = "", row.Unit, from.Name, row.Notes, row.Quick, row.Load
	if out.Measured = from.Machine.Date; !row.Measured.IsZero() {
		out.Measured = row.Measured.Format(time.DateOnly + " 15:04")
	}
	out.Better = map[Better]string{More: "more is better", Less: "less is better"}[row.Better]
	out.Verdict = noGoal
	for i := range row.Points {
		p := h.pagePoint(row, &row.Points[i])
		out.Points = append(out.Points, p)
		out.Bound = out.Bound || p.Bound
		out.Verdict = worst(out.Verdict, p.Verdict)
	}
	if out.Verdict == noGoal && g.Must != "" {
		out.Verdict = smaller
	}
	if out.Verdict == missed {
		out.HeldBack = g.HeldBack
	}
	return out
}

// worst is the verdict of a row whose points have these.
func worst(a, b verdict) verdict {
	order := []verdict{noGoal, attained, met, missed}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

func (row *Row) verdict(p *Point) verdict {
	switch {
	case !p.OK:
		return missed
	case p.Aim != 0 && row.Better.Meets(p.Value, p.Aim):
		return attained
	case p.Must != 0:
		return met
	}
	return noGoal
}

func (h History) pagePoint(row *Row, p *Point) pagePoint {
	out := pagePoint{At: p.At, Verdict: row.verdict(p), Bound: p.GeneratorBound}
	if p.Must != 0 {
		out.Goal = "must " + Figure(p.Must)
	}
	if p.Aim != 0 {
		if out.Goal != "" {
			out.Goal += ", "
		}
		out.Goal += "aim " + Figure(p.Aim)
	}
	out.Charts = chartsOf(row, p)
	for _, name := range slices.Sorted(maps.Keys(p.Details)) {
		out.Details = append(out.Details, detail{name, Figure(p.Details[name])})
	}
	moments := h.Of(row.ID, p.At)
	if len(moments) < 2 {
		out.Once = "one result so far"
	} else {
		out.History = curveOf(moments, p.Must)
	}
	return out
}

// percent is a place on a chart, as SVG has it.
func percent(part, whole float64) string {
	if whole <= 0 {
		return "0%"
	}
	return fmt.Sprintf("%.2f%%", 100*min(1, max(0, part/whole)))
}
